"""Expressions against Python."""

import random

import pytest
from amaranth import *

from dfx_rtl.arith.expressions import leading_zeros


@pytest.mark.parametrize("width", [*range(1, 34), 98])
def test_leading_zeros(simulate, width):
    m = Module()
    bits = Signal(width)
    count = Signal(8)
    m.d.sync += count.eq(leading_zeros(bits))

    async def testbench(ctx):
        for length in range(width + 1):
            for _ in range(4):
                value = 1 << length >> 1
                value |= random.getrandbits(width) & (value - 1 if value else 0)
                ctx.set(bits, value)
                await ctx.tick()
                assert ctx.get(count) == width - length

    simulate(m, testbench)
