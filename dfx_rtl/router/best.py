"""The best of the tokens that the cores of the ring have found."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .layouts import CANDIDATE

__all__ = ["BestCandidate"]


def _key(m, candidate, name):
    """The logit as an unsigned key: -0 has that of +0; what is not found, or a NaN, has key 0."""
    logit = candidate.logit
    bits = Signal(32, name=f"{name}_bits")
    key = Signal(32, name=f"{name}_key")
    m.d.comb += bits.eq(logit.as_value())
    with m.If(candidate.found & ~((logit.exponent == 0xFF) & (logit.fraction != 0))):
        with m.If(bits == 1 << 31):
            m.d.comb += key.eq(1 << 31)
        with m.Else():
            m.d.comb += key.eq(Mux(bits[31], ~bits, bits | 1 << 31))
    return key


class BestCandidate(wiring.Component):
    """Keeps the best of the candidates since ``clear_stb``, whatever their order.

    The largest logit wins, as a binary32 number: +0 equals -0, a NaN is no candidate. The lowest
    index wins a tie.

    Latency: a candidate counts in the next cycle. Throughput: a candidate a cycle.

    Source: DFX paper, section 4.1 (LM head); IEEE 754-2019, section 5.11.

    Members
    -------
    clear_stb : In(1)
        Nothing is found yet. Not together with ``stb``.
    stb, candidate : In(1), In(CANDIDATE)
        A candidate comes.
    best : Out(CANDIDATE)
        The best so far; ``found`` is 0 if there was none.
    """

    clear_stb: In(1)
    stb: In(1)
    candidate: In(CANDIDATE)
    best: Out(CANDIDATE)

    def elaborate(self, platform):
        m = Module()
        new, old = _key(m, self.candidate, "new"), _key(m, self.best, "old")
        with m.If(self.clear_stb):
            m.d.sync += self.best.found.eq(0)
        with m.Elif(self.stb):
            with m.If((new > old)
                      | ((new == old) & (new != 0) & (self.candidate.index < self.best.index))):
                m.d.sync += self.best.eq(self.candidate)
        return m
