"""The scalar unit: one operation at a time on binary32 numbers."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.adder import Fp32Adder
from ..arith.formats import FP32_INFINITY, Fp32
from ..arith.multiplier import Fp32Multiplier
from ..arith.reciprocal import Reciprocal
from .jobs import ScalarOperation, ScalarRequest

__all__ = ["ScalarUnit"]


class ScalarUnit(wiring.Component):
    """MOVE, ADD, SUB, MUL, RECIP and RECIP_SQRT on binary32; every result rounded once.

    A request is taken while nothing is worked on. Latency from the request to ``results.valid``:
    the arithmetic unit's (3 for MOVE, ADD and SUB, 2 for MUL, 15 for the others) plus 2;
    :meth:`latency` tells. One operation at a time: the next one is taken in the cycle after the
    result.

    Source: DFX paper, section 4.3 (SFU_V).

    Members
    -------
    requests : In(stream of ScalarRequest)
        Operations.
    results : Out(stream of Fp32)
        Their results, in order.
    overflow, invalid : Out(1)
        Strobes, as a result begins to be valid: it is infinite and its operands are not, or it
        is NaN.
    """

    requests: In(stream.Signature(ScalarRequest))
    results: Out(stream.Signature(Fp32))
    overflow: Out(1)
    invalid: Out(1)

    def __init__(self):
        super().__init__()
        self._reciprocal = Reciprocal()

    def latency(self, operation):
        """Cycles from a request that is taken to the first one in which its result is valid."""
        if operation in (ScalarOperation.RECIP, ScalarOperation.RECIP_SQRT):
            return self._reciprocal.latency + 2
        if operation == ScalarOperation.MUL:
            return Fp32Multiplier.latency + 2
        return Fp32Adder.latency + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.adder = adder = Fp32Adder(1)
        m.submodules.multiplier = multiplier = Fp32Multiplier(1)
        m.submodules.reciprocal = reciprocal = self._reciprocal
        request = Signal(ScalarRequest, reset_less=True)
        result = Signal(Fp32, reset_less=True)
        begin = Signal()
        working = Signal()
        waiting = Signal()

        m.d.comb += [
            self.requests.ready.eq(~working & ~self.results.valid),
            self.results.payload.eq(result),
            adder.a[0].eq(request.a),
            adder.b[0].eq(request.b),
            adder.skip.eq(request.operation == ScalarOperation.MOVE),
            adder.subtract.eq(request.operation == ScalarOperation.SUB),
            multiplier.a[0].eq(request.a),
            multiplier.b[0].eq(request.b),
            reciprocal.i.payload.a.eq(request.a),
            reciprocal.i.payload.square_root.eq(request.operation == ScalarOperation.RECIP_SQRT),
            reciprocal.i.valid.eq(waiting),
            reciprocal.o.ready.eq(1),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [request.eq(self.requests.payload), begin.eq(1), working.eq(1)]
        with m.If(begin):
            m.d.sync += begin.eq(0)
            with m.Switch(request.operation):
                with m.Case(ScalarOperation.MUL):
                    m.d.comb += multiplier.stb.eq(1)
                with m.Case(ScalarOperation.RECIP, ScalarOperation.RECIP_SQRT):
                    m.d.comb += reciprocal.i.valid.eq(1)
                    m.d.sync += waiting.eq(~reciprocal.i.ready)
                with m.Default():
                    m.d.comb += adder.stb.eq(1)
        with m.If(waiting & reciprocal.i.ready):
            m.d.sync += waiting.eq(0)

        for unit in (adder, multiplier):
            with m.If(unit.done):
                m.d.sync += [
                    result.eq(unit.result[0]),
                    self.overflow.eq(unit.overflow),
                    self.invalid.eq(unit.invalid),
                ]
        with m.If(reciprocal.o.valid):
            # Neither function gives an infinity of an infinity: it is of a zero, or overflowed.
            quotient = reciprocal.o.payload.result
            m.d.sync += [
                result.eq(quotient),
                self.overflow.eq(quotient.as_value()[:31] == FP32_INFINITY),
                self.invalid.eq(reciprocal.o.payload.invalid),
            ]
        with m.If(adder.done | multiplier.done | reciprocal.o.valid):
            m.d.sync += [working.eq(0), self.results.valid.eq(1)]
        with m.Elif(self.results.valid):
            m.d.sync += [self.overflow.eq(0), self.invalid.eq(0)]
            with m.If(self.results.ready):
                m.d.sync += self.results.valid.eq(0)
        return m
