import random

import pytest

from dfx_rtl.link import BlockLock


async def give(ctx, dut, header):
    """One header; whether the lock slips."""
    ctx.set(dut.header, header)
    ctx.set(dut.valid, 1)
    await ctx.tick()
    ctx.set(dut.valid, 0)
    return ctx.get(dut.slip)


@pytest.mark.parametrize("slip_cycles", [1, 5, 64])
def test_slips_until_headers_are_good(simulate, slip_cycles):
    dut = BlockLock(slip_cycles)

    async def testbench(ctx):
        for _ in range(5):
            assert await give(ctx, dut, 0b00)
            for _ in range(slip_cycles):
                assert not await give(ctx, dut, 0b11)
        for count in range(64):
            assert not ctx.get(dut.locked)
            await give(ctx, dut, 1 + count % 2)
            await ctx.tick()
        assert ctx.get(dut.locked)

    simulate(dut, testbench)


def test_one_bad_header_starts_over(simulate):
    dut = BlockLock(1)

    async def testbench(ctx):
        for _ in range(63):
            await give(ctx, dut, 1)
        assert await give(ctx, dut, 3)
        for _ in range(64):
            await give(ctx, dut, 1)
        assert not ctx.get(dut.locked)
        await give(ctx, dut, 1)
        assert ctx.get(dut.locked)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert not ctx.get(dut.locked)

    simulate(dut, testbench)


def test_leaky_bucket(simulate):
    dut = BlockLock(1)

    async def lock(ctx):
        while not ctx.get(dut.locked):
            await give(ctx, dut, 1)

    async def testbench(ctx):
        await lock(ctx)
        for _ in range(7):
            await give(ctx, dut, 0)
        assert ctx.get(dut.locked)
        await give(ctx, dut, 0)
        assert not ctx.get(dut.locked)
        # One in ten is lived with.
        await lock(ctx)
        for count in range(2000):
            await give(ctx, dut, 3 if count % 10 == 0 else 2)
            assert ctx.get(dut.locked)
        # Noise is not.
        generator = random.Random(1)
        for _ in range(60):
            await give(ctx, dut, generator.randrange(4))
        assert not ctx.get(dut.locked)

    simulate(dut, testbench)


@pytest.mark.parametrize("value, error", [(0, ValueError), (65, ValueError), (None, TypeError)])
def test_errors(value, error):
    with pytest.raises(error) as raised:
        BlockLock(value)
    assert str(raised.value) == f"Slip cycles must be an integer between 1 and 64, not {value!r}"
