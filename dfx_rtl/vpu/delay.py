"""A value that travels beside a pipeline."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]


class DelayLine(wiring.Component):
    """Delays a value, and the strobe that says it is one. Throughput one value a cycle.

    A stage changes only when a value enters it, so that an idle line costs nothing.

    Parameters
    ----------
    shape : shape-like
        Of the value.
    cycles : int
        The latency, at least 1.

    Members
    -------
    stb : In(1)
        ``i`` is a value.
    i : In(shape)
        The value.
    done : Out(1)
        ``stb``, ``cycles`` later.
    o : Out(shape)
        The value, valid while ``done``.

    Raises
    ------
    TypeError
        If the latency is not a positive integer.
    """

    def __init__(self, shape, cycles):
        if not isinstance(cycles, int) or cycles < 1:
            raise TypeError(f"Cycles of a delay line must be a positive integer, not {cycles!r}")
        self._shape = shape
        self._cycles = cycles
        super().__init__({"stb": In(1), "i": In(shape), "done": Out(1), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        strobes = Signal(self._cycles)
        m.d.sync += strobes.eq(Cat(self.stb, strobes[:-1]))
        previous, stb = self.i, self.stb
        for cycle in range(self._cycles):
            stage = Signal(self._shape, name=f"s{cycle + 1}", reset_less=True)
            with m.If(stb):
                m.d.sync += stage.eq(previous)
            previous, stb = stage, strobes[cycle]
        m.d.comb += [self.done.eq(stb), self.o.eq(previous)]
        return m
