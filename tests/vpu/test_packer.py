# amaranth: UnusedElaboratable=no
from random import Random

import pytest

from dfx_rtl.vpu.packer import Packer
from tests.vpu.bench import pack


@pytest.mark.parametrize("tile,lanes", [(8, 2), (16, 4), (8, 8), (8, 1)])
@pytest.mark.parametrize("stall", [0, 0.3, 0.9])
def test_random(simulate, tile, lanes, stall):
    random = Random(tile + lanes)
    depth = 3
    dut = Packer(tile, lanes, depth)
    lengths = [random.randint(1, 5 * tile) for _ in range(10)]

    async def testbench(ctx):
        for number, length in enumerate(lengths):
            ctx.set(dut.job.destination, 100 + number)
            ctx.set(dut.job.tag.instruction, number)
            values = [random.randrange(1 << 16) for _ in range(length)]
            padded = values + [0] * (-length % tile)
            pending = list(range(0, length, lanes))
            written = []
            finished = False
            in_flight = 0
            while not finished:
                ctx.set(dut.stb, 0)
                ctx.set(dut.reserve, 0)
                assert ctx.get(dut.room) == (in_flight < depth)
                begins = bool(pending) and pending[0] % tile == 0
                if pending and (ctx.get(dut.room) or not begins) and random.random() >= stall / 2:
                    start = pending.pop(0)
                    ctx.set(dut.stb, 1)
                    ctx.set(dut.reserve, begins)
                    in_flight += begins
                    last = start + lanes >= length
                    ctx.set(dut.result.values.as_value(), pack(padded[start:start + lanes]))
                    ctx.set(dut.result.last, last)
                    ctx.set(dut.result.chunk_last, last or (start + lanes) % tile == 0)
                ctx.set(dut.vector_write.ready, random.random() >= stall)
                write = dut.vector_write.payload
                _, _, valid, ready, address, chunk, tag, finished = await ctx.tick().sample(
                    dut.vector_write.valid, dut.vector_write.ready, write.address,
                    write.data.as_value(), write.tag.instruction, dut.finished)
                if valid and ready:
                    in_flight -= 1
                    assert tag == number
                    assert address == 100 + number + len(written)
                    written.append(chunk)
            assert written == [pack(padded[k:k + tile]) for k in range(0, len(padded), tile)]
            assert not pending

    simulate(dut, testbench)


def test_latency_and_throughput(simulate):
    dut = Packer(8, 4, 3)
    writes = []

    async def testbench(ctx):
        ctx.set(dut.vector_write.ready, 1)
        for cycle in range(14):
            stb = cycle < 10
            ctx.set(dut.stb, stb)
            ctx.set(dut.reserve, stb and cycle % 2 == 0)
            ctx.set(dut.result.chunk_last, cycle % 2)
            _, _, valid = await ctx.tick().sample(dut.vector_write.valid)
            if valid:
                writes.append(cycle)

    simulate(dut, testbench)
    assert writes == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("depth", [0, -1, 2.0])
def test_depth_wrong(depth):
    with pytest.raises(TypeError) as error:
        Packer(8, 2, depth)
    assert str(error.value) == f"Depth of a packer must be a positive integer, not {depth!r}"
