"""A link of the ring: the router's flits in packets, between the kernel's clock and the link's."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.link import AuroraLink, DownCause, TransceiverSignature
from dfx_rtl.router.layouts import FlitLayout

__all__ = ["LANES", "RingLink"]

#: Of a cage.
LANES = 4
_WORD = 64 * LANES
# Flits on their way between the clocks.
_CHUNKS = 16


class RingLink(wiring.Component):
    """Sends flits to another card, and receives its flits; none is lost.

    A flit is a packet of its own: with d = 64, five words of 256 bits. Longer packets would take
    longer, since a packet is handed over when it is complete.

    A remote card that is not there yet is waited for: cards are loaded one after the other. Until
    the link is up for the first time no packet is on it, so it can begin again without a loss. Once
    it was up, a failure lasts.

    Latency: an asynchronous FIFO on each side, 1 cycle of the one domain and 3 of the other; two
    cycles for the words of a flit; and that of :class:`~dfx_rtl.link.AuroraLink` between. Clock
    domains: ``sync`` is the kernel, ``link{index}_transmit`` the link's clock,
    ``link{index}_receive`` the recovered one.

    Parameters
    ----------
    tile : int
        d, the values of a chunk.
    index : int
        Of the cage.
    **options
        Of the link layer.

    Members
    -------
    send, receive : In(stream), Out(stream) of flits
        In domain ``sync``.
    transceiver : Out(TransceiverSignature(4))
        To the cage.
    up : Out(1)
        Flits flow; in domain ``link{index}_transmit``.
    error : Out(8)
        Why the link has failed, a :class:`~dfx_rtl.link.DownCause`; 0 while it has not. In domain
        ``sync``. It stays so until a full reset; only a remote end that did not come in time
        (``NO_CHANNEL``) may still come.
    """

    def __init__(self, tile, index, **options):
        self._index = index
        self._bits = Shape.cast(FlitLayout(tile)).width
        self._words = -(-self._bits // _WORD)
        self._link = AuroraLink(LANES, **options)
        super().__init__({
            "send": In(stream.Signature(FlitLayout(tile))),
            "receive": Out(stream.Signature(FlitLayout(tile))),
            "transceiver": Out(TransceiverSignature(LANES)),
            "up": Out(1),
            "error": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        domain = f"link{self._index}_transmit"
        link = self._link
        m.submodules.link = DomainRenamer({
            "sync": domain, "receive": f"link{self._index}_receive"})(link)
        connect(m, link.transceiver, flipped(self.transceiver))
        m.d.comb += self.up.eq(link.up)
        was_up = Signal()
        with m.If(link.up):
            m.d[domain] += was_up.eq(1)
        self._elaborate_error(m, domain, was_up)
        self._elaborate_send(m, domain, was_up)
        self._elaborate_receive(m, domain)
        return m

    def _elaborate_error(self, m, domain, was_up):
        """Report a failure of a link that was up; begin again with one that was not."""
        link = self._link
        failed, failed_crossed = Signal(), Signal()
        absent, absent_crossed = Signal(), Signal()
        m.submodules.failed = FFSynchronizer(failed, failed_crossed)
        m.submodules.absent = FFSynchronizer(absent, absent_crossed)
        with m.If(link.down_cause != DownCause.NONE):
            with m.If(was_up):
                m.d[domain] += failed.eq(1)
            with m.Else():
                m.d.comb += link.restart.eq(1)
                m.d[domain] += absent.eq(1)
        with m.If(link.up):
            m.d[domain] += absent.eq(0)
        # The cause of a failure stays, and is read only when the flag has crossed.
        with m.If(failed_crossed):
            m.d.comb += self.error.eq(link.down_cause)
        with m.Elif(absent_crossed):
            m.d.comb += self.error.eq(DownCause.NO_CHANNEL)

    def _elaborate_send(self, m, domain, was_up):
        m.submodules.send_fifo = flits = fifo.AsyncFIFO(
            width=self._bits, depth=_CHUNKS, w_domain="sync", r_domain=domain)
        words = self._link.send
        # The flit in hand, its next word lowest.
        rest = Signal(self._words * _WORD, reset_less=True)
        count = Signal(range(self._words + 1))
        moved = Signal()
        ends = Signal()
        m.d.comb += [
            flits.w_data.eq(Value.cast(self.send.payload)),
            flits.w_en.eq(self.send.valid),
            self.send.ready.eq(flits.w_rdy),
            words.valid.eq((count != 0) & was_up),
            words.payload.data.eq(rest[:_WORD]),
            words.payload.last.eq(count == 1),
            moved.eq(words.valid & words.ready),
            ends.eq(moved & words.payload.last),
            flits.r_en.eq((count == 0) | ends),
        ]
        with m.If(flits.r_rdy & flits.r_en):
            m.d[domain] += [rest.eq(flits.r_data), count.eq(self._words)]
        with m.Elif(moved):
            m.d[domain] += [rest.eq(rest >> _WORD), count.eq(count - 1)]

    def _elaborate_receive(self, m, domain):
        m.submodules.receive_fifo = flits = fifo.AsyncFIFO(
            width=self._bits, depth=_CHUNKS, w_domain=domain, r_domain="sync")
        words = self._link.receive
        # The words below the last one of a flit.
        held = Signal(max(1, (self._words - 1) * _WORD), reset_less=True)
        whole = words.payload.data if self._words == 1 else Cat(held, words.payload.data)
        m.d.comb += [
            flits.w_data.eq(whole),
            flits.w_en.eq(words.valid & words.payload.last),
            words.ready.eq(flits.w_rdy),
            Value.cast(self.receive.payload).eq(flits.r_data),
            self.receive.valid.eq(flits.r_rdy),
            flits.r_en.eq(self.receive.ready),
        ]
        if self._words > 1:
            with m.If(words.valid & words.ready):
                m.d[domain] += held.eq(Cat(held, words.payload.data)[_WORD:])
