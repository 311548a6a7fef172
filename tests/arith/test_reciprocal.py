# amaranth: UnusedElaboratable=no
"""The reciprocal and the reciprocal square root against numpy."""

import re

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits32, float32_from_bits
from dfx_rtl.arith.golden import recip32, recip_sqrt32
from dfx_rtl.arith.reciprocal import Reciprocal
from tests.arith.vectors import SPECIAL32, random32


def check(simulate, a, square_root, bits_per_cycle=2, stalls=None):
    """Ask for each in turn; without stalls the latency is exact."""
    dut = Reciprocal(bits_per_cycle)
    golden = np.where(square_root, bits32(recip_sqrt32(float32_from_bits(a))),
                      bits32(recip32(float32_from_bits(a))))

    async def ask(ctx):
        for each, root in zip(a, square_root, strict=True):
            if stalls:
                await ctx.tick().repeat(int(stalls()) + 1)
            ctx.set(dut.i.payload.as_value(), int(each) | int(root) << 32)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def take(ctx):
        for index, want in enumerate(golden):
            if stalls:
                await ctx.tick().repeat(int(stalls()) * 5 + 1)
            else:
                # The edge on which the request is taken, and those until the result is there.
                for _ in range(dut.latency):
                    assert not ctx.get(dut.o.valid)
                    await ctx.tick()
                assert ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, 1)
            bits, = await ctx.tick().sample(dut.o.payload.as_value()).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            assert bits & 0xFFFFFFFF == want, (hex(a[index]), square_root[index], hex(bits))
            assert bits >> 32 == np.isnan(float32_from_bits(want))

    simulate(dut, ask, take, deadline=200 * len(a))


def operands(generator, count):
    a = np.concatenate([
        SPECIAL32, random32(generator, count),
        # Those whose reciprocals are subnormal, and subnormal ones.
        generator.integers(0x7E000000, 0x7F800000, count // 8).astype(np.uint32),
        generator.integers(0, 0x01000000, count // 8).astype(np.uint32),
        # Powers of two.
        (np.arange(255, dtype=np.uint32) << np.uint32(23))[::7],
        np.uint32(1) << np.arange(0, 23, 3).astype(np.uint32),
        bits32(np.float32([4, 2, 0.5, 0.25, 9, 3])),
    ])
    return np.concatenate([a, a & np.uint32(0x7FFFFFFF)]), np.repeat([0, 1], len(a))


@pytest.mark.parametrize("bits_per_cycle, latency, count",
                         [(1, 28, 24), (2, 15, 300), (3, 11, 40), (26, 3, 8)])
def test_values_and_latency(simulate, bits_per_cycle, latency, count):
    assert Reciprocal(bits_per_cycle).latency == latency
    a, square_root = operands(np.random.default_rng(19), count)
    check(simulate, a, square_root, bits_per_cycle)


def test_negative_operands(simulate):
    check(simulate, np.concatenate([SPECIAL32, SPECIAL32]), np.repeat([0, 1], len(SPECIAL32)))


def test_stalls(simulate):
    generator = np.random.default_rng(20)
    a = random32(generator, 40) & np.uint32(0x7FFFFFFF)
    check(simulate, a, generator.integers(0, 2, 40), stalls=lambda: generator.integers(0, 5))


@pytest.mark.slow
def test_many(simulate):
    a, square_root = operands(np.random.default_rng(21), 10_000)
    check(simulate, a, square_root)


def test_errors():
    for value in (0, "1", 2.0):
        with pytest.raises(TypeError, match=re.escape(
                f"Bits per cycle of a reciprocal must be a positive integer, not {value!r}")):
            Reciprocal(value)
    with pytest.raises(ValueError, match=re.escape(
            "Bits per cycle of a reciprocal must be at most 26, not 27")):
        Reciprocal(27)
