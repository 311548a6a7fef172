# amaranth: UnusedElaboratable=no
"""The largest value and its index, on random and on special values."""

import numpy as np
import pytest

from dfx_rtl.arith.formats import canonical16, canonical32, float16_from_bits, float32_from_bits
from dfx_rtl.mpu.reduce import ArgMax, RunningMaximum
from tests.mpu.machine import order_key

SPECIAL16 = [0x0000, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0x0001, 0x8001, 0xFBFF, 0x7BFF]
SPECIAL32 = [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001, 0x80000001,
             0xFF7FFFFF, 0x3F800000]


def groups_of(rng, lanes, width, special, count=60):
    """Runs of groups: (values, lanes_valid, first), some lanes invalid, some of one kind only."""
    groups = []
    while len(groups) < count:
        pool = special[3:5] if rng.random() < .2 else special
        for index in range(int(rng.integers(1, 6))):
            values = rng.integers(0, 1 << width, size=lanes, dtype=np.uint64)
            values = np.where(rng.random(lanes) < .7, rng.choice(pool, size=lanes), values)
            values = values.astype(np.uint16 if width == 16 else np.uint32)
            if width == 16:
                values = canonical16(float16_from_bits(values)).view(np.uint16)
            else:
                values = canonical32(float32_from_bits(values)).view(np.uint32)
            valid = rng.random(lanes) < .8
            valid[0] |= not valid.any()
            groups.append((values, valid, index == 0))
    return groups


def pack(bits):
    return sum(int(bit) << place for place, bit in enumerate(bits))


async def feed(ctx, dut, rng, groups, sample):
    """One group a cycle, with gaps; ``sample`` is called for each result."""
    index = 0
    results = []
    pending = []
    while len(results) < len(groups):
        go = index < len(groups) and rng.random() < .7
        ctx.set(dut.stb, go)
        if go:
            values, valid, first = groups[index]
            width = 8 * values.itemsize
            ctx.set(dut.values.as_value(), sum(int(v) << width * k for k, v in enumerate(values)))
            ctx.set(dut.lanes_valid, pack(valid))
            ctx.set(dut.first, first)
            if hasattr(dut, "group"):
                ctx.set(dut.group, index)
            index += 1
        pending.append(go)
        await ctx.tick()
        done = len(pending) >= dut.latency and pending[-dut.latency]
        assert ctx.get(dut.done) == done
        if done:
            results.append(sample(ctx))
    return results


@pytest.mark.parametrize("lanes, latency", [(1, 1), (2, 1), (4, 1), (8, 2), (16, 2)])
def test_running_maximum(simulate, lanes, latency):
    rng = np.random.default_rng(lanes)
    dut = RunningMaximum(lanes)
    assert dut.latency == latency
    groups = groups_of(rng, lanes, 16, SPECIAL16)
    expected, best = [], None
    for values, valid, first in groups:
        candidates = list(values[valid]) + ([] if first else [best])
        best = candidates[int(np.argmax(order_key(candidates)))]
        expected.append(int(best))

    async def testbench(ctx):
        results = await feed(ctx, dut, rng, groups, lambda ctx: ctx.get(dut.maximum).as_bits())
        assert results == expected

    simulate(dut, testbench)


@pytest.mark.parametrize("lanes, latency", [(1, 1), (2, 1), (4, 1), (8, 2), (16, 2)])
def test_arg_max(simulate, lanes, latency):
    rng = np.random.default_rng(lanes)
    dut = ArgMax(lanes)
    assert dut.latency == latency
    groups = groups_of(rng, lanes, 32, SPECIAL32)
    expected, seen = [], []
    for number, (values, valid, first) in enumerate(groups):
        seen = [] if first else seen
        numbers = float32_from_bits(values)
        seen += [(numbers[k], number * lanes + k, int(values[k])) for k in range(lanes)
                 if valid[k] and not np.isnan(numbers[k])]
        # max() keeps the first of equals, and -0 == +0.
        expected.append(max(seen, key=lambda item: item[0])[1:] if seen else None)

    def sample(ctx):
        return (ctx.get(dut.index), ctx.get(dut.value).as_bits()) if ctx.get(dut.found) else None

    async def testbench(ctx):
        assert await feed(ctx, dut, rng, groups, sample) == expected

    simulate(dut, testbench)


@pytest.mark.parametrize("lanes", [0, -1, 2.0, None])
def test_errors(lanes):
    with pytest.raises(TypeError) as error:
        RunningMaximum(lanes)
    assert str(error.value) == f"Lanes of a maximum must be a positive integer, not {lanes!r}"
    with pytest.raises(TypeError) as error:
        ArgMax(lanes)
    assert str(error.value) == f"Lanes of an arg max must be a positive integer, not {lanes!r}"
