"""The vector and the scalar register file: replicated read ports, one write a cycle."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arith.formats import Fp32
from ..isa import SCALAR
from .ports import (
    ChunkLayout,
    ScalarReadSignature,
    ScalarWriteLayout,
    ScalarWriteSignature,
    VectorReadSignature,
    VectorWriteLayout,
    VectorWriteSignature,
)

__all__ = ["ScalarRegisterFile", "VectorRegisterFile"]


class _RegisterFile(wiring.Component):
    """What both files share: a memory with replicated read ports behind a write arbiter."""

    def __init__(self, depth, readers, writers, *, shape, read, write, record):
        self._depth = depth
        self._shape = shape
        super().__init__({
            "reads": In(read).array(readers),
            "writes": In(write).array(writers),
            "valid": In(depth),
            "written": Out(1),
            "write": Out(record),
        })

    def elaborate(self, platform):
        m = Module()
        # Plain bits: a waveform has a line for each word, not for each field of each value.
        width = Shape.cast(self._shape).width
        m.submodules.storage = storage = memory.Memory(shape=width, depth=self._depth, init=[])
        for read in self.reads:
            port = storage.read_port()
            index = read.address[:len(port.addr)]
            m.d.comb += [
                read.ready.eq(self.valid.bit_select(index, 1)),
                port.addr.eq(index),
                port.en.eq(read.valid & read.ready),
                read.data.eq(port.data),
            ]

        # The first writer always gets the port; the others wait for a cycle that it leaves.
        taken = 0
        for number, write in enumerate(self.writes):
            m.d.comb += write.ready.eq(~taken)
            with m.If(write.valid & write.ready):
                m.d.comb += self.write.eq(write.payload)
            claimed = Signal(name=f"taken{number}")
            m.d.comb += claimed.eq(taken | write.valid)
            taken = claimed
        port = storage.write_port()
        m.d.comb += [
            self.written.eq(taken),
            port.en.eq(taken),
            port.addr.eq(self.write.address),
            port.data.eq(self.write.data),
        ]
        return m


class VectorRegisterFile(_RegisterFile):
    """The vector register file: ``chunks`` words of ``tile`` binary16 values.

    Each read port has a copy of the storage, one read a cycle, latency 1 cycle. The write ports
    share one write a cycle; the lower index goes first, so writer 0 is never stalled. A written
    chunk can be read from the next cycle on. ``reads[i].ready`` is combinational in its address,
    ``writes[i].ready`` in the ``valid`` of the writers before it.

    Source: DFX paper, section 4.2 (register file), section 4.3.

    Parameters
    ----------
    chunks : int
        Depth.
    tile : int
        Values in a chunk.
    readers, writers : int
        Read and write ports.

    Members
    -------
    reads : In(VectorReadSignature), array
        The read ports.
    writes : In(VectorWriteSignature), array
        The write ports.
    valid : In(chunks)
        The scoreboard's valid bits: which chunks have been written since they were claimed.
    written : Out(1)
        A chunk is written in this cycle.
    write : Out(VectorWriteLayout)
        What is written, where and by which instruction.
    """

    def __init__(self, chunks, tile, readers, writers):
        super().__init__(chunks, readers, writers, shape=ChunkLayout(tile),
                         read=VectorReadSignature(tile), write=VectorWriteSignature(tile),
                         record=VectorWriteLayout(tile))


class ScalarRegisterFile(_RegisterFile):
    """The scalar register file: ``scalars`` binary32 values; else as the vector register file.

    Parameters
    ----------
    scalars : int
        Depth, at most 256.
    readers, writers : int
        Read and write ports.

    Members
    -------
    reads : In(ScalarReadSignature), array
        The read ports.
    writes : In(ScalarWriteSignature), array
        The write ports.
    valid : In(scalars)
        The scoreboard's valid bits.
    written : Out(1)
        A scalar is written in this cycle.
    write : Out(ScalarWriteLayout)
        What is written, where and by which instruction.

    Raises
    ------
    ValueError
        If there are more scalars than an instruction can name.
    """

    def __init__(self, scalars, readers, writers):
        if scalars > 1 << SCALAR:
            raise ValueError(f"Scalars must be at most {1 << SCALAR}, not {scalars!r}")
        super().__init__(scalars, readers, writers, shape=Fp32, read=ScalarReadSignature(),
                         write=ScalarWriteSignature(), record=ScalarWriteLayout())
