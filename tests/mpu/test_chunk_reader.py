# amaranth: UnusedElaboratable=no
"""Vectors group by group, and the same in binary32 for the output pass."""

import numpy as np
import pytest

from dfx_rtl.mpu.chunk_reader import ChunkReader


@pytest.mark.parametrize("tile, lanes", [(8, 2), (4, 4), (4, 1)])
@pytest.mark.parametrize("late, busy", [(0, 1), (.5, .5), (0, .3), (.8, 1)])
def test_groups(simulate, tile, lanes, late, busy):
    rng = np.random.default_rng(tile)
    dut = ChunkReader(tile, lanes)
    memory = rng.integers(0, 1 << 16, size=(32, tile))

    async def testbench(ctx):
        for _ in range(6):
            base, groups = int(rng.integers(16)), int(rng.integers(1, 10))
            last_chunk = (groups - 1) // (tile // lanes)
            expected = memory[base:base + last_chunk + 1].reshape(-1, lanes)[:groups].tolist()
            reads, seen, cycles = [], [], 0
            ctx.set(dut.start, 1)
            ctx.set(dut.enable, 1)
            ctx.set(dut.address, base)
            ctx.set(dut.last_chunk, last_chunk)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while len(seen) < groups:
                ctx.set(dut.read.ready, rng.random() >= late)
                available = ctx.get(dut.available)
                take = bool(available and rng.random() < busy)
                ctx.set(dut.take, take)
                if take:
                    seen.append([value.as_bits() for value in ctx.get(dut.values)])
                read = None
                if ctx.get(dut.read.valid) and ctx.get(dut.read.ready):
                    read = ctx.get(dut.read.address)
                    reads.append(read)
                await ctx.tick()
                cycles += 1
                if read is not None:
                    for k in range(tile):
                        ctx.set(dut.read.data[k].as_value(), int(memory[read][k]))
            ctx.set(dut.take, 0)
            assert seen == expected
            assert reads == list(range(base, base + last_chunk + 1))
            if late == 0 and busy == 1:
                assert cycles == groups + 1

    simulate(dut, testbench)


def test_disabled_reads_nothing(simulate):
    dut = ChunkReader(8, 2)

    async def testbench(ctx):
        ctx.set(dut.read.ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(5):
            assert not ctx.get(dut.read.valid)
            assert not ctx.get(dut.available)
            await ctx.tick()

    simulate(dut, testbench)


def test_errors():
    for tile, lanes, kind, message in (
            (0, 1, TypeError, "Tile of a chunk reader must be a positive integer, not 0"),
            (8, 0, TypeError, "Lanes of a chunk reader must be a positive integer, not 0"),
            (8, 3, ValueError,
             "Lanes of a chunk reader must divide its tile 8, which 3 does not")):
        with pytest.raises(kind) as error:
            ChunkReader(tile, lanes)
        assert str(error.value) == message
