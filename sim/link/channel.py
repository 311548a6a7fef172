"""One direction of the line between two transceivers: what goes wrong on it."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dfx_rtl.link.blocks import BLOCK
from dfx_rtl.link.checks import check_integer

__all__ = ["LineModel", "ErrorLayout", "xorshift", "error_threshold"]


#: Bits that a block takes on the line.
LINE = BLOCK + 2
#: Lanes start from different states of their generators.
_GOLDEN = 0x9E3779B97F4A7C15


class ErrorLayout(data.Struct):
    """What goes wrong on all lanes.

    Attributes
    ----------
    threshold : 32 bits
        A block of a lane is hit with a probability of threshold / 2^32.
    burst : 7 bits
        Bits in a row that are then inverted, from a random one on, to the end of the block at most;
        0 is none.
    unplugged : 1 bit
        The cable is out: noise, or zeros.
    noise : 1 bit
        Which of them.
    """
    threshold: 32
    burst: 7
    unplugged: 1
    noise: 1


def error_threshold(rate):
    """The threshold for a rate of errors a bit, when each error hits another block."""
    return min(round(rate * LINE * (1 << 32)), (1 << 32) - 1)


def xorshift(m, state):
    """The state of a 64-bit generator after ``state`` (Marsaglia, Xorshift RNGs, 2003)."""
    left = Signal(64, name=f"{state.name}_left")
    right = Signal(64, name=f"{state.name}_right")
    following = Signal(64, name=f"{state.name}_following")
    m.d.comb += [left.eq(state ^ (state << 13)), right.eq(left ^ (left >> 7)),
                 following.eq(right ^ (right << 17))]
    return following


class LineModel(wiring.Component):
    """Carries the blocks of some lanes from one transceiver to the other. Simulation only.

    Each lane has a latency of its own, an alignment that slips change, and errors. One bit, or one
    burst, is inverted in a block at most, so the rate of errors is right as long as it is small.
    Runs in the sender's clock, which is also what the receiver recovers. Domain: ``sync``.

    Latency: ``latency`` + the lane's ``skews``, in cycles. Throughput: a block a cycle, or
    ``pause - 1`` of ``pause``.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    latency : :class:`int`
        Cycles, 4 to 1000.
    skews : tuple of :class:`int`
        Cycles that a lane is later, 0 to 16.
    alignments : tuple of :class:`int`
        Bits by which the blocks of a lane are cut wrong at the start, 0 to 65.
    pause : :class:`int`
        The gearbox pauses every so many cycles, as of a transceiver with 64-bit words it does every
        33; 0 is never.
    seed : :class:`int`
        Of the errors.

    Members
    -------
    header, data : ``In(2)``, ``In(64)``, arrays of ``lanes``
        From the sender.
    transmit_ready : ``Out(1)``
        To the sender.
    received_header, received_data : ``Out(2)``, ``Out(64)``, arrays of ``lanes``
        To the receiver.
    valid : ``Out(lanes)``
        To the receiver.
    slip : ``In(lanes)``
        From the receiver.
    realign : ``In(lanes)``
        Cut the blocks of a lane somewhere else.
    error : ``In(ErrorLayout)``
        What goes wrong.
    error_count : ``Out(32)``
        Blocks that were hit.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range, or not one a lane.
    """

    def __init__(self, lanes, *, latency=4, skews=None, alignments=None, pause=0, seed=1):
        check_integer("Lanes", lanes, 1, 4)
        check_integer("Latency", latency, 4, 1000)
        skews = (0,) * lanes if skews is None else skews
        alignments = (0,) * lanes if alignments is None else alignments
        for what, values, high in (("Skews", skews, 16), ("Alignments", alignments, LINE - 1)):
            if len(values) != lanes:
                raise ValueError(f"{what} must be {lanes} numbers, not {values!r}")
            for value in values:
                check_integer(what, value, 0, high)
        if pause != 0:
            check_integer("Pause", pause, 2, 1000)
        check_integer("Seed", seed, 1, (1 << 32) - 1)
        self._lanes = lanes
        self._latency = latency
        self._skews = skews
        self._alignments = alignments
        self._pause = pause
        self._seed = seed
        super().__init__({
            "header": In(2).array(lanes),
            "data": In(BLOCK).array(lanes),
            "transmit_ready": Out(1),
            "received_header": Out(2).array(lanes),
            "received_data": Out(BLOCK).array(lanes),
            "valid": Out(lanes),
            "slip": In(lanes),
            "realign": In(lanes),
            "error": In(ErrorLayout),
            "error_count": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        paused = Signal()
        if self._pause:
            pause_count = Signal(range(self._pause))
            m.d.comb += paused.eq(pause_count == self._pause - 1)
            m.d.sync += pause_count.eq(pause_count + 1)
            with m.If(paused):
                m.d.sync += pause_count.eq(0)
        m.d.comb += self.transmit_ready.eq(~paused)

        # A block waits in a memory, is cut out of two and hit, each in a cycle.
        hits = Signal(self._lanes)
        longest = self._latency - 2 + max(self._skews)
        depth = 1 << ceil_log2(longest + 1)
        time = Signal(range(depth))
        m.d.sync += time.eq(time + 1)
        noise = Signal(64 * self._lanes)
        for lane in range(self._lanes):
            queue = memory.Memory(shape=LINE + 1, depth=depth, init=[])
            m.submodules[f"queue{lane}"] = queue
            write, read = queue.write_port(), queue.read_port()
            delay = self._latency - 2 + self._skews[lane]
            m.d.comb += [
                write.addr.eq(time),
                write.data.eq(Cat(self.data[lane], self.header[lane], ~paused)),
                write.en.eq(1),
                read.addr.eq(time - (delay - 1)),
            ]

            alignment = Signal(range(LINE), init=self._alignments[lane], name=f"alignment{lane}")
            before = Signal(LINE, name=f"before{lane}")
            cut = Signal(LINE, name=f"cut{lane}")
            cut_valid = Signal(name=f"cut_valid{lane}")
            present = Signal(name=f"present{lane}")
            m.d.comb += present.eq(read.data[LINE])
            m.d.sync += cut_valid.eq(present)
            with m.If(present):
                m.d.sync += [before.eq(read.data[:LINE]),
                             cut.eq(Cat(read.data[:LINE], before) >> alignment)]
            with m.If(self.slip[lane]):
                m.d.sync += alignment.eq(Mux(alignment == LINE - 1, 0, alignment + 1))
            with m.If(self.realign[lane]):
                m.d.sync += alignment.eq(Mux(alignment >= LINE - 17, alignment - (LINE - 17),
                                             alignment + 17))

            state = Signal(64, init=(_GOLDEN * (self._seed * 4 + lane + 1)) % (1 << 64),
                           name=f"state{lane}")
            following = xorshift(m, state)
            with m.If((self.error.threshold != 0) | self.error.unplugged):
                m.d.sync += state.eq(following)
            position = Signal(range(LINE), name=f"position{lane}")
            mask = Signal(LINE, name=f"mask{lane}")
            hit = Signal(name=f"hit{lane}")
            out = Signal(LINE, name=f"out{lane}")
            m.d.comb += [
                position.eq((state[:16] * LINE) >> 16),
                mask.eq(((1 << self.error.burst) - 1) << position),
                hit.eq((state[32:] < self.error.threshold) & cut_valid & (self.error.burst != 0)),
                hits[lane].eq(hit),
                noise[64 * lane:64 * (lane + 1)].eq(state),
                self.received_data[lane].eq(out[:BLOCK]),
                self.received_header[lane].eq(out[BLOCK:]),
            ]
            m.d.sync += [self.valid[lane].eq(cut_valid),
                         out.eq(Mux(hit, cut ^ mask, cut))]
            with m.If(self.error.unplugged):
                m.d.sync += out.eq(Mux(self.error.noise, Cat(state, state[5:7]), 0))
        with m.If(hits.any()):
            m.d.sync += self.error_count.eq(self.error_count + sum(hits))
        return m
