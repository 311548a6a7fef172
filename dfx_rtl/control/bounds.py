"""Whether what an instruction touches ends inside its register file and its memory."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa import ADDRESS, LENGTH, OPCODE, TILE, Index, Opcode, layout
from .causes import Cause
from .decoder import RangesLayout
from .sequencer import IssueLayout

__all__ = ["Bounds"]


class Bounds(wiring.Component):
    """The ends of an instruction's registers, and of a DMA instruction's region of HBM or DDR.

    Products are registered, and so is the answer.

    Latency: 2 cycles from ``issue`` to ``cause``, 1 from ``ranges``, which come a cycle later.
    Throughput: one instruction a cycle.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    issue : In(IssueLayout)
        The instruction; it stays until ``cause`` is there.
    ranges : In(RangesLayout)
        The instruction's registers.
    vocabulary : In(17)
        Number of tokens: the bound of an address that a token id indexes.
    cause : Out(Cause)
        NONE, REGISTER_RANGE, HBM_RANGE or DDR_RANGE.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "issue": In(IssueLayout),
            "ranges": In(RangesLayout(config)),
            "vocabulary": In(LENGTH),
            "cause": Out(Cause),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        dma = data.View(layout("dma"), self.issue.instruction)
        opcode = Signal(OPCODE)
        index = Signal(LENGTH)
        m.d.comb += opcode.eq(self.issue.instruction[:OPCODE])
        with m.Switch(dma.index):
            with m.Case(Index.TOKEN):
                m.d.comb += index.eq(self.vocabulary - 1)
            with m.Case(Index.POSITION):
                m.d.comb += index.eq(self.issue.tag.position)
            with m.Case(Index.LAYER):
                m.d.comb += index.eq(self.issue.tag.layer)

        # How far behind the address the region starts, and its size.
        offset = Signal(ADDRESS + 1, reset_less=True)
        ddr_size = Signal(ADDRESS, reset_less=True)
        tile = Signal(TILE + 1, reset_less=True)
        hbm_size = Signal(TILE, reset_less=True)
        copies = opcode == Opcode.COPY
        stores = (opcode == Opcode.STORE_KEY) | (opcode == Opcode.STORE_VALUE)
        m.d.sync += [
            offset.eq(dma.stride * index),
            ddr_size.eq(Mux(copies, dma.tiles * (config.tile_bits // 8),
                            dma.chunks * config.chunk_bytes)),
            tile.eq(dma.tile + Mux(dma.layer_relative, self.issue.layer_base, 0)),
            hbm_size.eq(Mux(stores, dma.heads * dma.tiles, dma.tiles)),
        ]

        ddr_end = Signal(ADDRESS + 2)
        hbm_end = Signal(TILE + 2)
        m.d.comb += [
            ddr_end.eq(dma.address + offset + ddr_size),
            hbm_end.eq(tile + hbm_size),
        ]
        registers = []
        for index, entry in enumerate(self.ranges):
            end = Signal(LENGTH + 1, name=f"end{index}")
            m.d.comb += end.eq(entry.start + entry.count)
            registers.append((entry.count != 0) & (end > Mux(
                entry.scalar, config.vector_chunks + config.scalars, config.vector_chunks)))
        m.d.sync += self.cause.eq(Cause.NONE)
        with m.If(Cat(registers).any()):
            m.d.sync += self.cause.eq(Cause.REGISTER_RANGE)
        with m.Elif((copies | stores) & (hbm_end > config.hbm_tiles)):
            m.d.sync += self.cause.eq(Cause.HBM_RANGE)
        with m.Elif((copies | (opcode == Opcode.LOAD) | (opcode == Opcode.STORE))
                    & (ddr_end > config.ddr_bytes)):
            m.d.sync += self.cause.eq(Cause.DDR_RANGE)
        return m
