"""One end of a link with lanes: the card's link layer, and the line in front of its receiver."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.link.blocks import BLOCK
from dfx_rtl.router.layouts import FlitLayout
from platforms.ring_link import LANES, RingLink

from .channel import ErrorLayout, LineModel

__all__ = ["LINE_LATENCY", "AuroraEnd", "LineBoundaryLayout"]

#: Cycles that the two ends add to the delay of the line between them.
LINE_LATENCY = 5

#: What crosses in a cycle: a block a lane, always; ``valid`` is 0 if the cable is cut.
LineBoundaryLayout = data.StructLayout({
    "valid": 1, "headers": 2 * LANES, "blocks": BLOCK * LANES})


class AuroraEnd(wiring.Component):
    """A :class:`~platforms.ring_link.RingLink`, with errors on the blocks that it receives.
    Simulation only.

    All of it runs in the kernel's clock, which is slower than a real link's; each lane carries a
    block a cycle. The link layer needs a few thousand cycles until flits flow. Bit errors are
    single ones, at random.

    Parameters
    ----------
    tile : int
        d.
    seed : int
        Of the errors.
    **options
        Of the link layer.

    Members
    -------
    send, receive : In(stream), Out(stream) of FlitLayout
        From and to the core.
    boundary_out, boundary_in : Out(LineBoundaryLayout), In(LineBoundaryLayout)
        To and from the neighbour.
    line_error : In(ErrorLayout)
        What goes wrong on the way from the neighbour.
    error_count : Out(32)
        Blocks from there that were hit.
    error : Out(8)
        Why the link has failed, a :class:`~dfx_rtl.link.DownCause`; 0 while it has not.
    """

    def __init__(self, tile, seed, **options):
        self._link = RingLink(tile, 0, **options)
        self._line = LineModel(LANES, latency=LINE_LATENCY - 1, seed=seed)
        flits = stream.Signature(FlitLayout(tile))
        super().__init__({
            "send": In(flits),
            "receive": Out(flits),
            "boundary_out": Out(LineBoundaryLayout),
            "boundary_in": In(LineBoundaryLayout),
            "line_error": In(ErrorLayout),
            "error_count": Out(32),
            "error": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.line = line = self._line
        link = self._link
        m.submodules.link = DomainRenamer({
            "link0_transmit": "sync", "link0_receive": "sync"})(link)
        connect(m, flipped(self.send), link.send)
        connect(m, link.receive, flipped(self.receive))
        transceiver, came = link.transceiver, self.boundary_in
        for lane in range(LANES):
            m.d.sync += [
                self.boundary_out.headers[2 * lane:2 * lane + 2].eq(
                    transceiver.transmit_header[lane]),
                self.boundary_out.blocks[BLOCK * lane:BLOCK * (lane + 1)].eq(
                    transceiver.transmit_data[lane]),
            ]
            m.d.comb += [
                transceiver.receive_header[lane].eq(line.received_header[lane]),
                transceiver.receive_data[lane].eq(line.received_data[lane]),
            ]
            with m.If(came.valid):
                m.d.comb += [
                    line.header[lane].eq(came.headers[2 * lane:2 * lane + 2]),
                    line.data[lane].eq(came.blocks[BLOCK * lane:BLOCK * (lane + 1)]),
                ]
        m.d.sync += self.boundary_out.valid.eq(1)
        m.d.comb += [
            transceiver.transmit_ready.eq(line.transmit_ready),
            transceiver.receive_valid.eq(line.valid),
            line.slip.eq(transceiver.slip),
            line.error.eq(self.line_error),
            self.error_count.eq(line.error_count),
            self.error.eq(link.error),
        ]
        return m
