"""The crossing between the recovered clock and the link clock."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .blocks import *
from .checks import *

__all__ = ["ElasticBuffer"]

_DEPTH = 16


class ElasticBuffer(wiring.Component):
    """Carries words and states from the domain ``receive`` to ``sync``, and the reset back.

    The reader takes a word whenever there is one. A cycle without one means nothing: when the
    recovered clock is the slower one, they occur. When it is the faster one, the words without
    those that were removed for compensation are still slower than the reader as long as the clocks
    differ by less than 7 / 4847 = 1444 ppm; the buffer of 16 holds what comes between.

    Latency: a word given in one cycle is there 3 cycles of ``sync`` later, if the edges coincide.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.

    Members
    -------
    write_valid : ``In(1)``
        In ``receive``: a word.
    write_word : ``In(ReceivedWord(lanes))``
        In ``receive``.
    write_locked, write_bonded : ``In(1)``
        In ``receive``: states.
    write_clear : ``Out(1)``
        In ``receive``: ``clear``.
    clear : ``In(1)``
        In ``sync``.
    word_valid : ``Out(1)``
        In ``sync``: a word, for one cycle.
    word : ``Out(ReceivedWord(lanes))``
        In ``sync``.
    locked, bonded : ``Out(1)``
        In ``sync``: states.
    overflow : ``Out(1)``
        In ``sync``: a word was lost since ``clear``.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``lanes`` is not an integer between 1 and 4.
    """

    def __init__(self, lanes):
        check_integer("Lanes", lanes, 1, 4)
        super().__init__({
            "write_valid": In(1),
            "write_word": In(ReceivedWord(lanes)),
            "write_locked": In(1),
            "write_bonded": In(1),
            "write_clear": Out(1),
            "clear": In(1),
            "word_valid": Out(1),
            "word": Out(ReceivedWord(lanes)),
            "locked": Out(1),
            "bonded": Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = fifo.AsyncFIFO(
            width=Value.cast(self.word).shape().width, depth=_DEPTH,
            w_domain="receive", r_domain="sync")
        overflowed = Signal()
        with m.If(self.write_clear):
            m.d.receive += overflowed.eq(0)
        with m.Elif(self.write_valid & ~words.w_rdy):
            m.d.receive += overflowed.eq(1)
        m.d.comb += [
            words.w_data.eq(self.write_word),
            words.w_en.eq(self.write_valid),
            words.r_en.eq(1),
            self.word_valid.eq(words.r_rdy),
            self.word.eq(words.r_data),
        ]
        m.submodules.clear_crossing = FFSynchronizer(self.clear, self.write_clear,
                                                     o_domain="receive", init=1)
        m.submodules.locked_crossing = FFSynchronizer(self.write_locked, self.locked)
        m.submodules.bonded_crossing = FFSynchronizer(self.write_bonded, self.bonded)
        m.submodules.overflow_crossing = FFSynchronizer(overflowed, self.overflow)
        return m
