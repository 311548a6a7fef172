"""A vector operand of the output pass: read ahead, held until it is needed, in binary32."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.checks import check_positive
from ..arith.formats import Fp16, Fp32
from ..arith.fp32 import fp16_to_fp32
from ..isa import CHUNK
from ..registers.ports import VectorReadSignature
from .chunk_reader import ChunkReader

__all__ = ["OutputOperand"]


class OutputOperand(wiring.Component):
    """Reads a vector with a :class:`ChunkReader` and gives each group ``latency`` cycles later.

    It is taken when the sums of its group are, and added when these have become binary32.

    Latency: ``latency`` cycles from ``take`` to ``values``. Throughput: a group a cycle.

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Values in a group; it divides ``tile``.
    latency : int
        Cycles.

    Members
    -------
    start, enable, address, last_chunk, read, available, take
        Those of :class:`ChunkReader`.
    lanes_valid : In(lanes)
        A bit for each valid lane, as ``values`` is needed; the others are +0.
    values : Out
        ``lanes`` values in binary32.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    ValueError
        If ``lanes`` does not divide ``tile``.
    """

    def __init__(self, tile, lanes, latency):
        check_positive("Latency of an output operand", latency)
        self._reader = ChunkReader(tile, lanes)
        self._lanes = lanes
        self._latency = latency
        super().__init__({
            "start":       In(1),
            "enable":      In(1),
            "address":     In(CHUNK),
            "last_chunk":  In(CHUNK),
            "read":        Out(VectorReadSignature(tile)),
            "available":   Out(1),
            "take":        In(1),
            "lanes_valid": In(lanes),
            "values":      Out(data.ArrayLayout(Fp32, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self._reader
        connect(m, reader.read, flipped(self.read))
        m.d.comb += [
            *(getattr(reader, name).eq(getattr(self, name)) for name in (
                "start", "enable", "address", "last_chunk", "take")),
            self.available.eq(reader.available),
        ]

        strobes = Signal(self._latency)
        m.d.sync += strobes.eq(Cat(self.take, strobes))
        strobe, values = self.take, reader.values
        for number in range(self._latency):
            register = Signal(data.ArrayLayout(Fp16, self._lanes), name=f"s{number + 1}",
                              reset_less=True)
            with m.If(strobe):
                m.d.sync += register.eq(values)
            strobe, values = strobes[number], register

        with m.If(strobe):
            for lane in range(self._lanes):
                gated = Signal(Fp16, name=f"gated{lane}")
                with m.If(self.lanes_valid[lane]):
                    m.d.comb += gated.eq(values[lane])
                m.d.comb += self.values[lane].eq(fp16_to_fp32(m, gated, f"binary32_{lane}"))
        return m
