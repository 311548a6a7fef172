"""Agrees with the remote end on where the packets begin, and knows when the link has failed."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .blocks import *
from .checks import *

__all__ = ["SessionState", "SessionOctet", "DownCause", "Session"]


class SessionState(enum.IntEnum, shape=2):
    """What an end knows of its session since its reset."""
    #: Nothing: packets are numbered from 0.
    FRESH = 0
    #: The remote end is (or was) fresh, too.
    SEEN = 1
    #: Both ends agree: packets may have been exchanged.
    ESTABLISHED = 2


class SessionOctet(data.Struct):
    """The octet ``sequence`` of a HELLO.

    Attributes
    ----------
    state : :class:`SessionState`
        Of the sender.
    heard : 1 bit
        The sender has had a HELLO since its channel came up.
    """
    state: SessionState
    heard: 1
    unused: 5


class DownCause(enum.IntEnum, shape=3):
    """Why a link has failed. Only a restart brings it back."""
    NONE = 0
    #: The channel did not come up in time.
    NO_CHANNEL = 1
    #: The channel is up, but the remote end did not agree on a session in time.
    NO_SESSION = 2
    #: The link was up, but no good control block came in time.
    SILENCE = 3
    #: A packet was sent again too often without being acknowledged.
    RETRIES = 4
    #: The remote end was reset or restarted: what it had not handed out is lost.
    REMOTE_RESET = 5
    #: The remote end acknowledged what was never sent.
    PROTOCOL = 6
    #: A packet on ``send`` is longer than was promised.
    LENGTH = 7


class Session(wiring.Component):
    """The handshake of two ends each time their channel comes up.

    While the channel is up and the link is not, HELLO blocks go both ways. An end that is fresh and
    hears a HELLO that is not ESTABLISHED is SEEN; a SEEN end that hears one that is not FRESH, or
    any other control block, is ESTABLISHED. So packets flow only when each end knows that the other
    one has seen it fresh, and an ESTABLISHED end that hears a FRESH one knows that the remote end
    has lost its memory: it fails with REMOTE_RESET. A channel that was lost and comes back finds
    both ends ESTABLISHED, and their numbers hold. The link is up once this end is ESTABLISHED, has
    heard the remote end since the channel came up, and knows that it has been heard.

    An end that is not up, or up but without a good control block, for ``give_up_cycles``
    fails with a cause. A failed end holds its channel down until it is reset.

    Parameters
    ----------
    give_up_cycles : :class:`int`
        Cycles, 1024 to 2**32.

    Members
    -------
    ready : ``In(1)``
        The channel is up.
    control_valid, control : ``In(1)``, ``In(ControlBlock)``
        A control block with a right CRC came.
    exhausted, out_of_range, too_long : ``In(1)``
        Failures that the sender of packets sees.
    octet : ``Out(SessionOctet)``
        What HELLO blocks are to say.
    up : ``Out(1)``
        Packets may flow.
    open : ``Out(1)``
        Packets may come.
    failed : ``Out(1)``
        ``cause`` is not NONE.
    cause : ``Out(DownCause)``
        Why.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``give_up_cycles`` is not an integer between 1024 and 2**32.
    """

    def __init__(self, give_up_cycles):
        check_integer("Give-up time", give_up_cycles, 1024, 1 << 32)
        self._give_up_cycles = give_up_cycles
        super().__init__({
            "ready": In(1),
            "control_valid": In(1),
            "control": In(ControlBlock),
            "exhausted": In(1),
            "out_of_range": In(1),
            "too_long": In(1),
            "octet": Out(SessionOctet),
            "up": Out(1),
            "open": Out(1),
            "failed": Out(1),
            "cause": Out(DownCause),
        })

    def elaborate(self, platform):
        m = Module()
        state = Signal(SessionState)
        heard = Signal()
        confirmed = Signal()
        patience = Signal(range(self._give_up_cycles), init=self._give_up_cycles - 1)
        theirs = Signal(SessionOctet)
        failure = Signal(DownCause)
        m.d.comb += [
            theirs.eq(self.control.sequence),
            self.octet.state.eq(state),
            self.octet.heard.eq(heard),
            self.failed.eq(self.cause != DownCause.NONE),
            self.up.eq(self.ready & (state == SessionState.ESTABLISHED) & heard & confirmed
                       & ~self.failed),
            self.open.eq((state != SessionState.FRESH) & ~self.failed),
        ]
        with m.If(~self.ready):
            m.d.sync += [heard.eq(0), confirmed.eq(0)]
        with m.Elif(self.control_valid):
            with m.If(self.control.type != BlockType.HELLO):
                with m.If(state != SessionState.FRESH):
                    m.d.sync += [state.eq(SessionState.ESTABLISHED), confirmed.eq(1)]
            with m.Else():
                m.d.sync += heard.eq(1)
                with m.If(theirs.heard):
                    m.d.sync += confirmed.eq(1)
                with m.If(state == SessionState.FRESH):
                    with m.If(theirs.state == SessionState.ESTABLISHED):
                        m.d.sync += [heard.eq(0), confirmed.eq(0)]
                    with m.Else():
                        m.d.sync += state.eq(SessionState.SEEN)
                with m.Elif(state == SessionState.SEEN):
                    with m.If(theirs.state != SessionState.FRESH):
                        m.d.sync += state.eq(SessionState.ESTABLISHED)
                with m.Elif(theirs.state == SessionState.FRESH):
                    m.d.comb += failure.eq(DownCause.REMOTE_RESET)

        with m.If(self.up & self.control_valid):
            m.d.sync += patience.eq(self._give_up_cycles - 1)
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)
        with m.Else():
            m.d.comb += failure.eq(DownCause.NO_CHANNEL)
            with m.If(self.up):
                m.d.comb += failure.eq(DownCause.SILENCE)
            with m.Elif(self.ready):
                m.d.comb += failure.eq(DownCause.NO_SESSION)
        with m.If(self.exhausted):
            m.d.comb += failure.eq(DownCause.RETRIES)
        with m.If(self.out_of_range):
            m.d.comb += failure.eq(DownCause.PROTOCOL)
        with m.If(self.too_long):
            m.d.comb += failure.eq(DownCause.LENGTH)
        with m.If(~self.failed & (failure != DownCause.NONE)):
            m.d.sync += self.cause.eq(failure)
        return m
