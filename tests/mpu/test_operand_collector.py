# amaranth: UnusedElaboratable=no
"""Tiles in their order, gated, with the accumulators they belong to."""

import numpy as np
import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.activity import Activity
from dfx_rtl.mpu.operand_collector import OperandCollector
from tests.mpu.machine import make_job, random_bits, tag_of

NANO = CONFIGS["nano"]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("rows, columns, block", [
    (1, 1, 1), (8, 2, 1), (9, 3, 1), (17, 7, 2), (16, 12, 3), (24, 5, 32), (31, 13, 4)])
def test_tiles(simulate, transposed, rows, columns, block):
    rng = np.random.default_rng(rows)
    dut = OperandCollector(8, 2, 64)
    job = make_job(rng, NANO, {"block": block, "transposed": transposed, "source": 3}, rows=rows,
                   columns=columns)
    vectors = random_bits(rng, (16, 8), "garbage")
    x = np.zeros(32, dtype=int)
    x[:rows] = vectors[3:7].reshape(-1)[:rows]
    weights = np.zeros((32, 32), dtype=int)
    weights[:rows, :columns] = job.weights
    groups, row_count = NANO.groups(columns), NANO.chunks(rows)
    expected = [(row, group) for begin in range(0, groups, block) for row in range(row_count)
                for group in range(begin, min(begin + block, groups))]

    async def testbench(ctx):
        ctx.set(dut.outputs.ready, 1)
        ctx.set(dut.operand.ready, 1)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, {
            "instruction": {"opcode": 1, **job.instruction.fields}, "tag": tag_of(5)})
        assert ctx.get(dut.activity) == Activity.ISSUE
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.weights.valid, 1)
        outputs = []
        for number, (row, group) in enumerate(expected):
            ctx.set(dut.weights.payload.as_value(), job.tiles[number])
            assert ctx.get(dut.activity) == Activity.BUSY
            if ctx.get(dut.outputs.valid):
                outputs.append((number, ctx.get(dut.outputs.payload)))
            chunk = ctx.get(dut.operand.address) if ctx.get(dut.operand.valid) else None
            await ctx.tick()
            if chunk is not None:
                for k in range(8):
                    ctx.set(dut.operand.data[k].as_value(), int(vectors[chunk][k]))
            assert ctx.get(dut.stb)
            assert [value.as_bits() for value in ctx.get(dut.x)] == x[8 * row:8 * row + 8].tolist()
            for lane, column in enumerate(ctx.get(dut.operands)):
                assert [value.as_bits() for value in column] == (
                    weights[8 * row:8 * row + 8, 2 * group + lane].tolist())
            target = ctx.get(dut.target)
            assert (target.index, target.load, target.complete) == (
                group, row == 0, row == row_count - 1)
        assert ctx.get(dut.activity) == Activity.ISSUE
        (number, output), = outputs
        assert number == 0
        assert output.last_group == groups - 1
        assert output.lanes_tail == (3 if columns % 2 == 0 else 1)
        assert not output.empty
        assert output.tag.instruction == 5

    simulate(dut, testbench)


def test_what_keeps_a_tile_back(simulate):
    """ACCUMULATORS, then OPERAND, then WEIGHTS; nothing is taken before all are there."""
    rng = np.random.default_rng(1)
    dut = OperandCollector(8, 2, 2)
    job = make_job(rng, NANO, {"block": 32}, rows=8, columns=8)

    async def testbench(ctx):
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, {
            "instruction": {"opcode": 1, **job.instruction.fields}, "tag": tag_of(0)})
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        for output, operand, weights, activity in (
                (0, 0, 0, "ACCUMULATORS"), (0, 1, 1, "ACCUMULATORS"), (1, 0, 0, "OPERAND"),
                (1, 0, 1, "OPERAND"), (1, 1, 0, "WEIGHTS"), (1, 1, 1, "BUSY")):
            ctx.set(dut.outputs.ready, output)
            ctx.set(dut.operand.ready, operand)
            ctx.set(dut.weights.valid, weights)
            assert ctx.get(dut.activity) == Activity[activity]
            assert ctx.get(dut.operand.valid) == (output and weights)
            assert ctx.get(dut.weights.ready) == (output and operand)
            assert ctx.get(dut.outputs.valid) == (activity == "BUSY")
            await ctx.tick()
            assert ctx.get(dut.stb) == (activity == "BUSY")
        ctx.set(dut.outputs.ready, 0)
        assert ctx.get(dut.activity) == Activity.BUSY
        await ctx.tick()
        # Both accumulators are taken; each one that comes back lets one group start.
        for _ in range(2):
            assert ctx.get(dut.activity) == Activity.ACCUMULATORS
            ctx.set(dut.released, 1)
            await ctx.tick()
            ctx.set(dut.released, 0)
            assert ctx.get(dut.activity) == Activity.BUSY
            await ctx.tick()
        assert ctx.get(dut.activity) == Activity.ISSUE

    simulate(dut, testbench)


def test_errors():
    for arguments, noun in (((0, 1, 2), "Tile"), ((1, 0, 2), "Lanes"), ((1, 1, 0), "Accumulators")):
        with pytest.raises(TypeError) as error:
            OperandCollector(*arguments)
        assert str(error.value) == (f"{noun} of an operand collector must be a positive integer, "
                                    f"not 0")
