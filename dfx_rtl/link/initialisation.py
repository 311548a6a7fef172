"""Brings a channel up, and notices when it is gone."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .blocks import *
from .checks import *
from .transmit_lanes import ChannelMode

__all__ = ["Initialisation"]


#: Slips after which the receiver is reset.
_SLIP_BUDGET = 128
#: Ready idle blocks to send and to receive before the channel is ready.
_IDLES_TO_SEND, _IDLES_TO_RECEIVE = 128, 64
#: Not ready idle blocks in a row that mean it: one alone may be a bit error.
_NOT_READY_TO_LOSE = 4
#: Cycles without any word that mean that the recovered clock stands.
_SILENT_CYCLES = 64


class Initialisation(wiring.Component):
    """The states of a channel: RESET, LANES, BOND, WAIT, READY.

    RESET holds the receiver in reset for ``reset_cycles``. LANES sends not-ready idles until all
    lanes have block lock. BOND adds bonding blocks until the lanes are bonded. WAIT says that this
    end is ready, and goes on when 128 blocks have been sent and 64 ready idles have come. READY
    carries words. Back to RESET: LANES or BOND take longer than 128 slips; or, later, the lock or
    the bonding is lost, the buffer overflows, no word comes for 64 cycles, or in READY the remote
    end sends 4 not-ready idles in a row. RESET outlasts a round trip: else an end would take what
    the remote end sent before it noticed for its answer, and the two could chase each other for
    ever.

    Parameters
    ----------
    slip_cycles : :class:`int`
        As of :class:`BlockLock`.
    reset_cycles : :class:`int`
        Cycles in RESET, more than a round trip, 32 to 65536.

    Members
    -------
    hold : ``In(1)``
        Stay in RESET, or go there.
    locked, bonded, overflow : ``In(1)``
        From the :class:`ElasticBuffer`.
    word_valid, kind : ``In(1)``, ``In(WordKind)``
        What comes in.
    transmit_ready : ``In(1)``
        A block is sent.
    clear : ``Out(1)``
        To the receiver.
    mode : ``Out(ChannelMode)``
        To the sender.
    ready : ``Out(1)``
        In READY.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not an integer in its range.
    """

    # Ref: Aurora 64B/66B, SP011, initialisation of a duplex channel.

    def __init__(self, *, slip_cycles=32, reset_cycles=1024):
        check_integer("Slip cycles", slip_cycles, 1, 64)
        check_integer("Reset time", reset_cycles, 32, 1 << 16)
        self._reset_cycles = reset_cycles
        self._stage_cycles = _SLIP_BUDGET * (slip_cycles + 2) + 512
        super().__init__({
            "hold": In(1),
            "locked": In(1),
            "bonded": In(1),
            "overflow": In(1),
            "word_valid": In(1),
            "kind": In(WordKind),
            "transmit_ready": In(1),
            "clear": Out(1),
            "mode": Out(ChannelMode),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        stage_count = Signal(range(max(self._stage_cycles, self._reset_cycles) + 1))
        sent_count = Signal(range(_IDLES_TO_SEND + 1))
        idle_count = Signal(range(_IDLES_TO_RECEIVE + 1))
        not_ready_count = Signal(range(_NOT_READY_TO_LOSE + 1))
        silent_count = Signal(range(_SILENT_CYCLES + 1))
        too_long = Signal()
        broken = Signal()
        m.d.comb += [
            too_long.eq(stage_count == self._stage_cycles),
            broken.eq(~self.locked | ~self.bonded | self.overflow
                      | (silent_count == _SILENT_CYCLES)),
        ]

        def restart():
            m.d.sync += stage_count.eq(0)
            m.next = "RESET"

        with m.FSM():
            with m.State("RESET"):
                m.d.comb += [self.clear.eq(1), self.mode.eq(ChannelMode.NOT_READY)]
                with m.If(stage_count == self._reset_cycles):
                    with m.If(~self.hold):
                        m.d.sync += stage_count.eq(0)
                        m.next = "LANES"
                with m.Else():
                    m.d.sync += stage_count.eq(stage_count + 1)
            with m.State("LANES"):
                m.d.comb += self.mode.eq(ChannelMode.NOT_READY)
                m.d.sync += stage_count.eq(stage_count + 1)
                with m.If(self.hold | too_long):
                    restart()
                with m.Elif(self.locked):
                    m.d.sync += stage_count.eq(0)
                    m.next = "BOND"
            with m.State("BOND"):
                m.d.comb += self.mode.eq(ChannelMode.BONDING)
                m.d.sync += stage_count.eq(stage_count + 1)
                with m.If(self.hold | too_long | ~self.locked):
                    restart()
                with m.Elif(self.bonded):
                    m.d.sync += [sent_count.eq(0), idle_count.eq(0), silent_count.eq(0)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.mode.eq(ChannelMode.WAITING)
                with m.If(self.transmit_ready & (sent_count != _IDLES_TO_SEND)):
                    m.d.sync += sent_count.eq(sent_count + 1)
                with m.If(self.word_valid):
                    with m.If(self.kind == WordKind.NOT_READY):
                        m.d.sync += idle_count.eq(0)
                    with m.Elif((self.kind == WordKind.IDLE) & (idle_count != _IDLES_TO_RECEIVE)):
                        m.d.sync += idle_count.eq(idle_count + 1)
                with m.If(self.hold | broken):
                    restart()
                with m.Elif((sent_count == _IDLES_TO_SEND) & (idle_count == _IDLES_TO_RECEIVE)):
                    m.d.sync += not_ready_count.eq(0)
                    m.next = "READY"
            with m.State("READY"):
                m.d.comb += [self.mode.eq(ChannelMode.READY), self.ready.eq(1)]
                with m.If(self.word_valid):
                    with m.If(self.kind == WordKind.NOT_READY):
                        m.d.sync += not_ready_count.eq(not_ready_count + 1)
                    with m.Elif(not_ready_count != 0):
                        m.d.sync += not_ready_count.eq(0)
                with m.If(self.hold | broken | (not_ready_count == _NOT_READY_TO_LOSE)):
                    restart()
        with m.If(self.word_valid):
            with m.If(silent_count != 0):
                m.d.sync += silent_count.eq(0)
        with m.Elif(silent_count != _SILENT_CYCLES):
            m.d.sync += silent_count.eq(silent_count + 1)
        return m
