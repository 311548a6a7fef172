"""Gathers groups of results into chunks."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.checks import check_positive
from ..arith.formats import FP16_NEGATIVE_INFINITY, Fp16
from ..registers.ports import ChunkLayout

__all__ = ["Vectorizer"]


class Vectorizer(wiring.Component):
    """Collects groups of ``lanes`` results in chunks of ``tile`` values.

    Invalid lanes, and the groups that the last chunk of a result has not, are filled: with +0, or
    with -infinity if ``mask`` is set.

    Latency: 0, the chunk leaves with its last group. Throughput: a group a cycle.

    Source: DFX paper, section 5.3 (SFU_M: mask and vectorizer).

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Values in a group; it divides ``tile``.

    Members
    -------
    stb : In(1)
        A group arrives.
    values, lanes_valid : In
        The group, and a bit for each of its valid values.
    mask : In(1)
        Fill with -infinity.
    part : In(range(tile // lanes))
        Place of the group in the chunk.
    chunk_end : In(1)
        The group is the chunk's last.
    done : Out(1)
        The chunk is complete.
    chunk : Out
        The chunk.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    ValueError
        If ``lanes`` does not divide ``tile``.
    """

    def __init__(self, tile, lanes):
        check_positive("Tile of a vectorizer", tile)
        check_positive("Lanes of a vectorizer", lanes)
        if tile % lanes:
            raise ValueError(f"Lanes of a vectorizer must divide its tile {tile}, "
                             f"which {lanes} does not")
        self._lanes = lanes
        self._parts = tile // lanes
        super().__init__({
            "stb":         In(1),
            "values":      In(data.ArrayLayout(Fp16, lanes)),
            "lanes_valid": In(lanes),
            "mask":        In(1),
            "part":        In(range(self._parts)),
            "chunk_end":   In(1),
            "done":        Out(1),
            "chunk":       Out(ChunkLayout(tile)),
        })

    def elaborate(self, platform):
        m = Module()
        width = 16 * self._lanes
        fill = Signal(width)
        group = Signal(width)
        every_lane = sum(FP16_NEGATIVE_INFINITY << 16 * lane for lane in range(self._lanes))
        held = [Signal(width, name=f"held{part}", reset_less=True)
                for part in range(self._parts - 1)]
        m.d.comb += [
            fill.eq(Mux(self.mask, C(every_lane, width), 0)),
            self.done.eq(self.stb & self.chunk_end),
        ]
        with m.If(self.stb):
            m.d.comb += group.eq(Cat(
                Mux(valid, value.as_value(), fill[:16])
                for valid, value in zip(self.lanes_valid, self.values, strict=True)))
            with m.Switch(self.part):
                for part in range(self._parts):
                    with m.Case(part) if self._parts > 1 else m.Default():
                        filling = fill.replicate(self._parts - 1 - part)
                        m.d.comb += self.chunk.eq(Cat(*held[:part], group, filling))
                        if part < self._parts - 1:
                            m.d.sync += held[part].eq(group)
        return m
