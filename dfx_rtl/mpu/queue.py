"""A short queue in registers."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.checks import check_positive

__all__ = ["ShiftQueue"]


class ShiftQueue(wiring.Component):
    """First in, first out; what is ahead of an entry moves it forward as it leaves.

    The output is a register, so it has no multiplexer behind it. All entries are one signal,
    which a simulator need not look at while nothing moves.

    Latency: 1 cycle. Throughput: one entry a cycle. There is no combinational path.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Entries.

    Members
    -------
    i, o : In(stream), Out(stream)

    Raises
    ------
    TypeError
        If ``depth`` is not a positive integer.
    """

    def __init__(self, shape, depth):
        check_positive("Depth of a queue", depth)
        self._depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.i.payload.shape()
        entries = Signal(data.ArrayLayout(shape, self._depth), reset_less=True)
        count = Signal(range(self._depth + 1))
        pushes = Signal()
        pops = Signal()
        end = Signal.like(count)
        m.d.comb += [
            self.i.ready.eq(count != self._depth),
            self.o.valid.eq(count != 0),
            self.o.payload.eq(entries[0]),
            pushes.eq(self.i.valid & self.i.ready),
            pops.eq(self.o.valid & self.o.ready),
            end.eq(count - pops),
        ]
        with m.If(pops):
            m.d.sync += entries.eq(entries.as_value()[Shape.cast(shape).width:])
        with m.If(pushes):
            with m.Switch(end):
                for place in range(self._depth):
                    with m.Case(place):
                        m.d.sync += entries[place].eq(self.i.payload)
        with m.If(pushes | pops):
            m.d.sync += count.eq(end + pushes)
        return m
