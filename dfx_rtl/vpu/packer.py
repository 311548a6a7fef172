"""The packer: beats of results become chunks that wait to be written."""

from amaranth import *
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from ..isa import CHUNK
from ..registers.ports import VectorWriteSignature
from .jobs import Job, ResultLayout

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Puts the results of beats together and writes chunks.

    Results cannot be stalled, writes can. So a chunk waits in a buffer, and a place in it is
    reserved before the first operands of the chunk leave. Latency from the chunk's last beat to
    its write: 1 cycle. Throughput one beat a cycle. ``finished`` is combinational in
    ``vector_write.ready``.

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Values in a beat; divides ``tile``.
    depth : int
        Chunks that may be on their way or wait.

    Members
    -------
    job : In(Job)
        The destination and the tag.
    reserve : In(1)
        Strobe: a place is taken.
    room : Out(1)
        There is a place for one more chunk.
    stb : In(1)
        ``result`` is valid.
    result : In(ResultLayout)
        The results of a beat. What a chunk's beats leave out at its end is +0.
    vector_write : Out(VectorWriteSignature)
        The write port of the vector register file.
    finished : Out(1)
        Strobe: the last chunk of the vector is written in this cycle.

    Raises
    ------
    TypeError
        If the depth is not a positive integer.
    """

    def __init__(self, tile, lanes, depth):
        if not isinstance(depth, int) or depth < 1:
            raise TypeError(f"Depth of a packer must be a positive integer, not {depth!r}")
        self._tile = tile
        self._lanes = lanes
        self._depth = depth
        super().__init__({
            "job": In(Job),
            "reserve": In(1),
            "room": Out(1),
            "stb": In(1),
            "result": In(ResultLayout(lanes)),
            "vector_write": Out(VectorWriteSignature(tile)),
            "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        beat_bits = self._lanes * 16
        beat_count = self._tile // self._lanes
        entry = data.StructLayout({"chunk": self._tile * 16, "last": 1})
        m.submodules.chunks = chunks = fifo.SyncFIFO(width=entry.size, depth=self._depth)

        beat_index = Signal(range(beat_count))
        gathered = Signal((beat_count - 1) * beat_bits, reset_less=True)
        arriving = data.View(entry, chunks.w_data)
        m.d.comb += [
            chunks.w_en.eq(self.stb & self.result.chunk_last),
            arriving.last.eq(self.result.last),
        ]
        with m.Switch(beat_index):
            for index in range(beat_count):
                with m.Case(index):
                    whole = Cat(gathered[:index * beat_bits], self.result.values.as_value())
                    m.d.comb += arriving.chunk.eq(whole)
        with m.If(self.stb):
            m.d.sync += [gathered.eq(arriving.chunk), beat_index.eq(beat_index + 1)]
            with m.If(self.result.chunk_last):
                m.d.sync += beat_index.eq(0)

        leaving = data.View(entry, chunks.r_data)
        offset = Signal(CHUNK)
        written = Signal()
        write = self.vector_write.payload
        m.d.comb += [
            self.vector_write.valid.eq(chunks.r_rdy),
            write.address.eq(self.job.destination + offset),
            write.data.as_value().eq(leaving.chunk),
            write.tag.eq(self.job.tag),
            written.eq(self.vector_write.valid & self.vector_write.ready),
            chunks.r_en.eq(written),
            self.finished.eq(written & leaving.last),
        ]
        with m.If(written):
            m.d.sync += offset.eq(offset + 1)
            with m.If(leaving.last):
                m.d.sync += offset.eq(0)

        reserved = Signal(range(self._depth + 1))
        m.d.comb += self.room.eq(reserved != self._depth)
        with m.If(self.reserve & ~written):
            m.d.sync += reserved.eq(reserved + 1)
        with m.Elif(written & ~self.reserve):
            m.d.sync += reserved.eq(reserved - 1)
        return m
