"""The receiving side of the retry protocol."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .blocks import *
from .checks import *
from .crc import *
from .packet_transmitter import COUNT, CREDIT_UNITS, NUMBER, Reply

__all__ = ["PacketReceiver"]


class PacketReceiver(wiring.Component):
    """Hands out packets that are whole, right and next.

    Words go into a buffer; an END with the right CRC and the number that is expected makes them a
    packet that can be taken out, anything else makes the buffer forget them. A packet that is
    broken or too far ahead is answered with one request to send again, until a REPLAY or the right
    packet comes; one that has come before only with the acknowledgement.

    Latency: 3 cycles from an END to the first word of its packet on ``receive``. Throughput: a word
    a cycle.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    buffer_words : :class:`int`
        Words of the buffer, a power of two.

    Members
    -------
    word_valid, word : ``In(1)``, ``In(ReceivedWord(lanes))``
        From the channel; never refused.
    ready, open : ``In(1)``
        The channel is up; packets may come.
    receive : ``Out(stream.Signature(PacketWord(lanes)))``
        Packets.
    reply : ``Out(Reply)``
        What the remote end is to know.
    request_retry, repeat_reply : ``Out(1)``
        For one cycle: ask it to send again; tell it again.
    control_valid, control : ``Out(1)``, ``Out(ControlBlock)``
        A control block with a right CRC came.
    crc_error_count, header_error_count, packet_count : ``Out(32)``
        Control blocks with a wrong CRC; words with an invalid header; packets accepted. Counted
        while the channel is up.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range.
    """

    def __init__(self, lanes, *, buffer_words):
        check_integer("Lanes", lanes, 1, 4)
        check_power_of_two("Buffer words", buffer_words, 8, 1 << 15)
        self._lanes = lanes
        self._buffer_words = buffer_words
        super().__init__({
            "word_valid": In(1),
            "word": In(ReceivedWord(lanes)),
            "ready": In(1),
            "open": In(1),
            "receive": Out(stream.Signature(PacketWord(lanes))),
            "reply": Out(Reply),
            "request_retry": Out(1),
            "repeat_reply": Out(1),
            "control_valid": Out(1),
            "control": Out(ControlBlock),
            "crc_error_count": Out(COUNT),
            "header_error_count": Out(COUNT),
            "packet_count": Out(COUNT),
        })

    def elaborate(self, platform):
        m = Module()
        width = BLOCK * self._lanes
        address = exact_log2(self._buffer_words)
        pointer = address + 1

        # First stage: what the word adds to the CRC.
        s0_data = Signal(width)
        s0_control = Signal()
        s1_valid = Signal()
        s1_kind = Signal(WordKind, reset_less=True)
        s1_data = Signal(width, reset_less=True)
        s1_contribution = Signal(CRC, reset_less=True)
        m.d.comb += [
            s0_control.eq(self.word.kind == WordKind.CONTROL),
            # Of a control word, only lane 0 counts, and its CRC field as zero.
            s0_data.eq(Mux(s0_control, self.word.data[CRC:BLOCK] << CRC, self.word.data)),
        ]
        m.d.sync += s1_valid.eq(self.word_valid & self.ready & (self.word.kind != WordKind.IDLE)
                                & (self.word.kind != WordKind.NOT_READY))
        with m.If(self.word_valid & (self.word.kind != WordKind.IDLE)):
            m.d.sync += [
                s1_kind.eq(self.word.kind),
                s1_data.eq(self.word.data),
                s1_contribution.eq(crc_contribution(s0_data)),
            ]

        # Second stage: the CRC is right or not. The last data word stays here until it is known
        # whether it is the packet's last.
        crc = Signal(CRC, init=CRC_START)
        crc_base = Signal(CRC)
        crc_next = Signal(CRC)
        s1_type = Signal(8)
        closing = Signal()
        held = Signal()
        s2_data = Signal(width, reset_less=True)
        s2_control = Signal()
        s2_error = Signal()
        s2_right = Signal(reset_less=True)
        s2_held = Signal(reset_less=True)
        s2_block = Signal(ControlBlock, reset_less=True)
        m.d.comb += [
            s1_type.eq(s1_data[BLOCK - 8:BLOCK]),
            closing.eq((s1_type == BlockType.END) | (s1_type == BlockType.REPLAY)),
            crc_base.eq(Mux((s1_kind == WordKind.CONTROL) & (s1_type != BlockType.END),
                            CRC_START, crc)),
            crc_next.eq(crc_advance(crc_base, width) ^ s1_contribution),
        ]
        write_held = Signal()
        m.d.sync += [s2_control.eq(0), s2_error.eq(0)]
        with m.If(s1_valid):
            with m.Switch(s1_kind):
                with m.Case(WordKind.DATA):
                    m.d.comb += write_held.eq(held)
                    m.d.sync += [crc.eq(crc_next), held.eq(1), s2_data.eq(s1_data)]
                with m.Case(WordKind.CONTROL):
                    m.d.sync += [
                        s2_control.eq(1),
                        s2_right.eq(~crc_next == s1_data[:CRC]),
                        s2_held.eq(held),
                        s2_block.eq(s1_data[:BLOCK]),
                    ]
                    with m.If(closing):
                        m.d.sync += [held.eq(0), crc.eq(CRC_START)]
                with m.Default():
                    m.d.sync += [s2_error.eq(1), s2_held.eq(held)]
                    with m.If(s1_kind == WordKind.BAD_HEADER):
                        m.d.sync += self.header_error_count.eq(self.header_error_count + 1)

        # The buffer.
        m.submodules.buffer = buffer = memory.Memory(
            shape=PacketWord(self._lanes), depth=self._buffer_words, init=[])
        write = buffer.write_port()
        read = buffer.read_port(transparent_for=(write,))
        write_pointer = Signal(pointer)
        commit_pointer = Signal(pointer)
        read_pointer = Signal(pointer)
        next_pointer = Signal(pointer)
        expected = Signal(NUMBER)
        asked = Signal()
        bad = Signal()
        full = Signal()
        partial = Signal()
        ends = Signal()
        accepts = Signal()
        forgets = Signal()
        fails = Signal()
        distance = Signal(NUMBER)
        used = Signal(pointer)
        m.d.comb += [
            full.eq((write_pointer - read_pointer)[:pointer] == self._buffer_words),
            partial.eq(s2_held | (write_pointer != commit_pointer)),
            distance.eq(s2_block.sequence - expected),
            ends.eq(s2_control & (s2_block.type == BlockType.END)),
            self.control_valid.eq(s2_control & s2_right),
            self.control.eq(s2_block),
            write.en.eq((write_held | accepts) & ~full),
            write.addr.eq(write_pointer[:address]),
            write.data.data.eq(s2_data),
            write.data.last.eq(accepts),
        ]
        with m.If(ends):
            m.d.sync += bad.eq(0)
            with m.If(~s2_right | bad | full | ~s2_held | ~self.open):
                m.d.comb += [forgets.eq(1), fails.eq(1)]
            with m.Elif(distance == 0):
                m.d.comb += accepts.eq(1)
            with m.Elif(distance[-1]):
                m.d.comb += [forgets.eq(1), self.repeat_reply.eq(1)]
            with m.Else():
                m.d.comb += [forgets.eq(1), fails.eq(1)]
        with m.Elif(self.control_valid):
            with m.If(s2_block.type == BlockType.REPLAY):
                m.d.comb += forgets.eq(1)
                m.d.sync += [bad.eq(0), asked.eq(0)]
        with m.Elif((s2_control | s2_error) & partial):
            # Perhaps this was a word of the packet, or its END.
            m.d.comb += fails.eq(1)
            m.d.sync += bad.eq(1)
        with m.If(s2_control & ~s2_right):
            m.d.sync += self.crc_error_count.eq(self.crc_error_count + 1)
        with m.If(fails & ~asked & self.open):
            m.d.comb += self.request_retry.eq(1)
            m.d.sync += asked.eq(1)
        with m.If(accepts):
            m.d.sync += [
                write_pointer.eq(write_pointer + 1),
                commit_pointer.eq(write_pointer + 1),
                expected.eq(expected + 1),
                asked.eq(0),
                self.packet_count.eq(self.packet_count + 1),
            ]
        with m.Elif(forgets):
            m.d.sync += write_pointer.eq(commit_pointer)
        with m.Elif(write_held):
            with m.If(full):
                m.d.sync += bad.eq(1)
            with m.Else():
                m.d.sync += write_pointer.eq(write_pointer + 1)
        with m.If(~self.ready):
            m.d.sync += [held.eq(0), bad.eq(0), asked.eq(0), crc.eq(CRC_START),
                         s1_valid.eq(0), s2_control.eq(0), s2_error.eq(0),
                         write_pointer.eq(commit_pointer)]
            with m.If(accepts):
                m.d.sync += write_pointer.eq(write_pointer + 1)

        # Out.
        unit = max(1, self._buffer_words // CREDIT_UNITS)
        m.d.comb += [
            self.receive.valid.eq(read_pointer != commit_pointer),
            self.receive.payload.eq(read.data),
            next_pointer.eq(read_pointer + (self.receive.valid & self.receive.ready)),
            read.addr.eq(next_pointer[:address]),
            used.eq(commit_pointer - read_pointer),
            self.reply.acknowledge.eq(expected),
            self.reply.credit.eq((self._buffer_words - used) >> exact_log2(unit)),
        ]
        with m.If(self.receive.valid & self.receive.ready):
            m.d.sync += read_pointer.eq(next_pointer)
        return m
