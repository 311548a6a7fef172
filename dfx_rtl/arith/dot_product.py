"""The exact dot product: the hot unit of the machine."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .formats import ExactSum, Fp16

__all__ = ["DotProduct", "DotProductLane"]


class DotProductLane(wiring.Component):
    def __init__(self, tile):
        check_positive("Tile of a dot product", tile)
        self._tile = tile
        super().__init__({
            "stb": In(1), "x": In(data.ArrayLayout(Fp16, tile)),
            "weights": In(data.ArrayLayout(Fp16, tile)),
            "done": Out(1), "sum": Out(ExactSum()),
        })


class DotProduct(wiring.Component):
    def __init__(self, tile, lanes):
        check_positive("Tile of a dot product", tile)
        check_positive("Lanes of a dot product", lanes)
        self._tile = tile
        self._lanes = lanes
        super().__init__({
            "stb": In(1), "x": In(data.ArrayLayout(Fp16, tile)),
            "weights": In(data.ArrayLayout(data.ArrayLayout(Fp16, tile), lanes)),
            "done": Out(1), "sums": Out(data.ArrayLayout(ExactSum(), lanes)),
        })

    @property
    def latency(self):
        return 5
