"""A value that travels beside a pipeline."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]


class DelayLine(wiring.Component):
    """Delays a value, and the strobe that says it is one. Throughput one value a cycle.

    It is one wide shift register that moves only while a value is inside: with one clock enable
    for all stages it maps to SRLs, and an idle line costs a simulator almost nothing.

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
        width = Shape.cast(self._shape).width
        strobes = Signal(self._cycles)
        stages = Signal(width * self._cycles, reset_less=True)
        with m.If(self.stb | strobes.any()):
            m.d.sync += [
                strobes.eq(Cat(self.stb, strobes[:-1])),
                stages.eq(Cat(self.i, stages[:-width])),
            ]
        m.d.comb += [
            self.done.eq(strobes[-1]),
            Value.cast(self.o).eq(stages[-width:]),
        ]
        return m
