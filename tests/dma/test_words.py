"""Token ids: 32-bit words of DDR, read and written."""

import random

import pytest

from sim.memory import Timing


@pytest.mark.parametrize("name, timing", [
    ("nano", Timing()), ("tall", Timing.ddr(stall_threshold=80))])
def test_reads(make_system, run_system, put, get, name, timing):
    system = make_system(name, ddr=timing)
    dma, rng = system.dma, random.Random(name)

    async def testbench(ctx):
        for _ in range(12):
            address = 4 * rng.randrange(1 << 12)
            await put(ctx, dma.token_read, address)
            assert not ctx.get(dma.idle)
            word = await get(ctx, dma.token_data)
            assert word == int.from_bytes(bytes(system.ddr.array[address:address + 4]), "little")
        assert ctx.get(dma.idle)

    run_system(system, testbench)


@pytest.mark.parametrize("name, timing", [
    ("nano", Timing()), ("tall", Timing.ddr(stall_threshold=80))])
def test_writes(make_system, run_system, put, name, timing):
    system = make_system(name, ddr=timing)
    dma, rng = system.dma, random.Random(name)
    expected = bytearray(system.ddr.array)
    jobs = [(4 * rng.randrange(1 << 12), rng.getrandbits(32)) for _ in range(30)]

    async def testbench(ctx):
        for address, word in jobs:
            await put(ctx, dma.token_write, {"address": address, "data": word})
            expected[address:address + 4] = word.to_bytes(4, "little")
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench)
    assert bytes(system.ddr.array) == expected
