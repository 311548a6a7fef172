# amaranth: UnusedElaboratable=no
"""Weight fetches: data, order, pace and reach."""

import dataclasses
import random

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.dma.weights import WeightFetch
from sim.memory import Timing


async def fetch_all(ctx, put, dma, jobs, stores=0):
    for tile, tiles in jobs:
        await put(ctx, dma.fetches, {"tile": tile, "tiles": tiles, "stores": stores})


@pytest.mark.parametrize("name, timing, chance", [
    ("nano", Timing(), 1.0),
    ("nano", Timing.hbm(stall_threshold=60), 0.7),
    ("nano", Timing.hbm(stall_threshold=150, outstanding=2), 1.0),
    ("small", Timing.hbm(stall_threshold=30), 0.9),
    pytest.param("small8", Timing.hbm(stall_threshold=90), 0.4, marks=pytest.mark.slow),
])
def test_random_fetches(make_system, run_system, put, collect, name, timing, chance):
    system = make_system(name, hbm=timing, seed=3, weight_tiles=64)
    dma, rng = system.dma, random.Random(name)
    jobs = [(rng.randrange(900), rng.choice([1, 2, 3, 7, 8, 9, 16, 17, rng.randint(1, 60)]))
            for _ in range(24)]
    tiles = []

    async def testbench(ctx):
        await fetch_all(ctx, put, dma, jobs)
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect(dma.weights, dma.weights.payload.as_value(), tiles, 5, chance),))
    assert tiles == [system.tile(tile + index) for tile, count in jobs for index in range(count)]


@pytest.mark.parametrize("name", [
    "nano", pytest.param("small", marks=pytest.mark.slow)])
def test_one_tile_a_cycle_through_refreshes(make_system, run_system, put, name):
    system = make_system(name, hbm=Timing.hbm(), weight_tiles=512)
    dma = system.dma
    gaps = []

    async def feed(ctx):
        await fetch_all(ctx, put, dma, [(100, 2000)])

    async def testbench(ctx):
        await ctx.tick().repeat(700)
        ctx.set(dma.weights.ready, 1)
        for cycle in range(2000):
            _, _, valid = await ctx.tick().sample(dma.weights.valid)
            if not valid:
                gaps.append(cycle)

    run_system(system, testbench, feed)
    assert gaps == []


def test_short_fetches_keep_the_pace(make_system, run_system, put):
    system = make_system("nano", hbm=Timing(latency=48), weight_tiles=512)
    dma = system.dma

    async def feed(ctx):
        await fetch_all(ctx, put, dma, [(8 * index, 8) for index in range(100)])

    async def testbench(ctx):
        ctx.set(dma.weights.ready, 1)
        await ctx.tick().until(dma.weights.valid)
        for _ in range(799):
            _, _, valid = await ctx.tick().sample(dma.weights.valid)
            assert valid

    run_system(system, testbench, feed)


def test_reach(make_system, run_system, put):
    system = make_system("nano", weight_tiles=64)
    dma = system.dma
    beats = 0

    async def count(ctx):
        nonlocal beats
        async for _, _, valid in ctx.tick("hbm").sample(dma.hbm[1].rvalid):
            beats += valid

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 3, "tiles": 500, "stores": 0})
        await ctx.tick().repeat(400)
        # 5 tiles to the first boundary, then whole bursts: the last that fits ends at 61.
        assert beats == 2 * (5 + 7 * 8)
        ctx.set(dma.weights.ready, 1)
        await ctx.tick().repeat(5)
        ctx.set(dma.weights.ready, 0)
        await ctx.tick().repeat(100)
        assert beats == 2 * (5 + 8 * 8)
        assert not ctx.get(dma.idle)

    run_system(system, testbench, background=(count,))


def test_latency(make_system, run_system, put):
    system = make_system("nano", hbm=Timing(latency=48))
    dma = system.dma

    async def testbench(ctx):
        await ctx.tick().repeat(10)
        await put(ctx, dma.fetches, {"tile": 16, "tiles": 1, "stores": 0})
        cycles = 0
        while not ctx.get(dma.weights.valid):
            await ctx.tick()
            cycles += 1
        # 48 cycles of HBM are 21.3 of the kernel; the rest is two crossings.
        assert cycles == 25

    run_system(system, testbench)


def test_waits_for_stores(make_system, run_system, put):
    system = make_system("nano")
    dma = system.dma

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 16, "tiles": 1, "stores": 1})
        for _ in range(100):
            await ctx.tick()
            assert not ctx.get(dma.weights.valid)

    run_system(system, testbench)


def test_store_count_wraps(simulate, put):
    dut = WeightFetch(dataclasses.replace(CONFIGS["nano"], weight_tiles=8))

    async def testbench(ctx):
        for stores, wanted, issued in [(0, 0xFFFF, 1), (0, 1, 0), (0x7FFF, 0, 1), (5, 0x8006, 1),
                                       (0xFFFF, 0, 0), (0, 0, 1)]:
            await put(ctx, dut.fetches, {"tile": 0, "tiles": 1, "stores": wanted})
            ctx.set(dut.stores, stores)
            await ctx.delay(1e-9)
            assert ctx.get(dut.bursts.valid) == issued
            ctx.set(dut.stores, wanted)
            ctx.set(dut.bursts.ready, 1)
            await ctx.tick()
            ctx.set(dut.bursts.ready, 0)

    simulate(dut, testbench)


def test_buffer_shorter_than_a_burst():
    with pytest.raises(ValueError, match=r"^CoreConfig\.weight_tiles must be at least 8 for a "
                                         r"whole burst, not 4$"):
        WeightFetch(dataclasses.replace(CONFIGS["nano"], weight_tiles=4))
