"""The vector function unit: addition, subtraction, multiplication, exponential on lanes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.adder import Fp32Adder
from ..arith.convert import Fp32ToFp16, fp16_to_fp32
from ..arith.formats import Fp32
from ..arith.functions import Fp16Function
from ..arith.multiplier import Fp32Multiplier
from .delay import DelayLine
from .jobs import BeatLayout, ResultLayout, VectorOperation

__all__ = ["VectorFunctionUnit"]


class VectorFunctionUnit(wiring.Component):
    """``f16(f32(a) op b)`` on every lane, and the exponential of that if asked for.

    The second operand is the beat's ``b``, or one binary32 scalar for all lanes. MOVE passes ``a``
    on, with every NaN made canonical. Elements that are not enabled see +0 operands, raise no flag
    and leave as +0.

    Latency in cycles from ``stb`` to ``done``: 1 to convert, 3 for ADD, SUB and MOVE or 2 for MUL,
    1 to round, and 2 more with the exponential; :meth:`latency` tells. Throughput one beat a cycle.
    ``operation``, ``exponential``, ``scalar_operand`` and ``scalar`` must not change while a beat
    is inside.

    Source: DFX paper, section 4.3 (VFU).

    Parameters
    ----------
    lanes : int
        Elements in a beat.

    Members
    -------
    stb : In(1)
        ``beat`` is valid.
    beat : In(BeatLayout)
        The operands ``a`` and ``b``.
    operation : In(VectorOperation)
        What to do.
    exponential : In(1)
        The exponential of the rounded result is taken.
    scalar_operand : In(1)
        The second operand is ``scalar``.
    scalar : In(Fp32)
        That scalar.
    done : Out(1)
        ``result`` is valid.
    result : Out(ResultLayout)
        The results.
    overflow, invalid : Out(1)
        Strobes: a finite operand became infinite; a result is NaN.
    """

    def __init__(self, lanes):
        self._lanes = lanes
        super().__init__({
            "stb": In(1),
            "beat": In(BeatLayout(lanes)),
            "operation": In(VectorOperation),
            "exponential": In(1),
            "scalar_operand": In(1),
            "scalar": In(Fp32),
            "done": Out(1),
            "result": Out(ResultLayout(lanes)),
            "overflow": Out(1),
            "invalid": Out(1),
        })

    @staticmethod
    def latency(operation, exponential):
        """Cycles from ``stb`` to ``done``."""
        arithmetic = Fp32Multiplier if operation == VectorOperation.MUL else Fp32Adder
        return (1 + arithmetic.latency + Fp32ToFp16.latency
                + (Fp16Function.latency if exponential else 0))

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        side = data.StructLayout({"enable": lanes, "chunk_last": 1, "last": 1})
        m.submodules.adder = adder = Fp32Adder(lanes)
        m.submodules.multiplier = multiplier = Fp32Multiplier(lanes)
        m.submodules.narrow = narrow = Fp32ToFp16(lanes)
        m.submodules.exponential = exponential = Fp16Function("exp", lanes)
        m.submodules.adder_line = adder_line = DelayLine(side, Fp32Adder.latency)
        m.submodules.multiplier_line = multiplier_line = DelayLine(side, Fp32Multiplier.latency)
        m.submodules.narrow_line = narrow_line = DelayLine(side, Fp32ToFp16.latency)
        m.submodules.exponential_line = exponential_line = DelayLine(side, Fp16Function.latency)

        s1_valid = Signal()
        s1_side = Signal(side, reset_less=True)
        s1_a, s1_b = (Signal(data.ArrayLayout(Fp32, lanes), name=name, reset_less=True)
                      for name in ("s1_a", "s1_b"))
        a = [fp16_to_fp32(m, self.beat.a[lane], f"a{lane}").as_value() for lane in range(lanes)]
        b = [fp16_to_fp32(m, self.beat.b[lane], f"b{lane}").as_value() for lane in range(lanes)]
        scalars = Cat(Mux(bit, self.scalar.as_value(), 0) for bit in self.beat.enable)
        m.d.sync += s1_valid.eq(self.stb)
        with m.If(self.stb):
            m.d.sync += [
                s1_side.enable.eq(self.beat.enable),
                s1_side.chunk_last.eq(self.beat.chunk_last),
                s1_side.last.eq(self.beat.last),
                s1_a.as_value().eq(Cat(a)),
                s1_b.as_value().eq(Mux(self.scalar_operand, scalars, Cat(b))),
            ]

        multiply = Signal()
        m.d.comb += [
            multiply.eq(self.operation == VectorOperation.MUL),
            adder.stb.eq(s1_valid & ~multiply),
            adder.a.eq(s1_a),
            adder.b.eq(s1_b),
            adder.skip.eq(self.operation == VectorOperation.MOVE),
            adder.subtract.eq(self.operation == VectorOperation.SUB),
            adder_line.stb.eq(adder.stb),
            adder_line.i.eq(s1_side),
            multiplier.stb.eq(s1_valid & multiply),
            multiplier.a.eq(s1_a),
            multiplier.b.eq(s1_b),
            multiplier_line.stb.eq(multiplier.stb),
            multiplier_line.i.eq(s1_side),
            narrow.stb.eq(adder.done | multiplier.done),
            narrow.a.eq(Mux(multiply, multiplier.result.as_value(), adder.result.as_value())),
            narrow_line.stb.eq(narrow.stb),
            narrow_line.i.eq(Mux(multiply, multiplier_line.o.as_value(),
                                 adder_line.o.as_value())),
            exponential.stb.eq(narrow.done & self.exponential),
            exponential.a.eq(narrow.result),
            exponential_line.stb.eq(exponential.stb),
            exponential_line.i.eq(narrow_line.o),
        ]

        values = Signal(lanes * 16)
        result_side = Signal(side)
        with m.If(self.exponential):
            m.d.comb += [
                self.done.eq(exponential.done),
                values.eq(exponential.result),
                result_side.eq(exponential_line.o),
            ]
        with m.Else():
            m.d.comb += [
                self.done.eq(narrow.done),
                values.eq(narrow.result),
                result_side.eq(narrow_line.o),
            ]
        m.d.comb += [
            self.result.values.as_value().eq(
                values & Cat(bit.replicate(16) for bit in result_side.enable)),
            self.result.chunk_last.eq(result_side.chunk_last),
            self.result.last.eq(result_side.last),
        ]
        units = (adder, multiplier, narrow, exponential)
        m.d.comb += [
            self.overflow.eq(Cat(unit.done & unit.overflow for unit in units).any()),
            self.invalid.eq(Cat(unit.done & unit.invalid for unit in units).any()),
        ]
        return m
