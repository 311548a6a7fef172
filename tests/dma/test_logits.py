"""Logits in DDR."""

import random

import pytest

from sim.memory import Timing


@pytest.mark.parametrize("name, changes, timing", [
    ("nano", {}, Timing()),
    ("small", {}, Timing.ddr(stall_threshold=80)),
    # A group is a beat, and several beats.
    ("small8", {}, Timing()),
    ("small8", {"ddr_bits": 64}, Timing.ddr(stall_threshold=50)),
])
def test_groups_land_in_their_row(make_system, run_system, put, name, changes, timing):
    system = make_system(name, ddr=timing, **changes)
    config, dma, rng = system.config, system.dma, random.Random(name)
    groups, base, size = 21, 8192, config.lanes * 4
    stride = -(-groups * size // 64) * 64
    expected = bytearray(system.ddr.array)

    async def testbench(ctx):
        ctx.set(dma.logits_base, base)
        ctx.set(dma.logits_stride, stride)
        for index in (0, 1, 3):
            ctx.set(dma.output_index, index)
            for group in range(groups):
                values = rng.getrandbits(32 * config.lanes)
                start = base + index * stride + group * size
                expected[start:start + size] = values.to_bytes(size, "little")
                ctx.set(dma.logits.payload.values.as_value(), values)
                ctx.set(dma.logits.payload.group, group)
                ctx.set(dma.logits.payload.last, group == groups - 1)
                ctx.set(dma.logits.valid, 1)
                await ctx.tick().until(dma.logits.ready)
                ctx.set(dma.logits.valid, 0)
                if rng.randrange(2):
                    await ctx.tick()
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench)
    assert bytes(system.ddr.array) == expected


def test_pace(make_system, run_system):
    system = make_system("nano")
    dma = system.dma
    taken = []

    async def testbench(ctx):
        ctx.set(dma.logits.valid, 1)
        for cycle in range(12):
            _, _, ready = await ctx.tick().sample(dma.logits.ready)
            if ready:
                taken.append(cycle)

    run_system(system, testbench)
    assert taken == [1, 4, 7, 10]
