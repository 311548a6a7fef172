"""The normaliser: LayerNorm's second pass on lanes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.adder import Fp32Adder
from ..arith.convert import Fp32ToFp16, fp16_to_fp32
from ..arith.formats import Fp16, Fp32
from ..arith.multiplier import Fp32Multiplier
from .delay import DelayLine
from .jobs import BeatLayout, ResultLayout

__all__ = ["Normaliser"]


class Normaliser(wiring.Component):
    """``f16((a - mean) * rstd * b + c)`` on every lane, each operation rounded to binary32.

    Elements that are not enabled have +0 for every operand, raise no flag and leave as +0.
    Latency 12 cycles: 1 to convert, 3 and 3 to add, 2 and 2 to multiply, 1 to round;
    ``latency`` tells. Throughput one beat a cycle. ``mean`` and ``rstd`` must not change while a
    beat is inside.

    Parameters
    ----------
    lanes : int
        Elements in a beat.

    Members
    -------
    stb : In(1)
        ``beat`` is valid.
    beat : In(BeatLayout)
        The element, gamma and beta.
    mean, rstd : In(Fp32)
        The vector's mean and the reciprocal of its standard deviation.
    done : Out(1)
        ``result`` is valid.
    result : Out(ResultLayout)
        The results.
    overflow, invalid : Out(1)
        Strobes: a finite operand became infinite; a result is NaN.
    """

    latency = 1 + 2 * Fp32Adder.latency + 2 * Fp32Multiplier.latency + Fp32ToFp16.latency

    def __init__(self, lanes):
        self._lanes = lanes
        super().__init__({
            "stb": In(1),
            "beat": In(BeatLayout(lanes)),
            "mean": In(Fp32),
            "rstd": In(Fp32),
            "done": Out(1),
            "result": Out(ResultLayout(lanes)),
            "overflow": Out(1),
            "invalid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        halves = data.ArrayLayout(Fp16, lanes)
        singles = data.ArrayLayout(Fp32, lanes)
        ends = data.StructLayout({"chunk_last": 1, "last": 1})
        centre_latency = Fp32Adder.latency
        scale_latency = centre_latency + Fp32Multiplier.latency
        gamma_latency = scale_latency + Fp32Multiplier.latency
        m.submodules.centre = centre = Fp32Adder(lanes)
        m.submodules.scale = scale = Fp32Multiplier(lanes)
        m.submodules.gamma = gamma = Fp32Multiplier(lanes)
        m.submodules.beta = beta = Fp32Adder(lanes)
        m.submodules.narrow = narrow = Fp32ToFp16(lanes)
        m.submodules.enable_line = enable_line = DelayLine(lanes, 1 + centre_latency)
        # gamma and beta travel in binary16; the last stage before their use converts them.
        m.submodules.gamma_line = gamma_line = DelayLine(halves, scale_latency)
        m.submodules.beta_line = beta_line = DelayLine(halves, gamma_latency)
        m.submodules.end_line = end_line = DelayLine(ends, self.latency)

        def spread(value, enable):
            return Cat(Mux(bit, value.as_value(), 0) for bit in enable)

        def widen(stb, source, name):
            register = Signal(singles, name=name, reset_less=True)
            values = [fp16_to_fp32(m, source[lane], f"{name}{lane}") for lane in range(lanes)]
            with m.If(stb):
                m.d.sync += register.as_value().eq(Cat(values))
            return register

        s1_valid = Signal()
        s1_enable = Signal(lanes, reset_less=True)
        m.d.sync += s1_valid.eq(self.stb)
        with m.If(self.stb):
            m.d.sync += s1_enable.eq(self.beat.enable)
        element = widen(self.stb, self.beat.a, "element")
        gamma_value = widen(gamma_line.done, gamma_line.o, "gamma_value")
        beta_value = widen(beta_line.done, beta_line.o, "beta_value")
        m.d.comb += [
            enable_line.stb.eq(self.stb),
            enable_line.i.eq(self.beat.enable),
            gamma_line.stb.eq(self.stb),
            gamma_line.i.eq(self.beat.b),
            beta_line.stb.eq(self.stb),
            beta_line.i.eq(self.beat.c),
            end_line.stb.eq(self.stb),
            end_line.i.chunk_last.eq(self.beat.chunk_last),
            end_line.i.last.eq(self.beat.last),

            centre.stb.eq(s1_valid),
            centre.subtract.eq(1),
            centre.a.eq(element),
            centre.b.as_value().eq(spread(self.mean, s1_enable)),
            scale.stb.eq(centre.done),
            scale.a.eq(centre.result),
            scale.b.as_value().eq(spread(self.rstd, enable_line.o)),
            gamma.stb.eq(scale.done),
            gamma.a.eq(scale.result),
            gamma.b.eq(gamma_value),
            beta.stb.eq(gamma.done),
            beta.a.eq(gamma.result),
            beta.b.eq(beta_value),
            narrow.stb.eq(beta.done),
            narrow.a.eq(beta.result),

            self.done.eq(narrow.done),
            self.result.values.eq(narrow.result),
            self.result.chunk_last.eq(end_line.o.chunk_last),
            self.result.last.eq(end_line.o.last),
        ]
        units = (centre, scale, gamma, beta, narrow)
        m.d.comb += [
            self.overflow.eq(Cat(unit.done & unit.overflow for unit in units).any()),
            self.invalid.eq(Cat(unit.done & unit.invalid for unit in units).any()),
        ]
        return m
