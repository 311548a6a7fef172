"""The sending side of the retry protocol."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from .blocks import *
from .checks import *
from .crc import CRC
from .crc_encoder import *
from .session import SessionOctet

__all__ = ["PacketTransmitter", "Reply", "NUMBER", "WINDOW_PACKETS", "COUNT", "CREDIT_UNITS"]


#: Bits of a packet's number.
NUMBER = 8
#: Packets that may be without acknowledgement; less than half of the numbers.
WINDOW_PACKETS = (1 << NUMBER - 1) - 1
#: Bits of a counter.
COUNT = 32
#: Credit is told in steps of this part of the receive buffer, at least a word.
CREDIT_UNITS = 128
#: Cycles without a control block after which news are told in the middle of packets, and after
#: which they are told again although nothing is new.
_URGENT_CYCLES, _HEARTBEAT_CYCLES = 64, 256
#: Words from one HELLO to the next.
_HELLO_PERIOD = 8


class Reply(data.Struct):
    """What the receiver of packets wants the remote end to know.

    Attributes
    ----------
    acknowledge : 8 bits
        Number of the next packet it expects.
    credit : 8 bits
        Its room beyond that, in units.
    """
    acknowledge: NUMBER
    credit: 8


class PacketTransmitter(wiring.Component):
    """Numbers packets, keeps them until they are acknowledged, and sends them again if need be.

    Words go through a buffer, from which they are sent and sent again; a packet need not be whole
    to be sent. After its last word comes an END with the packet's number and CRC. A word is only
    sent when the remote buffer has room for it. The remote end asks for a retry when it sees a
    packet that is broken or out of order; a packet that is not acknowledged in ``retry_cycles`` is
    sent again, too, with all after it (go back N), behind a REPLAY block, for which a packet that
    is being sent is broken off. Acknowledgement and
    credit go with each control block, and in blocks of their own when there is nothing else to
    send, when they are 64 cycles old, or every 256 cycles. These may fall into a packet: else two
    ends that both wait for credit in the middle of a packet would wait for ever.

    Latency: 3 cycles from ``send`` to ``words``. Throughput: a word a cycle; a packet of n words
    takes n + 1. ``send.ready`` does not depend on ``send.valid``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    packet_words : :class:`int`
        Words of the longest packet.
    buffer_words : :class:`int`
        Words that can be without acknowledgement, a power of two.
    remote_words : :class:`int`
        Words of the remote end's receive buffer, a power of two.
    retry_cycles : :class:`int`
        Cycles without acknowledgement after which packets are sent again.
    retries : :class:`int`
        How often in a row without any progress.

    Members
    -------
    send : ``In(stream.Signature(PacketWord(lanes)))``
        Packets.
    words : ``Out(stream.Signature(ChannelWord(lanes)))``
        To the channel.
    ready, up, failed : ``In(1)``
        The channel is up; the link is up; it has failed.
    octet : ``In(SessionOctet)``
        For HELLO blocks.
    reply : ``In(Reply)``
        For all control blocks.
    request_retry : ``In(1)``
        Ask the remote end to send again.
    repeat_reply : ``In(1)``
        Tell the reply again although it is the same.
    control_valid, control : ``In(1)``, ``In(ControlBlock)``
        A control block with a right CRC came.
    exhausted, out_of_range, too_long : ``Out(1)``
        Failures: too many retries; an impossible acknowledgement; a packet that is too long.
    retry_count : ``Out(32)``
        How often packets were sent again.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range.
    """

    def __init__(self, lanes, *, packet_words, buffer_words, remote_words, retry_cycles, retries):
        check_integer("Lanes", lanes, 1, 4)
        check_power_of_two("Buffer words", buffer_words, 8, 1 << 15)
        check_power_of_two("Remote words", remote_words, 8, 1 << 15)
        check_integer("Packet words", packet_words, 1, min(buffer_words, remote_words))
        check_integer("Retry time", retry_cycles, packet_words + 128, 1 << 24)
        check_integer("Retries", retries, 1, 1 << 16)
        self._lanes = lanes
        self._packet_words = packet_words
        self._buffer_words = buffer_words
        self._remote_words = remote_words
        self._retry_cycles = retry_cycles
        self._retries = retries
        super().__init__({
            "send": In(stream.Signature(PacketWord(lanes))),
            "words": Out(stream.Signature(ChannelWord(lanes))),
            "ready": In(1),
            "up": In(1),
            "failed": In(1),
            "octet": In(SessionOctet),
            "reply": In(Reply),
            "request_retry": In(1),
            "repeat_reply": In(1),
            "control_valid": In(1),
            "control": In(ControlBlock),
            "exhausted": Out(1),
            "out_of_range": Out(1),
            "too_long": Out(1),
            "retry_count": Out(COUNT),
        })

    def elaborate(self, platform):
        m = Module()
        address = exact_log2(self._buffer_words)
        # Pointers count words for ever, and differ by less than half of their range.
        pointer = max(address, exact_log2(self._remote_words)) + 2

        # What is kept: words, and behind each packet a pointer.
        m.submodules.buffer = buffer = memory.Memory(
            shape=PacketWord(self._lanes), depth=self._buffer_words, init=[])
        m.submodules.ends = ends = memory.Memory(shape=pointer, depth=1 << NUMBER - 1, init=[])
        write = buffer.write_port()
        read = buffer.read_port(transparent_for=(write,))
        end_write, end_read = ends.write_port(), ends.read_port()
        write_pointer = Signal(pointer)
        read_pointer = Signal(pointer)
        acknowledged_pointer = Signal(pointer)
        written = Signal(NUMBER)
        sent = Signal(NUMBER)
        highest = Signal(NUMBER)
        acknowledged = Signal(NUMBER)
        length = Signal(range(self._packet_words + 1))

        # In.
        taken = Signal()
        level = Signal(pointer)
        waiting = Signal(NUMBER)
        m.d.comb += [
            level.eq(write_pointer - acknowledged_pointer),
            waiting.eq(written - acknowledged),
            self.send.ready.eq((level < self._buffer_words) & (waiting < WINDOW_PACKETS)
                               & ~self.failed),
            taken.eq(self.send.valid & self.send.ready),
            write.en.eq(taken),
            write.addr.eq(write_pointer[:address]),
            write.data.eq(self.send.payload),
            end_write.en.eq(taken & self.send.payload.last),
            end_write.addr.eq(written[:NUMBER - 1]),
            end_write.data.eq(write_pointer + 1),
        ]
        with m.If(taken):
            m.d.sync += [write_pointer.eq(write_pointer + 1), length.eq(length + 1)]
            with m.If(self.send.payload.last):
                m.d.sync += [written.eq(written + 1), length.eq(0)]
            with m.Elif(length == self._packet_words - 1):
                m.d.comb += self.too_long.eq(1)

        # What the remote end says. Packets that are being sent again may turn out to have come:
        # then sending is behind.
        unit = max(1, self._remote_words // CREDIT_UNITS)
        news = Signal()
        heard = Signal(Reply, reset_less=True)
        wanted = Signal(reset_less=True)
        greeted = Signal(reset_less=True)
        progress = Signal(NUMBER)
        in_range = Signal()
        base = Signal(pointer)
        limit = Signal(pointer)
        lag = Signal(NUMBER)
        behind = Signal()
        m.d.comb += [
            end_read.en.eq(self.control_valid),
            end_read.addr.eq((self.control.acknowledge - 1)[:NUMBER - 1]),
            progress.eq(heard.acknowledge - acknowledged),
            in_range.eq(progress <= (highest - acknowledged)[:NUMBER]),
            base.eq(Mux(progress == 0, acknowledged_pointer, end_read.data)),
            lag.eq(acknowledged - sent),
            behind.eq((lag != 0) & ~lag[-1]),
        ]
        m.d.sync += news.eq(self.control_valid)
        with m.If(self.control_valid):
            m.d.sync += [
                heard.acknowledge.eq(self.control.acknowledge),
                heard.credit.eq(self.control.credit),
                wanted.eq(self.control.type == BlockType.RETRY),
                greeted.eq(self.control.type == BlockType.HELLO),
            ]
        with m.If(news & in_range):
            m.d.sync += [acknowledged.eq(heard.acknowledge), acknowledged_pointer.eq(base),
                         limit.eq(base + heard.credit * unit)]
        m.d.comb += self.out_of_range.eq(news & ~in_range & self.up)

        # When to send again.
        replay = Signal()
        timer = Signal(range(self._retry_cycles + 1))
        tries = Signal(range(self._retries + 1))
        in_packet = Signal()
        replay_moves = Signal()
        in_vain = Signal()
        m.d.comb += in_vain.eq(~behind & ((sent != acknowledged) | in_packet))
        with m.If(replay_moves):
            m.d.sync += [replay.eq(0), timer.eq(0), self.retry_count.eq(self.retry_count + 1)]
            with m.If(in_vain):
                m.d.sync += tries.eq(tries + 1)
                with m.If(tries == self._retries):
                    m.d.comb += self.exhausted.eq(1)
        with m.Elif(~self.up):
            m.d.sync += [replay.eq(0), timer.eq(0)]
        with m.Elif((sent != acknowledged) & ~behind):
            with m.If(timer == self._retry_cycles):
                m.d.sync += replay.eq(1)
            with m.Else():
                m.d.sync += timer.eq(timer + 1)
        with m.Else():
            m.d.sync += timer.eq(0)
        with m.If(news & in_range & self.up):
            with m.If(wanted):
                m.d.sync += replay.eq(1)
            with m.If(progress != 0):
                m.d.sync += [timer.eq(0), tries.eq(0)]

        # What goes next.
        move = Signal()
        retry_wanted = Signal()
        at_end = Signal()
        room = Signal(signed(pointer))
        told = Signal(Reply)
        repeat = Signal(init=1)
        quiet_count = Signal(range(_HEARTBEAT_CYCLES + 1))
        hello_count = Signal(range(_HELLO_PERIOD))
        new = Signal()
        urgent = Signal()
        data_ready = Signal()
        was_up = Signal()
        kind = Signal(8)
        send_control = Signal()
        send_data = Signal()
        next_pointer = Signal(pointer)
        m.d.comb += [
            room.eq(limit - read_pointer),
            data_ready.eq((read_pointer != write_pointer) & (room > 0)),
            new.eq(repeat | (told != self.reply)),
            urgent.eq((new & (quiet_count >= _URGENT_CYCLES))
                      | (quiet_count == _HEARTBEAT_CYCLES)),
            next_pointer.eq(read_pointer),
            read.addr.eq(next_pointer[:address]),
            kind.eq(BlockType.ACKNOWLEDGE),
        ]
        m.d.sync += [read_pointer.eq(next_pointer), was_up.eq(self.up)]
        # The news that brought the link up are not heeded yet in its first cycle.
        with m.If(~self.up | ~was_up):
            m.d.comb += [
                next_pointer.eq(acknowledged_pointer),
                kind.eq(BlockType.HELLO),
                send_control.eq(self.ready & ~self.up & (hello_count == 0)),
            ]
            m.d.sync += [sent.eq(acknowledged), in_packet.eq(0), at_end.eq(0), repeat.eq(1)]
            with m.If(move & self.ready):
                m.d.sync += hello_count.eq(hello_count + 1)
        with m.Elif(retry_wanted):
            m.d.comb += [kind.eq(BlockType.RETRY), send_control.eq(1)]
        with m.Elif(urgent):
            m.d.comb += send_control.eq(1)
        with m.Elif(replay | (behind & in_packet)):
            # Also in the middle of a packet: it may wait for room that only a replay makes.
            m.d.comb += [kind.eq(BlockType.REPLAY), send_control.eq(1)]
            with m.If(move):
                m.d.comb += [replay_moves.eq(1), next_pointer.eq(acknowledged_pointer)]
                m.d.sync += [sent.eq(acknowledged), in_packet.eq(0), at_end.eq(0)]
        with m.Elif(at_end):
            m.d.comb += [kind.eq(BlockType.END), send_control.eq(1)]
            with m.If(move):
                m.d.sync += [at_end.eq(0), in_packet.eq(0), sent.eq(sent + 1)]
                with m.If(sent == highest):
                    m.d.sync += highest.eq(sent + 1)
        with m.Elif(behind):
            m.d.comb += next_pointer.eq(acknowledged_pointer)
            m.d.sync += sent.eq(acknowledged)
        with m.Elif(data_ready):
            m.d.comb += send_data.eq(1)
            with m.If(move):
                m.d.comb += next_pointer.eq(read_pointer + 1)
                m.d.sync += [in_packet.eq(1), at_end.eq(read.data.last)]
        with m.Elif(new):
            m.d.comb += send_control.eq(1)

        with m.If(move & send_control):
            m.d.sync += [told.eq(self.reply), repeat.eq(0), quiet_count.eq(0)]
        with m.Elif(quiet_count != _HEARTBEAT_CYCLES):
            m.d.sync += quiet_count.eq(quiet_count + 1)
        with m.If(self.repeat_reply | (news & greeted)):
            m.d.sync += repeat.eq(1)
        with m.If(~self.up):
            m.d.sync += retry_wanted.eq(0)
        with m.Elif(self.request_retry):
            m.d.sync += retry_wanted.eq(1)
        with m.Elif(move & (kind == BlockType.RETRY)):
            m.d.sync += retry_wanted.eq(0)

        m.submodules.encoder = encoder = CrcEncoder(self._lanes)
        connect(m, encoder.words, flipped(self.words))
        sequence = Signal(NUMBER)
        block = Signal(ControlBlock)
        m.d.comb += [
            # As a whole: of a part that is constant Yosys makes a process that never runs.
            block.eq(Cat(Const(0, CRC), self.reply.credit, self.reply.acknowledge, sequence, kind)),
            encoder.clear.eq(~self.ready),
            encoder.items.valid.eq(send_control | send_data),
            encoder.items.payload.type.eq(Mux(send_control, kind, 0)),
            encoder.items.payload.data.eq(Mux(send_control, block.as_value(), read.data.data)),
            move.eq(encoder.items.ready),
        ]
        with m.Switch(kind):
            with m.Case(BlockType.END):
                m.d.comb += sequence.eq(sent)
            with m.Case(BlockType.HELLO):
                m.d.comb += sequence.eq(self.octet)
        return m
