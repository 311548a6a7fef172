"""The way out of a router in one direction."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import FlitLayout

__all__ = ["Sender"]


class Sender(wiring.Component):
    """A short queue of flits: the core's own, and those that it passes on.

    A flit of the core's own may enter only while two places are free, so that it leaves one free.
    Then the queues of all routers of the ring are never all full, and flits that are passed on
    always move: without this a ring whose cores all send at once can fill up and stand still.
    One of the two can enter in a cycle.

    A run's end does not touch the queue: what a core has handed over still leaves, and a flit that
    is offered stays until it is taken.

    Latency: 1 cycle. Throughput: a flit a cycle. ``room`` and ``own_room`` come from registers.

    Parameters
    ----------
    tile : int
        Values in a chunk.

    Members
    -------
    own_stb, own : In(1), In(FlitLayout)
        A flit of the core's own enters; only with ``own_room``.
    forward_stb, forward : In(1), In(FlitLayout)
        A flit is passed on; only with ``room``, and not with ``own_stb``.
    own_room, room : Out(1)
        There is room for one.
    occupied : Out(1)
        A flit waits to be taken.
    send : Out(stream of FlitLayout)
        To the next router.
    """

    depth = 4

    def __init__(self, tile):
        layout = FlitLayout(tile)
        self._width = layout.size
        super().__init__({
            "own_stb": In(1),
            "own": In(layout),
            "forward_stb": In(1),
            "forward": In(layout),
            "own_room": Out(1),
            "room": Out(1),
            "occupied": Out(1),
            "send": Out(stream.Signature(layout)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=self._width, depth=self.depth)
        m.d.comb += [
            self.own_room.eq(queue.level <= self.depth - 2),
            self.room.eq(queue.level != self.depth),
            self.occupied.eq(queue.r_rdy),
            queue.w_en.eq(self.own_stb | self.forward_stb),
            self.send.payload.eq(queue.r_data),
            self.send.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.send.ready),
        ]
        with m.If(self.own_stb):
            m.d.comb += queue.w_data.eq(self.own)
        with m.Elif(self.forward_stb):
            m.d.comb += queue.w_data.eq(self.forward)
        return m
