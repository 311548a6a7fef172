"""One end of a plain link: what a neighbour sees of a core, as bits that a delay line carries."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dfx_rtl.router.layouts import FlitLayout

__all__ = ["ENDPOINT_LATENCY", "BoundaryLayout", "Endpoint"]

#: Cycles that the two ends of a link add to the delay between them.
ENDPOINT_LATENCY = 2


def BoundaryLayout(tile):
    """What crosses from a core to a neighbour in a cycle.

    ``valid``: there is a flit. ``credit``: one more place is free for what comes the other way.
    Without both the rest has no meaning. The harness of the compiled engine looks at the lowest
    two bits.
    """
    return data.StructLayout({"valid": 1, "credit": 1, "flit": FlitLayout(tile)})


class Endpoint(wiring.Component):
    """Sends flits to a neighbour while it has room, and keeps what comes from there. Simulation
    only.

    The sender holds a credit for each free place of the receiver's queue; the receiver returns one
    for each flit that its core takes. Flits keep their order, and none is lost.

    Latency: from a transfer on ``send`` of one end to ``receive`` of the other one it is
    ``ENDPOINT_LATENCY`` and the delay between them. Throughput: a flit a cycle, if ``depth`` is at
    least twice the delay and 4. ``send.ready`` does not depend on ``send.valid``; nothing is
    combinational from one side to the other.

    Parameters
    ----------
    tile : int
        d.
    depth : int
        Places of the queue, in flits: a power of two.

    Members
    -------
    send : In(stream.Signature(FlitLayout(tile)))
        From the core.
    receive : Out(stream.Signature(FlitLayout(tile)))
        To the core.
    boundary_out : Out(BoundaryLayout(tile))
        To the neighbour.
    boundary_in : In(BoundaryLayout(tile))
        From the neighbour.

    Raises
    ------
    ValueError
        If the depth is no power of two.
    """

    def __init__(self, tile, depth=512):
        if depth < 1 or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two, not {depth!r}")
        self._flit = FlitLayout(tile)
        self._depth = depth
        super().__init__({
            "send": In(stream.Signature(self._flit)),
            "receive": Out(stream.Signature(self._flit)),
            "boundary_out": Out(BoundaryLayout(tile)),
            "boundary_in": In(BoundaryLayout(tile)),
        })

    def elaborate(self, platform):
        m = Module()
        self._elaborate_send(m)
        self._elaborate_receive(m)
        return m

    def _elaborate_send(self, m):
        credits = Signal(range(self._depth + 1), init=self._depth)
        sent, returned = Signal(), Signal()
        m.d.comb += [
            self.send.ready.eq(credits != 0),
            sent.eq(self.send.valid & self.send.ready),
            returned.eq(self.boundary_in.credit),
        ]
        m.d.sync += self.boundary_out.valid.eq(sent)
        with m.If(sent):
            m.d.sync += self.boundary_out.flit.eq(self.send.payload)
        with m.If(sent & ~returned):
            m.d.sync += credits.eq(credits - 1)
        with m.If(returned & ~sent):
            m.d.sync += credits.eq(credits + 1)

    def _elaborate_receive(self, m):
        address = exact_log2(self._depth)
        m.submodules.queue = queue = memory.Memory(shape=self._flit, depth=self._depth, init=[])
        write = queue.write_port()
        read = queue.read_port(transparent_for=(write,))
        write_place, read_place, next_place = (
            Signal(address + 1, name=f"{name}_place") for name in ("write", "read", "next"))
        taken = Signal()
        m.d.comb += [
            write.en.eq(self.boundary_in.valid),
            write.addr.eq(write_place[:address]),
            write.data.eq(self.boundary_in.flit),
            self.receive.valid.eq(write_place != read_place),
            self.receive.payload.eq(read.data),
            taken.eq(self.receive.valid & self.receive.ready),
            next_place.eq(read_place + taken),
            read.addr.eq(next_place[:address]),
            read.en.eq(self.boundary_in.valid | taken),
        ]
        m.d.sync += self.boundary_out.credit.eq(taken)
        with m.If(self.boundary_in.valid):
            m.d.sync += write_place.eq(write_place + 1)
        with m.If(taken):
            m.d.sync += read_place.eq(next_place)
