"""The store unit: K, V and vectors, from the vector register file to HBM and DDR."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.commands import DmaCommand
from ..isa import CHUNK, TAG, TILE, Index, Opcode
from ..registers.ports import VectorReadSignature
from .requests import ADDRESS, HbmWriteLayout, WriteRequestLayout

__all__ = ["StoreUnit"]


class StoreUnit(wiring.Component):
    """Executes STORE_KEY, STORE_VALUE and STORE.

    K is written as it stands: a chunk is a lane of its tile. V is written a group of ``lanes``
    values at a time: a group is a row of its tile, whose order is the transposed one. A chunk is
    read once, then its parts leave, one a cycle: a part is a chunk, a group or a beat, or as much
    of it as one channel's word holds. An instruction takes 2 cycles before its first read, and the
    next one begins when its last part has left.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    commands : In(stream.Signature(DmaCommand))
        Instructions. The index of STORE is NONE, POSITION or LAYER.
    operand : Out(VectorReadSignature)
        Where the chunks are read.
    hbm : Out(stream.Signature(HbmWriteLayout))
        Writes of K and V.
    ddr : Out(stream.Signature(WriteRequestLayout))
        Writes of vectors.
    writes_idle : In(1)
        The HBM has acknowledged all writes that it accepted.
    stores : Out(16)
        STORE_KEY and STORE_VALUE whose writes are all acknowledged, modulo 2^16. It may move
        later than that, and by several, if stores overlap.
    retired : Out(1)
        All parts of an instruction were accepted.
    idle : Out(1)
        No instruction is in progress, and all of them are acknowledged by the HBM.
    tag : Out(TAG)
        The instruction whose parts leave; for the trace.
    """

    # Ref: DFX paper, section 5.2: the DMA transposes V; here its layout in memory does.

    def __init__(self, config):
        self._config = config
        super().__init__({
            "commands": In(stream.Signature(DmaCommand)),
            "operand": Out(VectorReadSignature(config.tile)),
            "hbm": Out(stream.Signature(HbmWriteLayout(config))),
            "ddr": Out(stream.Signature(WriteRequestLayout(config))),
            "writes_idle": In(1),
            "stores": Out(16),
            "retired": Out(1),
            "idle": Out(1),
            "tag": Out(TAG),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        instruction = self.commands.payload.instruction
        tag = self.commands.payload.tag

        # How a chunk falls into parts: a lane of K, a row of V, beats of DDR.
        group_bits = config.lanes * 16
        key_bits = min(config.chunk_bits, config.word_bits)
        value_bits = min(group_bits, config.word_bits)
        key_parts = config.chunk_bits // key_bits
        value_parts = group_bits // value_bits
        ddr_parts = config.chunk_bits // config.ddr_bits
        parts_in_chunk = max(key_parts, value_parts * config.groups_per_chunk, ddr_parts)

        is_key = Signal()
        is_value = Signal()
        is_ddr = Signal()
        position = Signal(range(config.tile), reset_less=True)
        product = Signal(ADDRESS, reset_less=True)
        multiplicand = Signal(24)
        multiplier = Signal(17)

        # The chunk that is read next.
        reading = Signal()
        source = Signal(CHUNK, reset_less=True)
        source_head = Signal(CHUNK, reset_less=True)
        chunks = Signal(CHUNK, reset_less=True)
        chunk_count = Signal(CHUNK, reset_less=True)
        groups = Signal(8, reset_less=True)
        group_count = Signal(8, reset_less=True)
        head_count = Signal(8, reset_less=True)
        head_stride = Signal(24, reset_less=True)
        tile_head = Signal(TILE, reset_less=True)
        tile = Signal(TILE, reset_less=True)
        address = Signal(ADDRESS, reset_less=True)

        # The chunk that leaves. Its data stays in the read port until the next read.
        leaving = Signal()
        part = Signal(range(parts_in_chunk))
        part_last = Signal(range(parts_in_chunk), reset_less=True)
        part_tile = Signal(TILE, reset_less=True)
        part_final = Signal(reset_less=True)
        accepted = Signal()
        chunk_leaves = Signal()
        read = Signal()
        chunk_groups = Signal(range(config.groups_per_chunk + 1))
        head_ends = Signal()
        last_chunk = Signal()

        m.d.comb += [
            multiplicand.eq(Mux(instruction.opcode == Opcode.STORE, instruction.stride,
                                Mux(instruction.opcode == Opcode.STORE_KEY, instruction.chunks,
                                    instruction.groups))),
            self.idle.eq(0),
        ]
        with m.Switch(instruction.opcode):
            with m.Case(Opcode.STORE_KEY):
                m.d.comb += multiplier.eq(tag.position >> exact_log2(config.lanes))
            with m.Case(Opcode.STORE_VALUE):
                m.d.comb += multiplier.eq(tag.position >> exact_log2(config.tile))
            with m.Default():
                with m.If(instruction.index == Index.POSITION):
                    m.d.comb += multiplier.eq(tag.position)
                with m.Elif(instruction.index == Index.LAYER):
                    m.d.comb += multiplier.eq(tag.layer)

        issued = Signal(16)
        first_tile = Signal(TILE)
        m.d.comb += first_tile.eq(
            instruction.tile + Mux(instruction.layer_relative, self.commands.payload.layer_base, 0)
            + product)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(
                    ~self.commands.valid & ~leaving & (self.stores == issued))
                with m.If(self.commands.valid & (~leaving | (chunk_leaves & part_final))):
                    m.d.sync += product.eq(multiplicand * multiplier)
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.commands.ready.eq(1)
                m.d.sync += [
                    is_key.eq(instruction.opcode == Opcode.STORE_KEY),
                    is_value.eq(instruction.opcode == Opcode.STORE_VALUE),
                    is_ddr.eq(instruction.opcode == Opcode.STORE),
                    position.eq(tag.position),
                    reading.eq(1),
                    source.eq(instruction.chunk),
                    source_head.eq(instruction.chunk),
                    chunks.eq(instruction.chunks),
                    chunk_count.eq(instruction.chunks),
                    groups.eq(instruction.groups),
                    group_count.eq(instruction.groups),
                    head_count.eq(Mux(instruction.opcode == Opcode.STORE, 1, instruction.heads)),
                    head_stride.eq(instruction.tiles),
                    tile_head.eq(first_tile),
                    tile.eq(first_tile),
                    address.eq(instruction.address + product),
                ]
                m.next = "READ"
            with m.State("READ"):
                with m.If(read & last_chunk):
                    m.next = "IDLE"

        m.d.comb += [
            self.operand.address.eq(source),
            self.operand.valid.eq(reading & (~leaving | chunk_leaves)),
            read.eq(self.operand.valid & self.operand.ready),
            chunk_groups.eq(Mux(group_count < config.groups_per_chunk, group_count,
                                config.groups_per_chunk)),
            head_ends.eq(Mux(is_value, group_count <= config.groups_per_chunk, chunk_count == 1)),
            last_chunk.eq(head_ends & (head_count == 1)),
        ]
        reading_tag = Signal(TAG, reset_less=True)
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += reading_tag.eq(tag)
        with m.If(read):
            m.d.sync += [
                self.tag.eq(reading_tag),
                leaving.eq(1),
                part.eq(0),
                part_tile.eq(tile),
                part_final.eq(last_chunk),
                source.eq(source + 1),
                chunk_count.eq(chunk_count - 1),
                group_count.eq(group_count - config.groups_per_chunk),
                tile.eq(tile + Mux(is_value, config.groups_per_chunk, 1)),
            ]
            with m.If(is_key):
                m.d.sync += part_last.eq(key_parts - 1)
            with m.Elif(is_value):
                m.d.sync += part_last.eq(chunk_groups * value_parts - 1)
            with m.Else():
                m.d.sync += part_last.eq(ddr_parts - 1)
            with m.If(last_chunk):
                m.d.sync += reading.eq(0)
            with m.Elif(head_ends):
                m.d.sync += [
                    head_count.eq(head_count - 1),
                    source.eq(source_head + chunks),
                    source_head.eq(source_head + chunks),
                    chunk_count.eq(chunks),
                    group_count.eq(groups),
                    tile.eq(tile_head + head_stride),
                    tile_head.eq(tile_head + head_stride),
                ]
        with m.Elif(chunk_leaves):
            m.d.sync += leaving.eq(0)
        with m.Elif(accepted):
            m.d.sync += part.eq(part + 1)
            # A row of V is one part or several; each row lies in the next tile.
            if value_parts > 1:
                next_row = part[:exact_log2(value_parts)].all()
            else:
                next_row = 1
            m.d.sync += part_tile.eq(part_tile + (is_value & next_row))

        m.d.comb += [
            self.hbm.valid.eq(leaving & ~is_ddr),
            self.ddr.valid.eq(leaving & is_ddr),
            accepted.eq((self.hbm.valid & self.hbm.ready) | (self.ddr.valid & self.ddr.ready)),
            chunk_leaves.eq(accepted & (part == part_last)),
            self.retired.eq(chunk_leaves & part_final),
        ]
        with m.If(accepted & is_ddr):
            m.d.sync += address.eq(address + config.ddr_bytes_per_beat)
        with m.If(self.retired & ~is_ddr):
            m.d.sync += issued.eq(issued + 1)
        with m.If(self.writes_idle & (self.stores != issued)):
            m.d.sync += self.stores.eq(issued)

        self._elaborate_parts(m, part, part_tile, position, is_value, address)
        return m

    def _elaborate_parts(self, m, part, part_tile, position, is_value, address):
        """Cut the part out of the chunk, and place it in the word of a channel."""
        config = self._config
        chunk = Value.cast(self.operand.data)
        lane = position[:exact_log2(config.lanes)]
        row = position[:exact_log2(config.tile)]

        def place(bits, part_index, line):
            # A line of a tile is `lines` parts long; a word has `slots` places for a part.
            unit = min(bits, config.word_bits)
            slots = config.word_bits // unit
            within = part_index[:exact_log2(bits // unit)]
            linear = Cat(within, line)
            slot = linear[:exact_log2(slots)]
            strobe = Cat((slot == index).replicate(unit // 8) for index in range(slots))
            return [
                self.hbm.payload.channel.eq(linear[exact_log2(slots):]),
                self.hbm.payload.data.eq(chunk.word_select(part_index, unit).replicate(slots)),
                self.hbm.payload.strobe.eq(strobe),
            ]

        m.d.comb += [
            self.hbm.payload.tile.eq(part_tile),
            self.ddr.payload.address.eq(address),
            self.ddr.payload.data.eq(chunk.word_select(part, config.ddr_bits)),
            self.ddr.payload.strobe.eq(~0),
        ]
        with m.If(is_value):
            m.d.comb += place(config.lanes * 16, part, row)
        with m.Else():
            m.d.comb += place(config.chunk_bits, part, lane)
