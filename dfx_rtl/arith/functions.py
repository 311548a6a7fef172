"""Functions of binary16 numbers by tables of pieces."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .formats import Fp16

__all__ = ["Fp16Function"]


class Fp16Function(wiring.Component):
    latency = 2

    def __init__(self, function, lanes):
        if function not in ("exp", "gelu"):
            raise ValueError(f"Function must be 'exp' or 'gelu', not {function!r}")
        check_positive("Lanes of a function", lanes)
        self._function = function
        self._lanes = lanes
        vector = data.ArrayLayout(Fp16, lanes)
        super().__init__({
            "stb": In(1), "skip": In(1), "a": In(vector),
            "done": Out(1), "result": Out(vector), "invalid": Out(1), "overflow": Out(1),
        })
