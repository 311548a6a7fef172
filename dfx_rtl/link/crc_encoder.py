"""Puts the CRC into control blocks."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import *
from .checks import *
from .crc import *

__all__ = ["CrcEncoder", "CrcItem"]


def CrcItem(lanes):
    """Layout of a word without its CRC.

    ``type`` is 0 for data, else the :class:`BlockType` of the block on lane 0.
    """
    return data.StructLayout({"data": BLOCK * lanes, "type": 8})


class CrcEncoder(wiring.Component):
    """Computes the CRC of packets and control blocks as they pass.

    The CRC of an END is that of the data since the last END or REPLAY, and of the block itself;
    that of other blocks is of the block alone. Data words may have such blocks between them.

    Latency: 2 cycles. Throughput: a word a cycle. ``items.ready`` depends on ``words.ready``
    without a register, not on ``items.valid``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.

    Members
    -------
    items : ``In(stream.Signature(CrcItem(lanes)))``
        Words; the CRC field of control blocks is 0.
    words : ``Out(stream.Signature(ChannelWord(lanes)))``
        The same, with CRC.
    clear : ``In(1)``
        Forget everything.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``lanes`` is not an integer between 1 and 4.
    """

    def __init__(self, lanes):
        check_integer("Lanes", lanes, 1, 4)
        self._lanes = lanes
        super().__init__({
            "items": In(stream.Signature(CrcItem(lanes))),
            "words": Out(stream.Signature(ChannelWord(lanes))),
            "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = BLOCK * self._lanes
        item = self.items.payload
        s1_valid = Signal()
        s1_control = Signal(reset_less=True)
        s1_end = Signal(reset_less=True)
        s1_replay = Signal(reset_less=True)
        s1_data = Signal(width, reset_less=True)
        s1_contribution = Signal(CRC, reset_less=True)
        crc = Signal(CRC, init=CRC_START)
        crc_base = Signal(CRC)
        crc_next = Signal(CRC)
        s2_valid = Signal()
        s2_word = Signal(ChannelWord(self._lanes), reset_less=True)
        m.d.comb += [
            crc_base.eq(Mux(s1_control & ~s1_end, CRC_START, crc)),
            crc_next.eq(crc_advance(crc_base, width) ^ s1_contribution),
            self.words.valid.eq(s2_valid),
            self.words.payload.eq(s2_word),
            self.items.ready.eq(self.words.ready | ~s2_valid),
        ]
        with m.If(self.items.ready):
            m.d.sync += [s1_valid.eq(self.items.valid), s2_valid.eq(s1_valid)]
            # First stage: what the word adds to the CRC.
            with m.If(self.items.valid):
                m.d.sync += [
                    s1_control.eq(item.type != 0),
                    s1_end.eq(item.type == BlockType.END),
                    s1_replay.eq(item.type == BlockType.REPLAY),
                    s1_data.eq(item.data),
                    s1_contribution.eq(crc_contribution(item.data)),
                ]
            # Second stage: the CRC itself.
            with m.If(s1_valid):
                m.d.sync += [
                    s2_word.control.eq(s1_control),
                    s2_word.data.eq(Mux(s1_control, Cat(~crc_next, s1_data[CRC:]), s1_data)),
                ]
                with m.If(~s1_control):
                    m.d.sync += crc.eq(crc_next)
                with m.Elif(s1_end | s1_replay):
                    m.d.sync += crc.eq(CRC_START)
        with m.If(self.clear):
            m.d.sync += [s1_valid.eq(0), s2_valid.eq(0), crc.eq(CRC_START)]
        return m
