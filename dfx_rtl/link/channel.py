"""A channel of bonded lanes: words from end to end, with errors."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .blocks import *
from .elastic_buffer import *
from .initialisation import *
from .receive_lanes import *
from .transmit_lanes import *

__all__ = ["AuroraChannel"]


class AuroraChannel(wiring.Component):
    """Sends and receives words over the transceivers of 1 to 4 lanes, in the manner of Aurora.

    Only wires the units together. It neither detects nor repairs wrong bits within a block. Clock
    domains: ``sync`` is the link clock, ``receive`` the clock recovered from the lanes, one for all
    of them.

    Latency: 1 cycle from ``words`` to the transceiver; from the transceiver to ``word`` 4 cycles
    with one lane, else 6 plus the skew, if the edges of both clocks coincide.

    Parameters
    ----------
    lanes, slip_cycles, skew, reset_cycles : :class:`int`
        See :class:`TransceiverSignature`, :class:`BlockLock`, :class:`Bonding` and
        :class:`Initialisation`.

    Members
    -------
    transceiver : ``Out(TransceiverSignature(lanes))``
        To the line.
    words : ``In(stream.Signature(ChannelWord(lanes)))``
        Words to send; taken while ``ready``.
    word_valid, word : ``Out(1)``, ``Out(ReceivedWord(lanes))``
        A word that came; it cannot be refused.
    hold : ``In(1)``
        Keep the channel down, and tell the remote end by not-ready idles.
    ready : ``Out(1)``
        The channel is up.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        As the units do.
    """

    def __init__(self, lanes, *, slip_cycles=32, skew=7, reset_cycles=1024):
        self._lanes = lanes
        self._transmit_lanes = TransmitLanes(lanes)
        self._receive_lanes = ReceiveLanes(lanes, slip_cycles=slip_cycles, skew=skew)
        self._elastic_buffer = ElasticBuffer(lanes)
        self._initialisation = Initialisation(slip_cycles=slip_cycles,
                                              reset_cycles=reset_cycles)
        super().__init__({
            "transceiver": Out(TransceiverSignature(lanes)),
            "words": In(stream.Signature(ChannelWord(lanes))),
            "word_valid": Out(1),
            "word": Out(ReceivedWord(lanes)),
            "hold": In(1),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmit_lanes = transmit = self._transmit_lanes
        m.submodules.receive_lanes = DomainRenamer("receive")(self._receive_lanes)
        receive = self._receive_lanes
        m.submodules.elastic_buffer = buffer = self._elastic_buffer
        m.submodules.initialisation = state = self._initialisation
        port = self.transceiver

        connect(m, transmit.words, flipped(self.words))
        m.d.comb += [
            transmit.mode.eq(state.mode),
            transmit.transmit_ready.eq(port.transmit_ready),
            receive.clear.eq(buffer.write_clear),
            receive.valid.eq(port.receive_valid),
            port.slip.eq(receive.slip),
            port.receive_reset.eq(buffer.write_clear),
            buffer.write_valid.eq(receive.word_valid),
            buffer.write_word.eq(receive.word),
            buffer.write_locked.eq(receive.locked),
            buffer.write_bonded.eq(receive.bonded),
            buffer.clear.eq(state.clear),
            state.hold.eq(self.hold),
            state.locked.eq(buffer.locked),
            state.bonded.eq(buffer.bonded),
            state.overflow.eq(buffer.overflow),
            state.word_valid.eq(buffer.word_valid),
            state.kind.eq(buffer.word.kind),
            state.transmit_ready.eq(port.transmit_ready),
            self.word_valid.eq(buffer.word_valid),
            self.word.eq(buffer.word),
            self.ready.eq(state.ready),
        ]
        for lane in range(self._lanes):
            m.d.comb += [
                port.transmit_header[lane].eq(transmit.header[lane]),
                port.transmit_data[lane].eq(transmit.data[lane]),
                receive.header[lane].eq(port.receive_header[lane]),
                receive.data[lane].eq(port.receive_data[lane]),
            ]
        return m
