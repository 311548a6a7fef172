"""Single 32-bit words of DDR: token ids of the prompt in, token ids of the answer out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .requests import ADDRESS, ReadRequestLayout, WriteRequestLayout

__all__ = ["WordReader", "WordWriter"]


class WordReader(wiring.Component):
    """Reads one 32-bit word of DDR at a time.

    The request passes combinationally; the word is chosen combinationally from the beat. One
    request is in flight at most.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    addresses : In(stream.Signature(ADDRESS))
        Byte addresses, multiples of 4.
    words : Out(stream.Signature(32))
        The words.
    requests : Out(stream.Signature(ReadRequestLayout))
        To the DDR port.
    beats : In(stream.Signature(ddr_bits))
        From the DDR port.
    idle : Out(1)
        No word is awaited.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "addresses": In(stream.Signature(ADDRESS)),
            "words": Out(stream.Signature(32)),
            "requests": Out(stream.Signature(ReadRequestLayout())),
            "beats": In(stream.Signature(config.ddr_bits)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(self._config.ddr_bits // 32), reset_less=True)
        waiting = Signal()
        m.d.comb += [
            self.requests.payload.address.eq(self.addresses.payload),
            self.requests.payload.beats.eq(1),
            self.requests.valid.eq(self.addresses.valid & ~waiting),
            self.addresses.ready.eq(self.requests.ready & ~waiting),
            self.words.payload.eq(self.beats.payload.word_select(place, 32)),
            self.words.valid.eq(self.beats.valid),
            self.beats.ready.eq(self.words.ready),
            self.idle.eq(~waiting),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [waiting.eq(1), place.eq(self.addresses.payload >> 2)]
        with m.Elif(self.beats.valid & self.beats.ready):
            m.d.sync += waiting.eq(0)
        return m


class WordWriter(wiring.Component):
    """Turns a write of a 32-bit word into a write of a beat with strobes. Combinational.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    words : In(stream.Signature({address, data}))
        Words, at byte addresses that are multiples of 4.
    writes : Out(stream.Signature(WriteRequestLayout))
        To the DDR port.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "words": In(stream.Signature(data.StructLayout({"address": ADDRESS, "data": 32}))),
            "writes": Out(stream.Signature(WriteRequestLayout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        words_in_beat = self._config.ddr_bits // 32
        place = Signal(range(words_in_beat))
        m.d.comb += [
            place.eq(self.words.payload.address >> 2),
            self.writes.payload.address.eq(self.words.payload.address),
            self.writes.payload.data.eq(self.words.payload.data.replicate(words_in_beat)),
            self.writes.payload.strobe.eq(
                Cat((place == index).replicate(4) for index in range(words_in_beat))),
            self.writes.valid.eq(self.words.valid),
            self.words.ready.eq(self.writes.ready),
        ]
        return m
