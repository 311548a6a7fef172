"""A link of the ring: chunks of the core in packets, between the kernel's clock and the link's."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.link import AuroraLink, DownCause, TransceiverSignature
from dfx_rtl.registers.ports import ChunkLayout

__all__ = ["RingLink"]

LANES = 4
_WORD = 64 * LANES
# Chunks on their way between the clocks.
_CHUNKS = 16


class RingLink(wiring.Component):
    """Sends chunks to another card, and receives its chunks; none is lost.

    A chunk is a packet of its own: with d = 64, four words of 256 bits. So four fifths of the
    link's rate are chunks, 78 million a second: two in five cycles of the kernel. Longer packets
    would take longer, since a packet is handed over when it is complete.

    Latency: an asynchronous FIFO on each side, 1 cycle of the one domain and 3 of the other; two
    cycles for the words of a chunk; and that of :class:`~dfx_rtl.link.AuroraLink` between. Clock
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
    send, receive : In(stream), Out(stream) of chunks
        In domain ``sync``.
    transceiver : Out(TransceiverSignature(4))
        To the cage.
    up : Out(1)
        Chunks flow; in domain ``link{index}_transmit``.
    down_cause : Out(DownCause)
        Why the link has failed, in the same domain. It stays so until a full reset: the core has no
        register for it yet, and sees that nothing moves (WATCHDOG_CORE).
    """

    def __init__(self, tile, index, **options):
        self._index = index
        self._bits = Shape.cast(ChunkLayout(tile)).width
        self._words = -(-self._bits // _WORD)
        self._link = AuroraLink(LANES, **options)
        super().__init__({
            "send": In(stream.Signature(ChunkLayout(tile))),
            "receive": Out(stream.Signature(ChunkLayout(tile))),
            "transceiver": Out(TransceiverSignature(LANES)),
            "up": Out(1),
            "down_cause": Out(DownCause),
        })

    def elaborate(self, platform):
        m = Module()
        domain = f"link{self._index}_transmit"
        link = self._link
        m.submodules.link = DomainRenamer({
            "sync": domain, "receive": f"link{self._index}_receive"})(link)
        connect(m, link.transceiver, flipped(self.transceiver))
        m.d.comb += [self.up.eq(link.up), self.down_cause.eq(link.down_cause)]
        self._elaborate_send(m, domain)
        self._elaborate_receive(m, domain)
        return m

    def _elaborate_send(self, m, domain):
        m.submodules.send_fifo = chunks = fifo.AsyncFIFO(
            width=self._bits, depth=_CHUNKS, w_domain="sync", r_domain=domain)
        words = self._link.send
        # The chunk in hand, its next word lowest.
        rest = Signal(self._words * _WORD, reset_less=True)
        count = Signal(range(self._words + 1))
        moved = Signal()
        ends = Signal()
        m.d.comb += [
            chunks.w_data.eq(Value.cast(self.send.payload)),
            chunks.w_en.eq(self.send.valid),
            self.send.ready.eq(chunks.w_rdy),
            words.valid.eq(count != 0),
            words.payload.data.eq(rest[:_WORD]),
            words.payload.last.eq(count == 1),
            moved.eq(words.valid & words.ready),
            ends.eq(moved & words.payload.last),
            chunks.r_en.eq((count == 0) | ends),
        ]
        with m.If(chunks.r_rdy & chunks.r_en):
            m.d[domain] += [rest.eq(chunks.r_data), count.eq(self._words)]
        with m.Elif(moved):
            m.d[domain] += [rest.eq(rest >> _WORD), count.eq(count - 1)]

    def _elaborate_receive(self, m, domain):
        m.submodules.receive_fifo = chunks = fifo.AsyncFIFO(
            width=self._bits, depth=_CHUNKS, w_domain=domain, r_domain="sync")
        words = self._link.receive
        # The words below the last one of a chunk.
        held = Signal(max(1, (self._words - 1) * _WORD), reset_less=True)
        whole = words.payload.data if self._words == 1 else Cat(held, words.payload.data)
        m.d.comb += [
            chunks.w_data.eq(whole),
            chunks.w_en.eq(words.valid & words.payload.last),
            words.ready.eq(chunks.w_rdy),
            Value.cast(self.receive.payload).eq(chunks.r_data),
            self.receive.valid.eq(chunks.r_rdy),
            chunks.r_en.eq(self.receive.ready),
        ]
        if self._words > 1:
            with m.If(words.valid & words.ready):
                m.d[domain] += held.eq(Cat(held, words.payload.data)[_WORD:])
