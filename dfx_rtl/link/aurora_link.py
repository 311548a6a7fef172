"""A link between two cards on which nothing is lost."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from .blocks import *
from .channel import *
from .packet_receiver import *
from .packet_transmitter import *
from .session import *
from .surface import *

__all__ = ["AuroraLink"]


class AuroraLink(wiring.Component):
    """Packets over a channel of 1 to 4 lanes: none lost, doubled, out of order or wrong.

    Only wires the units together. Both ends have the same parameters. A channel that is lost comes
    up again and goes on where it was. A link that cannot keep its promise fails, with a cause, and
    stays so until ``restart``; a remote end that is reset makes this end fail. While it is failed
    its channel stays down, so that the remote end fails, too.

    Latency: a packet of n words, handed over without a gap from cycle 0 on, has its first word on
    ``receive`` in cycle n + 11 plus that of the line with one lane, n + 13 plus the line and the
    skew with more, if nothing else is sent, the edges of the clocks coincide, and no compensation
    comes between. Throughput: of ``lanes`` blocks for each cycle with ``transmit_ready``, a packet
    of n words gets n / (n + 1), less 7 blocks of 4847. Clock domains: ``sync`` is the link clock,
    ``receive`` the clock recovered from the lanes. ``receive`` is not reset by ``restart`` but by
    the channel. ``send.ready`` does not depend on ``send.valid``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    packet_words : :class:`int`
        Words of the longest packet, at most either buffer.
    send_words, receive_words : :class:`int`
        Words of the buffers, powers of two from 8 to 32768. Full throughput takes as many as fit
        into a round trip.
    retry_cycles : :class:`int`
        Cycles without acknowledgement after which packets are sent again: more than a round trip
        and the longest packet.
    retries : :class:`int`
        How often in a row without progress, before the link fails.
    give_up_cycles : :class:`int`
        Cycles without being up after which the link fails, 1024 to 2**32.
    reset_cycles : :class:`int`
        Cycles for which a channel that was lost stays in reset: more than a round trip, 32 to
        65536.
    slip_cycles : :class:`int`
        Blocks that a slip takes to be seen, 1 to 64.
    skew : :class:`int`
        Blocks by which one lane may be later than another, 1 to 7.

    Members
    -------
    transceiver : ``Out(TransceiverSignature(lanes))``
        To the line.
    others
        See :func:`link_members`.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range.
    """

    def __init__(self, lanes=1, *, packet_words=64, send_words=512, receive_words=512,
                 retry_cycles=4096, retries=64, give_up_cycles=1 << 22, reset_cycles=1024,
                 slip_cycles=32, skew=7):
        self._lanes = lanes
        self._channel = AuroraChannel(lanes, slip_cycles=slip_cycles, skew=skew,
                                      reset_cycles=reset_cycles)
        self._transmitter = PacketTransmitter(
            lanes, packet_words=packet_words, buffer_words=send_words, remote_words=receive_words,
            retry_cycles=retry_cycles, retries=retries)
        self._receiver = PacketReceiver(lanes, buffer_words=receive_words)
        self._session = Session(give_up_cycles)
        super().__init__({"transceiver": Out(TransceiverSignature(lanes)), **link_members(lanes)})

    def elaborate(self, platform):
        m = Module()
        channel, session = self._channel, self._session
        transmitter, receiver = self._transmitter, self._receiver
        m.submodules.channel = channel
        reset = ResetInserter(self.restart)
        m.submodules.transmitter = reset(transmitter)
        m.submodules.receiver = reset(receiver)
        m.submodules.session = reset(session)

        connect(m, channel.transceiver, flipped(self.transceiver))
        connect(m, flipped(self.send), transmitter.send)
        connect(m, transmitter.words, channel.words)
        connect(m, receiver.receive, flipped(self.receive))
        m.d.comb += [
            channel.hold.eq(session.failed | self.restart),
            receiver.word_valid.eq(channel.word_valid),
            receiver.word.eq(channel.word),
            receiver.ready.eq(channel.ready),
            receiver.open.eq(session.open),
            session.ready.eq(channel.ready),
            session.control_valid.eq(receiver.control_valid),
            session.control.eq(receiver.control),
            session.exhausted.eq(transmitter.exhausted),
            session.out_of_range.eq(transmitter.out_of_range),
            session.too_long.eq(transmitter.too_long),
            transmitter.ready.eq(channel.ready),
            transmitter.up.eq(session.up),
            transmitter.failed.eq(session.failed),
            transmitter.octet.eq(session.octet),
            transmitter.reply.eq(receiver.reply),
            transmitter.request_retry.eq(receiver.request_retry),
            transmitter.repeat_reply.eq(receiver.repeat_reply),
            transmitter.control_valid.eq(receiver.control_valid),
            transmitter.control.eq(receiver.control),
            self.up.eq(session.up),
            self.down_cause.eq(session.cause),
            self.retry_count.eq(transmitter.retry_count),
            self.crc_error_count.eq(receiver.crc_error_count),
            self.header_error_count.eq(receiver.header_error_count),
            self.packet_count.eq(receiver.packet_count),
        ]
        return m
