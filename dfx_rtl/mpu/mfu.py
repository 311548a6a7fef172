"""The matrix function unit: dot products and their accumulators."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.checks import check_positive
from ..arith.exact import DotProduct
from ..arith.formats import EXACT_WIDTH, ExactSum
from ..registers.ports import ChunkLayout
from .layouts import Target

__all__ = ["MatrixFunctionUnit"]


class MatrixFunctionUnit(wiring.Component):
    """Multiplies a tile with a chunk, and adds the sums to one of the accumulators of each lane.

    The accumulators are one memory with a word of ``lanes`` exact sums. It is read, added to and
    written in one cycle, so that tiles may follow each other on the same accumulator. A second
    read port serves ``results``: complete accumulators leave in the order of the ring, whenever
    the output pass takes them.

    Latency: ``latency`` cycles from ``stb`` of the tile that completes a group until it is the
    payload of ``results``. Throughput: a tile and a result a cycle.

    Source: DFX paper, section 5.3 (matrix function unit, Fig. 9).

    Parameters
    ----------
    tile : int
        d, length of the dot product.
    lanes : int
        l, columns.
    accumulators : int
        Accumulators of each lane; a power of two.

    Members
    -------
    stb, x, operands, target : In
        A tile, as :class:`OperandCollector` gives it.
    results : Out(stream)
        Complete sums, one group a transfer.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    """

    def __init__(self, tile, lanes, accumulators):
        check_positive("Tile of a matrix function unit", tile)
        check_positive("Lanes of a matrix function unit", lanes)
        check_positive("Accumulators of a matrix function unit", accumulators)
        self._accumulators = accumulators
        self._dot_product = DotProduct(tile, lanes)
        self._sums = data.ArrayLayout(ExactSum(), lanes)
        super().__init__({
            "stb":      In(1),
            "x":        In(ChunkLayout(tile)),
            "operands": In(data.ArrayLayout(ChunkLayout(tile), lanes)),
            "target":   In(Target(accumulators)),
            "results":  Out(stream.Signature(self._sums)),
        })

    @property
    def latency(self):
        """Cycles from the last tile of a group to its result."""
        return self._dot_product.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.dot_product = dot_product = self._dot_product
        m.submodules.storage = storage = memory.Memory(shape=self._sums, init=[],
                                                       depth=self._accumulators)
        old = storage.read_port(domain="comb")
        new = storage.write_port()
        drain = storage.read_port(domain="comb")

        # What belongs to a tile waits here while its products are added up.
        waiting = Signal(data.ArrayLayout(self.target.shape(), dot_product.latency),
                         reset_less=True)
        target = waiting[dot_product.latency - 1]
        m.d.sync += waiting.eq(Cat(self.target, waiting))
        m.d.comb += [
            dot_product.stb.eq(self.stb),
            dot_product.x.eq(self.x),
            dot_product.weights.eq(self.operands),
            old.addr.eq(target.index),
            new.addr.eq(target.index),
            new.en.eq(dot_product.done),
        ]
        with m.If(dot_product.done):
            m.d.comb += new.data.eq(Cat(
                self._add(Mux(target.load, 0, a), b)
                for a, b in zip(old.data, dot_product.sums, strict=True)))

        completed_count = Signal(range(self._accumulators + 1))
        completes = Signal()
        taken = Signal()
        m.d.comb += [
            completes.eq(dot_product.done & target.complete),
            self.results.valid.eq(completed_count != 0),
            taken.eq(self.results.valid & self.results.ready),
        ]
        with m.If(self.results.valid):
            m.d.comb += self.results.payload.eq(drain.data)
        with m.If(taken):
            m.d.sync += drain.addr.eq(drain.addr + 1)
        with m.If(completes & ~taken):
            m.d.sync += completed_count.eq(completed_count + 1)
        with m.Elif(taken & ~completes):
            m.d.sync += completed_count.eq(completed_count - 1)
        return m

    @staticmethod
    def _add(a, b):
        b = b.as_value()
        total = b[:EXACT_WIDTH] + a[:EXACT_WIDTH]
        return Cat(total[:EXACT_WIDTH], a[EXACT_WIDTH:] | b[EXACT_WIDTH:])
