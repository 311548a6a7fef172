"""The sending side of a channel."""

from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import *
from .checks import *
from .scrambler import *

__all__ = ["ChannelMode", "TransmitLanes", "COMPENSATION_BLOCKS", "COMPENSATION_PERIOD"]


#: Compensation blocks in a row, and blocks from one row to the next.
COMPENSATION_BLOCKS = 7
COMPENSATION_PERIOD = 4847
#: Blocks from one bonding block to the next.
_BONDING_PERIOD = 16


class ChannelMode(enum.IntEnum, shape=2):
    """What a channel sends."""
    #: Idle blocks of an end that is not ready.
    NOT_READY = 0
    #: The same, with bonding blocks.
    BONDING = 1
    #: Idle blocks of an end that is ready, with bonding blocks.
    WAITING = 2
    #: Words, and idle blocks between.
    READY = 3


class TransmitLanes(wiring.Component):
    """Puts words, idle, bonding and compensation blocks on the lanes, and scrambles them.

    All lanes carry the same kind of block at a time. 7 compensation blocks come every 4847 blocks,
    also in the middle of a packet, and before everything else. Beside a control block on lane 0 the
    other lanes carry idle blocks.

    Latency: 1 cycle, from ``words`` to a register of the transceiver. Throughput: a word for each
    cycle with ``transmit_ready`` but 7 of 4847. ``words.ready`` does not depend on ``words.valid``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.

    Members
    -------
    mode : ``In(ChannelMode)``
        What to send.
    words : ``In(stream.Signature(ChannelWord(lanes)))``
        Words to send; only taken in the mode READY.
    transmit_ready : ``In(1)``
        The transceiver takes blocks.
    header, data : ``Out(2)``, ``Out(64)``, arrays of ``lanes``
        The blocks; registers.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``lanes`` is not an integer between 1 and 4.
    """

    def __init__(self, lanes):
        check_integer("Lanes", lanes, 1, 4)
        self._lanes = lanes
        super().__init__({
            "mode": In(ChannelMode),
            "words": In(stream.Signature(ChannelWord(lanes))),
            "transmit_ready": In(1),
            "header": Out(2).array(lanes),
            "data": Out(BLOCK).array(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        block_count = Signal(range(COMPENSATION_PERIOD))
        compensate = Signal()
        bond = Signal()
        idle = Signal(BLOCK)
        m.d.comb += [
            compensate.eq(block_count < COMPENSATION_BLOCKS),
            bond.eq(block_count % _BONDING_PERIOD == _BONDING_PERIOD - 1),
            self.words.ready.eq(self.transmit_ready & ~compensate
                                & (self.mode == ChannelMode.READY)),
            idle.eq(REGULAR_IDLE),
        ]
        with m.If(compensate):
            m.d.comb += idle.eq(COMPENSATION_IDLE)
        with m.Else():
            with m.Switch(self.mode):
                with m.Case(ChannelMode.NOT_READY):
                    m.d.comb += idle.eq(NOT_READY_IDLE)
                with m.Case(ChannelMode.BONDING):
                    m.d.comb += idle.eq(Mux(bond, BONDING_IDLE, NOT_READY_IDLE))
                with m.Case(ChannelMode.WAITING):
                    m.d.comb += idle.eq(Mux(bond, BONDING_IDLE, REGULAR_IDLE))
        with m.If(self.transmit_ready):
            m.d.sync += block_count.eq(block_count + 1)
            with m.If(block_count == COMPENSATION_PERIOD - 1):
                m.d.sync += block_count.eq(0)

        word = self.words.payload
        moves = Signal()
        m.d.comb += moves.eq(self.words.valid & self.words.ready)
        for lane in range(self._lanes):
            m.submodules[f"scrambler{lane}"] = scrambler = Scrambler()
            block = word.data[BLOCK * lane:BLOCK * (lane + 1)]
            taken = moves if lane == 0 else moves & ~word.control
            header = Signal(2, name=f"header{lane}", init=Header.CONTROL)
            m.d.comb += [
                scrambler.enable.eq(self.transmit_ready),
                scrambler.data.eq(Mux(taken, block, idle)),
                self.header[lane].eq(header),
                self.data[lane].eq(scrambler.scrambled),
            ]
            with m.If(self.transmit_ready):
                m.d.sync += header.eq(Mux(moves & ~word.control, Header.DATA, Header.CONTROL))
        return m
