"""The matrix operand collector: from an instruction to tiles."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arith.checks import check_positive
from ..arith.formats import Fp16
from ..control.activity import Activity
from ..control.commands import MatrixCommand
from ..isa import CHUNK, LENGTH
from ..registers.ports import ChunkLayout, VectorReadSignature
from .layouts import OUTPUT_FIELDS, OutputCommand, Target

__all__ = ["OperandCollector"]


class OperandCollector(wiring.Component):
    """Runs the tile loops of matrix instructions: block, row chunk, column group.

    A tile is *issued* when its instruction, its input chunk, its weights and its accumulator are
    there. The input chunk is read when a row starts and stays for the row's groups. The tile
    leaves one cycle later, its elements in order (lane by lane), and rows and columns beyond the
    valid ones set to +0: what lies there in memory may be anything.

    A block takes an accumulator for each of its groups, in a ring, while its first row runs; the
    output pass gives them back in the same order. An instruction without ``first`` goes on where
    the one before it, which had no ``last``, left its sums.

    Latency: 1 cycle from a read of the operand or a tile of weights to ``stb``. Throughput: a tile
    a cycle, also from one instruction to the next. ``weights.ready`` and ``commands.ready`` are
    combinational in ``operand.ready`` and ``outputs.ready``; ``commands.ready`` and
    ``operand.valid`` are in ``weights.valid``, too.

    Source: DFX paper, section 5.2 (operand collectors) and section 5.1 (tiling, zig-zag).

    Parameters
    ----------
    tile : int
        d, values in a chunk.
    lanes : int
        l, columns of a tile.
    accumulators : int
        Accumulators of each lane; a power of two.

    Members
    -------
    commands : In(stream)
        Instructions.
    weights : In(stream)
        Tiles in linear memory order.
    operand : Out(VectorReadSignature)
        Reads the input vector.
    outputs : Out(stream)
        An :func:`OutputCommand` for each instruction: with its first tile, or with its last one if
        nothing is to leave.
    released : In(1)
        The output pass has taken the sums of an accumulator.
    stb : Out(1)
        The members below are valid.
    x, operands : Out
        The input chunk, and the weights as a column of ``tile`` values for each lane.
    target : Out
        Where the sums go: see :func:`Target`.
    activity : Out(Activity)
        What happens in this cycle. If several things are missing the one named first in
        ACCUMULATORS, OPERAND, WEIGHTS counts.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    """

    def __init__(self, tile, lanes, accumulators):
        check_positive("Tile of an operand collector", tile)
        check_positive("Lanes of an operand collector", lanes)
        check_positive("Accumulators of an operand collector", accumulators)
        self._tile = tile
        self._lanes = lanes
        self._accumulators = accumulators
        super().__init__({
            "commands": In(stream.Signature(MatrixCommand)),
            "weights":  In(stream.Signature(data.ArrayLayout(Fp16, tile * lanes))),
            "operand":  Out(VectorReadSignature(tile)),
            "outputs":  Out(stream.Signature(OutputCommand(lanes))),
            "released": In(1),
            "stb":      Out(1),
            "x":        Out(ChunkLayout(tile)),
            "operands": Out(data.ArrayLayout(ChunkLayout(tile), lanes)),
            "target":   Out(Target(accumulators)),
            "activity": Out(Activity),
        })

    def elaborate(self, platform):
        m = Module()
        tile, lanes = self._tile, self._lanes

        # The instruction under way.
        busy = Signal()
        source = Signal(CHUNK, reset_less=True)
        last_row = Signal(LENGTH, reset_less=True)
        last_group = Signal(LENGTH, reset_less=True)
        rows_tail = Signal(tile, reset_less=True)
        block = Signal(6, reset_less=True)
        transposed = Signal(reset_less=True)
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)
        output = Signal(OutputCommand(lanes), reset_less=True)

        # Where it is.
        started = Signal(reset_less=True)
        chunk = Signal(CHUNK, reset_less=True)
        row = Signal(LENGTH, reset_less=True)
        group = Signal(LENGTH, reset_less=True)
        block_first = Signal(LENGTH, reset_less=True)
        block_last = Signal(LENGTH, reset_less=True)
        accumulator = Signal(range(self._accumulators))
        base = Signal(range(self._accumulators))
        allocated = Signal(range(self._accumulators + 1))

        row_start = Signal()
        row_end = Signal()
        row_is_last = Signal()
        group_is_last = Signal()
        finishing = Signal()
        allocates = Signal()
        output_due = Signal()
        room = Signal()
        takes = Signal()
        issue = Signal()
        m.d.comb += [
            row_start.eq(group == block_first),
            row_end.eq(group == block_last),
            row_is_last.eq(row == last_row),
            group_is_last.eq(group == last_group),
            finishing.eq(row_end & row_is_last & group_is_last),
            allocates.eq(first & (row == 0)),
            output_due.eq(Mux(last, ~started, finishing)),
            room.eq(~(allocates & (allocated == self._accumulators))
                    & (~output_due | self.outputs.ready)),
            takes.eq(busy & room & (~row_start | self.operand.ready)),
            issue.eq(takes & self.weights.valid),

            self.weights.ready.eq(takes),
            self.operand.address.eq(chunk),
            self.operand.valid.eq(busy & room & row_start & self.weights.valid),
            self.outputs.payload.eq(output),
            self.outputs.valid.eq(issue & output_due),
            self.commands.ready.eq(~busy | (issue & finishing)),
        ]

        with m.If(~busy):
            m.d.comb += self.activity.eq(Activity.ISSUE)
        with m.Elif(issue):
            m.d.comb += self.activity.eq(Activity.BUSY)
        with m.Elif(~room):
            m.d.comb += self.activity.eq(Activity.ACCUMULATORS)
        with m.Elif(~takes):
            m.d.comb += self.activity.eq(Activity.OPERAND)
        with m.Else():
            m.d.comb += self.activity.eq(Activity.WEIGHTS)

        # The loops.
        next_accumulator = Signal.like(accumulator)
        next_block = Signal(LENGTH)
        m.d.comb += [
            next_accumulator.eq(accumulator + 1),
            next_block.eq(block_last + block),
        ]
        with m.If(issue):
            m.d.sync += started.eq(1)
            with m.If(~row_end):
                m.d.sync += [group.eq(group + 1), accumulator.eq(next_accumulator)]
            with m.Elif(~row_is_last):
                m.d.sync += [
                    group.eq(block_first), accumulator.eq(base),
                    row.eq(row + 1), chunk.eq(chunk + 1),
                ]
            with m.Elif(~group_is_last):
                m.d.sync += [
                    group.eq(group + 1), accumulator.eq(next_accumulator),
                    base.eq(next_accumulator), block_first.eq(group + 1),
                    block_last.eq(Mux(next_block < last_group, next_block, last_group)),
                    row.eq(0), chunk.eq(source),
                ]
            with m.Else():
                m.d.sync += busy.eq(0)
                with m.If(last):
                    m.d.sync += [accumulator.eq(next_accumulator), base.eq(next_accumulator)]
                with m.Else():
                    m.d.sync += accumulator.eq(base)

        # A cycle that both takes and gives back changes nothing.
        with m.If(issue & allocates):
            with m.If(~self.released):
                m.d.sync += allocated.eq(allocated + 1)
        with m.Elif(self.released):
            m.d.sync += allocated.eq(allocated - 1)

        self._elaborate_load(m, busy, started, source, chunk, last_row, rows_tail, row, last_group,
                             group, block, block_first, block_last, transposed, first, last, output)
        self._elaborate_tile(m, issue, transposed, row_is_last, rows_tail, group_is_last,
                             output.lanes_tail)
        with m.If(issue):
            m.d.sync += [
                self.target.index.eq(accumulator),
                self.target.load.eq(allocates),
                self.target.complete.eq(last & row_is_last),
            ]
        return m

    def _elaborate_load(self, m, busy, started, source, chunk, last_row, rows_tail, row,
                        last_group, group, block, block_first, block_last, transposed, first, last,
                        output):
        tile, lanes = self._tile, self._lanes
        row_bits, lane_bits = exact_log2(tile), exact_log2(lanes)
        instruction, tag = self.commands.payload.instruction, self.commands.payload.tag
        every_row = C((1 << tile) - 1, tile)
        every_lane = C((1 << lanes) - 1, lanes)

        # The indices of the last row and column: position + 1 rows end at row position.
        final_row = Signal(LENGTH)
        final_column = Signal(LENGTH)
        final_group = Signal(LENGTH)
        m.d.comb += [
            final_row.eq(Mux(instruction.rows_from_position, tag.position, instruction.rows - 1)),
            final_column.eq(Mux(instruction.columns_from_position, tag.position,
                                instruction.columns - 1)),
            final_group.eq(final_column >> lane_bits),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [
                busy.eq(1),
                started.eq(0),
                source.eq(instruction.source),
                chunk.eq(instruction.source),
                last_row.eq(final_row >> row_bits),
                rows_tail.eq(~(every_row << (final_row[:row_bits] + 1))),
                row.eq(0),
                last_group.eq(final_group),
                group.eq(0),
                block.eq(instruction.block),
                block_first.eq(0),
                block_last.eq(Mux(instruction.block - 1 < final_group, instruction.block - 1,
                                  final_group)),
                transposed.eq(instruction.transposed),
                first.eq(instruction.first),
                last.eq(instruction.last),
                *(output[name].eq(instruction[name]) for name in (
                    *OUTPUT_FIELDS, "destination", "scale", "bias", "residual")),
                output.last_group.eq(final_group),
                output.lanes_tail.eq(~(every_lane << (final_column[:lane_bits] + 1))),
                output.empty.eq(~instruction.last),
                output.tag.eq(tag),
            ]

    def _elaborate_tile(self, m, issue, transposed, row_is_last, rows_tail, group_is_last,
                        lanes_tail):
        tile, lanes = self._tile, self._lanes
        rows_valid = Signal(tile)
        lanes_valid = Signal(lanes)
        row_mask = Signal(16 * tile)
        tile_mask = Signal(16 * tile * lanes)
        m.d.comb += [
            rows_valid.eq(Mux(row_is_last, rows_tail, ~0)),
            lanes_valid.eq(Mux(group_is_last, lanes_tail, ~0)),
            row_mask.eq(Cat(Mux(bit, C(0xFFFF, 16), 0) for bit in rows_valid)),
            tile_mask.eq(Cat(Mux(bit, row_mask, 0) for bit in lanes_valid)),
        ]

        memory_order = Value.cast(self.weights.payload)
        lane_order = Cat(memory_order.word_select(row * lanes + lane, 16)
                         for lane in range(lanes) for row in range(tile))
        operands = Signal(16 * tile * lanes, reset_less=True)
        s1_rows_valid = Signal(tile, reset_less=True)
        s1_row_mask = Signal(16 * tile)
        m.d.sync += self.stb.eq(issue)
        with m.If(issue):
            m.d.sync += s1_rows_valid.eq(rows_valid)
            with m.If(transposed):
                m.d.sync += operands.eq(lane_order & tile_mask)
            with m.Else():
                m.d.sync += operands.eq(memory_order & tile_mask)
        m.d.comb += [
            s1_row_mask.eq(Cat(Mux(bit, C(0xFFFF, 16), 0) for bit in s1_rows_valid)),
            self.operands.eq(operands),
            self.x.eq(Value.cast(self.operand.data) & s1_row_mask),
        ]
