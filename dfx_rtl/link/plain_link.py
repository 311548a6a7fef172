"""A link that is only a delay."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.utils import ceil_log2

from .blocks import *
from .checks import *
from .surface import *

__all__ = ["PlainLink"]


class PlainLink(wiring.Component):
    """One direction of a link without the line: a queue with a latency, for large simulations.

    What goes into ``send`` comes out of ``receive`` ``latency`` cycles later; packets are not kept
    together. Two of them make a link between two ends. Always up, without errors. Throughput: a
    word a cycle. ``send.ready`` does not depend on ``send.valid``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    latency : :class:`int`
        Cycles from ``send`` to ``receive``, 1 to 4096.

    Members
    -------
    See :func:`link_members`.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not an integer in its range.
    """

    def __init__(self, lanes=1, *, latency):
        check_integer("Lanes", lanes, 1, 4)
        check_integer("Latency", latency, 1, 4096)
        self._lanes = lanes
        self._latency = latency
        super().__init__(link_members(lanes))

    def elaborate(self, platform):
        m = Module()
        address = ceil_log2(self._latency + 2)
        m.submodules.queue = queue = memory.Memory(
            shape=PacketWord(self._lanes), depth=1 << address, init=[])
        write = queue.write_port()
        read = queue.read_port(transparent_for=(write,))
        write_pointer = Signal(address + 1)
        due_pointer = Signal(address + 1)
        read_pointer = Signal(address + 1)
        next_pointer = Signal(address + 1)
        level = Signal(address + 1)
        taken = Signal()
        given = Signal()
        due = Signal()
        m.d.comb += [
            level.eq(write_pointer - read_pointer),
            self.send.ready.eq(~level[-1]),
            taken.eq(self.send.valid & self.send.ready),
            write.en.eq(taken),
            write.addr.eq(write_pointer[:address]),
            write.data.eq(self.send.payload),
            self.receive.valid.eq(read_pointer != due_pointer),
            self.receive.payload.eq(read.data),
            given.eq(self.receive.valid & self.receive.ready),
            next_pointer.eq(read_pointer + given),
            read.addr.eq(next_pointer[:address]),
            due.eq(taken),
            self.up.eq(1),
        ]
        if self._latency > 1:
            # A bit for each cycle that a word is on its way.
            way = Signal(self._latency - 1)
            with m.If(taken | way.any()):
                m.d.sync += way.eq(Cat(taken, way))
            m.d.comb += due.eq(way[-1])
        with m.If(taken):
            m.d.sync += write_pointer.eq(write_pointer + 1)
        with m.If(due):
            m.d.sync += due_pointer.eq(due_pointer + 1)
        with m.If(given):
            m.d.sync += read_pointer.eq(next_pointer)
            with m.If(self.receive.payload.last):
                m.d.sync += self.packet_count.eq(self.packet_count + 1)
        with m.If(self.restart):
            m.d.sync += [write_pointer.eq(0), due_pointer.eq(0), read_pointer.eq(0),
                         self.packet_count.eq(0)]
            if self._latency > 1:
                m.d.sync += way.eq(0)
        return m
