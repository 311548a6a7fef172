"""Reads a vector from the register file ahead of the output pass, and cuts its chunks in groups."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arith.checks import check_positive
from ..arith.formats import Fp16
from ..isa import CHUNK
from ..registers.ports import VectorReadSignature

__all__ = ["ChunkReader"]


class ChunkReader(wiring.Component):
    """Presents a vector group by group, the next chunk read while the last group leaves.

    Latency: ``available`` 2 cycles after ``start`` if the chunk is written. Throughput: a group a
    cycle, also where a chunk is one group. ``read.valid`` is combinational in ``take``.

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Values in a group; it divides ``tile``.

    Members
    -------
    start : In(1)
        Forget the old vector. If ``enable`` is set, begin a new one at ``address``, which ends
        with its chunk ``last_chunk``.
    read : Out(VectorReadSignature)
        The read port.
    available : Out(1)
        ``values`` is the current group.
    take : In(1)
        Go on to the next group.
    values : Out
        ``lanes`` values.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    ValueError
        If ``lanes`` does not divide ``tile``.
    """

    def __init__(self, tile, lanes):
        check_positive("Tile of a chunk reader", tile)
        check_positive("Lanes of a chunk reader", lanes)
        if tile % lanes:
            raise ValueError(f"Lanes of a chunk reader must divide its tile {tile}, "
                             f"which {lanes} does not")
        self._tile = tile
        self._lanes = lanes
        super().__init__({
            "start":      In(1),
            "enable":     In(1),
            "address":    In(CHUNK),
            "last_chunk": In(CHUNK),
            "read":       Out(VectorReadSignature(tile)),
            "available":  Out(1),
            "take":       In(1),
            "values":     Out(data.ArrayLayout(Fp16, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        groups = self._tile // self._lanes
        address = Signal(CHUNK, reset_less=True)
        remaining = Signal(CHUNK, reset_less=True)
        active = Signal()
        available = Signal()
        part = Signal(range(groups), reset_less=True)
        chunk_taken = Signal()
        reads = Signal()
        values = self.read.data.as_value()
        m.d.comb += [
            chunk_taken.eq(self.take & (part == groups - 1)),
            self.read.address.eq(address),
            self.read.valid.eq(active & (~available | chunk_taken)),
            reads.eq(self.read.valid & self.read.ready),
            self.available.eq(available),
        ]
        with m.If(available):
            m.d.comb += self.values.eq(values.word_select(part, 16 * self._lanes))

        with m.If(self.take):
            m.d.sync += part.eq(Mux(chunk_taken, 0, part + 1))
        with m.If(reads):
            m.d.sync += [
                available.eq(1),
                address.eq(address + 1),
                remaining.eq(remaining - 1),
                active.eq(remaining != 0),
            ]
        with m.Elif(chunk_taken):
            m.d.sync += available.eq(0)
        with m.If(self.start):
            m.d.sync += [
                available.eq(0),
                address.eq(self.address),
                remaining.eq(self.last_chunk),
                active.eq(self.enable),
                part.eq(0),
            ]
        return m
