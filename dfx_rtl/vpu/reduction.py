"""Exact sums over the beats of a vector: of the elements, and of their squares."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.dot_product import DotProduct
from ..arith.exact_to_fp32 import ExactToFp32
from ..arith.formats import FP16_ONE, ExactSum, Fp16, Fp32
from .delay import DelayLine

__all__ = ["Reduction"]


class Reduction(wiring.Component):
    """The exact sum of a vector's elements, and of their squares, beat by beat.

    The elements are multiplied by one and by themselves in an exact dot product of ``lanes`` terms,
    and its sums are added up. The vector's last beat ends the sums; the next beat begins new ones.

    Latency from the last beat: the dot product's plus 1 cycle to the exact sums, 2 more to the
    rounded one. Throughput one beat a cycle.

    Source: DFX paper, section 4.3 (accum).

    Parameters
    ----------
    lanes : int
        Elements in a beat. A vector has at most 2**16 elements.

    Members
    -------
    stb : In(1)
        ``values`` are valid.
    values : In(array of Fp16)
        Elements; what is to be left out is +0.
    last : In(1)
        They are the last ones of the vector.
    exact_done : Out(1)
        Strobe: ``total`` and ``squares`` are valid.
    total, squares : Out(ExactSum())
        The sums of the elements and of their squares.
    done : Out(1)
        Strobe: ``sum`` is valid.
    sum : Out(Fp32)
        ``total`` rounded to binary32.
    invalid : Out(1)
        Strobe: ``sum`` is NaN.
    """

    def __init__(self, lanes):
        self._lanes = lanes
        self._products = DotProduct(lanes, 2)
        super().__init__({
            "stb": In(1),
            "values": In(data.ArrayLayout(Fp16, lanes)),
            "last": In(1),
            "exact_done": Out(1),
            "total": Out(ExactSum()),
            "squares": Out(ExactSum()),
            "done": Out(1),
            "sum": Out(Fp32),
            "invalid": Out(1),
        })

    #: Cycles from ``exact_done`` to ``done``.
    rounding_latency = ExactToFp32.latency

    @property
    def latency(self):
        """Cycles from the last beat to ``exact_done``."""
        return self._products.latency + 1

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        m.submodules.products = products = self._products
        m.submodules.line = line = DelayLine(1, products.latency)
        m.submodules.rounding = rounding = ExactToFp32(1)
        ones = sum(FP16_ONE << (16 * lane) for lane in range(lanes))
        fresh = Signal(init=1)
        sums = Signal(data.ArrayLayout(ExactSum(), 2), reset_less=True)
        m.d.comb += [
            products.stb.eq(self.stb),
            products.x.eq(self.values),
            products.weights[0].as_value().eq(ones),
            products.weights[1].eq(self.values),
            line.stb.eq(self.stb),
            line.i.eq(self.last),
            self.total.eq(sums[0]),
            self.squares.eq(sums[1]),
            rounding.stb.eq(self.exact_done),
            rounding.a[0].eq(sums[0]),
            self.done.eq(rounding.done),
            self.sum.eq(rounding.result[0]),
            self.invalid.eq(rounding.done & rounding.invalid),
        ]
        m.d.sync += self.exact_done.eq(products.done & line.o)
        with m.If(products.done):
            m.d.sync += fresh.eq(line.o)
            for new, old in zip(products.sums, sums, strict=True):
                with m.If(fresh):
                    m.d.sync += old.eq(new)
                with m.Else():
                    m.d.sync += old.value.eq(old.value + new.value)
                    for flag in ("positive_infinity", "negative_infinity", "nan"):
                        m.d.sync += old[flag].eq(old[flag] | new[flag])
        return m
