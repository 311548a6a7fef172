# amaranth: UnusedElaboratable=no
"""Dot products and accumulators against Python integers."""

import numpy as np
import pytest

from dfx_rtl.mpu.mfu import MatrixFunctionUnit
from tests.mpu.machine import exact_sums, random_bits


def pack(values):
    return int.from_bytes(np.asarray(values).astype("<u2").tobytes(), "little")


@pytest.mark.parametrize("tile, lanes", [(8, 2), (4, 4), (1, 1)])
@pytest.mark.parametrize("gaps, drains", [(0, 1), (.3, .3)])
def test_sums(simulate, tile, lanes, gaps, drains):
    """Blocks of groups, each several tiles deep; a block of one repeats its accumulator."""
    rng = np.random.default_rng(tile)
    dut = MatrixFunctionUnit(tile, lanes, 8)
    blocks = [(int(rng.integers(1, 5)), int(rng.integers(1, 4))) for _ in range(8)]
    tiles, expected, index = [], [], 0
    for groups, rows in blocks:
        x = random_bits(rng, (rows, tile), "any")
        weights = random_bits(rng, (groups, lanes, rows * tile), str(rng.choice(["any", "small"])))
        for row in range(rows):
            for group in range(groups):
                columns = weights[group, :, row * tile:(row + 1) * tile]
                tiles.append((x[row], columns, (index + group) % 8, row == 0, row == rows - 1))
        expected += [exact_sums(x.reshape(-1), weights[group].T) for group in range(groups)]
        index += groups
    outstanding = [0]

    async def feed(ctx):
        for x, weights, target, load, complete in tiles:
            while rng.random() < gaps or (load and outstanding[0] == 8):
                ctx.set(dut.stb, 0)
                await ctx.tick()
            outstanding[0] += load
            ctx.set(dut.stb, 1)
            ctx.set(dut.x.as_value(), pack(x))
            ctx.set(dut.operands.as_value(), pack(weights))
            ctx.set(dut.target, {"index": target, "load": load, "complete": complete})
            await ctx.tick()
        ctx.set(dut.stb, 0)

    async def drain(ctx):
        for value, flags in expected:
            while rng.random() >= drains:
                await ctx.tick()
            ctx.set(dut.results.ready, 1)
            sums, = await ctx.tick().sample(dut.results.payload).until(dut.results.valid)
            ctx.set(dut.results.ready, 0)
            outstanding[0] -= 1
            for lane in range(lanes):
                wanted = {name: bool(flag[lane]) for name, flag in flags.items()}
                nan = wanted["nan"] or (wanted["positive_infinity"]
                                        and wanted["negative_infinity"])
                if nan:
                    assert sums[lane].nan or (sums[lane].positive_infinity
                                              and sums[lane].negative_infinity)
                elif any(wanted.values()):
                    assert not sums[lane].nan
                    assert sums[lane].positive_infinity == wanted["positive_infinity"]
                    assert sums[lane].negative_infinity == wanted["negative_infinity"]
                else:
                    assert not (sums[lane].nan or sums[lane].positive_infinity
                                or sums[lane].negative_infinity)
                    assert sums[lane].value == value[lane]

    simulate(dut, feed, drain)


@pytest.mark.parametrize("tile", [1, 8, 16])
def test_latency(simulate, tile):
    dut = MatrixFunctionUnit(tile, 1, 2)

    async def testbench(ctx):
        ctx.set(dut.stb, 1)
        ctx.set(dut.target, {"index": 0, "load": 1, "complete": 1})
        await ctx.tick()
        ctx.set(dut.stb, 0)
        for _ in range(dut.latency - 1):
            assert not ctx.get(dut.results.valid)
            await ctx.tick()
        assert ctx.get(dut.results.valid)

    simulate(dut, testbench)


def test_errors():
    for arguments, noun in (((0, 1, 2), "Tile"), ((1, 0, 2), "Lanes"), ((1, 1, 0), "Accumulators")):
        with pytest.raises(TypeError) as error:
            MatrixFunctionUnit(*arguments)
        assert str(error.value) == (f"{noun} of a matrix function unit must be a positive integer, "
                                    f"not 0")
