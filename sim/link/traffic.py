"""Packets that two ends can make without telling each other, in RTL, for long runs."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.link.blocks import BLOCK, PacketWord
from dfx_rtl.link.checks import check_integer, check_power_of_two

from .channel import xorshift

__all__ = ["PacketSource", "PacketSink", "source_words"]


_MASK = (1 << BLOCK) - 1
_LANE_STEP = 0x0123456789ABCDEF
_GAP_SEED = 0x5DEECE66D2B79F9


def _start(seed):
    return seed * 0x9E3779B97F4A7C15 & _MASK


def source_words(lanes, seed, longest, count):
    """The first ``count`` words of a :class:`PacketSource`: pairs of data and last."""
    words, state, index = [], _start(seed), 0
    for _ in range(count):
        state ^= state << 13 & _MASK
        state ^= state >> 7
        state ^= state << 17 & _MASK
        data = sum((state ^ (lane * _LANE_STEP & _MASK)) << BLOCK * lane for lane in range(lanes))
        last = (state >> 32) % longest == 0 or index == longest - 1
        index = 0 if last else index + 1
        words.append((data, int(last)))
    return words


class _Generator(wiring.Component):
    """A word now, and the next one after ``advance``."""

    def __init__(self, lanes, seed, longest, fixed):
        check_integer("Lanes", lanes, 1, 4)
        check_integer("Seed", seed, 1, (1 << 32) - 1)
        check_power_of_two("Longest packet", longest, 1, 1 << 15)
        self._lanes = lanes
        self._seed = seed
        self._longest = longest
        self._fixed = fixed
        super().__init__({"advance": In(1), "word": Out(PacketWord(lanes))})

    def elaborate(self, platform):
        m = Module()
        state = Signal(BLOCK, init=_start(self._seed))
        following = xorshift(m, state)
        index = Signal(range(self._longest))
        drawn = Signal()
        if not self._fixed:
            m.d.comb += drawn.eq(following[32:48] % self._longest == 0)
        m.d.comb += [
            self.word.data.eq(Cat(following ^ (lane * _LANE_STEP & _MASK)
                                  for lane in range(self._lanes))),
            self.word.last.eq(drawn | (index == self._longest - 1)),
        ]
        with m.If(self.advance):
            m.d.sync += [state.eq(following), index.eq(Mux(self.word.last, 0, index + 1))]
        return m


class _Stalls(wiring.Component):
    """High at random, for ``threshold`` of 256 cycles."""

    def __init__(self, seed):
        self._seed = seed
        super().__init__({"threshold": In(8), "stall": Out(1)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(BLOCK, init=_start(self._seed) ^ _GAP_SEED)
        following = xorshift(m, state)
        with m.If(self.threshold != 0):
            m.d.sync += state.eq(following)
        m.d.comb += self.stall.eq(state[24:32] < self.threshold)
        return m


class PacketSource(wiring.Component):
    """Sends packets of random words, at random lengths or all of the longest.

    Parameters
    ----------
    lanes, seed : :class:`int`
        Width and content.
    longest : :class:`int`
        Words of the longest packet, a power of two.
    fixed : :class:`bool`
        All packets are of the longest.

    Members
    -------
    packets : ``Out(stream.Signature(PacketWord(lanes)))``
        The packets.
    stall : ``In(8)``
        For so many of 256 cycles no word begins to be offered.
    stop : ``In(1)``
        Begin no packet.
    packet_count, word_count : ``Out(32)``
        Sent so far.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range.
    """

    def __init__(self, lanes, *, seed, longest, fixed=False):
        self._generator = _Generator(lanes, seed, longest, fixed)
        self._stalls = _Stalls(seed)
        super().__init__({
            "packets": Out(stream.Signature(PacketWord(lanes))),
            "stall": In(8),
            "stop": In(1),
            "packet_count": Out(32),
            "word_count": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.generator = generator = self._generator
        m.submodules.stalls = stalls = self._stalls
        offered = Signal()
        inside = Signal()
        moves = Signal()
        m.d.comb += [
            stalls.threshold.eq(self.stall),
            self.packets.payload.eq(generator.word),
            self.packets.valid.eq(offered | ~(stalls.stall | (self.stop & ~inside))),
            moves.eq(self.packets.valid & self.packets.ready),
            generator.advance.eq(moves),
        ]
        m.d.sync += offered.eq(self.packets.valid & ~self.packets.ready)
        with m.If(moves):
            m.d.sync += [inside.eq(~generator.word.last), self.word_count.eq(self.word_count + 1)]
            with m.If(generator.word.last):
                m.d.sync += self.packet_count.eq(self.packet_count + 1)
        return m


class PacketSink(wiring.Component):
    """Compares what comes with what a :class:`PacketSource` of the same parameters sends.

    Parameters
    ----------
    lanes, seed, longest, fixed
        Of the source.

    Members
    -------
    packets : ``In(stream.Signature(PacketWord(lanes)))``
        What comes.
    stall : ``In(8)``
        For so many of 256 cycles nothing is taken.
    wrong : ``Out(1)``
        Something else has come. Stays.
    packet_count, word_count : ``Out(32)``
        Right so far.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not in its range.
    """

    def __init__(self, lanes, *, seed, longest, fixed=False):
        self._generator = _Generator(lanes, seed, longest, fixed)
        self._stalls = _Stalls(seed + 1)
        super().__init__({
            "packets": In(stream.Signature(PacketWord(lanes))),
            "stall": In(8),
            "wrong": Out(1),
            "packet_count": Out(32),
            "word_count": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.generator = generator = self._generator
        m.submodules.stalls = stalls = self._stalls
        moves = Signal()
        same = Signal()
        m.d.comb += [
            stalls.threshold.eq(self.stall),
            self.packets.ready.eq(~stalls.stall),
            moves.eq(self.packets.valid & self.packets.ready),
            same.eq((self.packets.payload.data == generator.word.data)
                    & (self.packets.payload.last == generator.word.last)),
            generator.advance.eq(moves),
        ]
        with m.If(moves):
            with m.If(~same):
                m.d.sync += self.wrong.eq(1)
            with m.If(same & ~self.wrong):
                m.d.sync += self.word_count.eq(self.word_count + 1)
                with m.If(generator.word.last):
                    m.d.sync += self.packet_count.eq(self.packet_count + 1)
        return m
