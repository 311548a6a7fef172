# amaranth: UnusedElaboratable=no
"""Groups into chunks, with fillings."""

import numpy as np
import pytest
from amaranth import ClockDomain, Module

from dfx_rtl.mpu.vectorizer import Vectorizer


@pytest.mark.parametrize("tile, lanes", [(8, 2), (4, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("mask", [0, 1])
def test_chunks(simulate, tile, lanes, mask):
    rng = np.random.default_rng(tile)
    dut = Vectorizer(tile, lanes)
    fill = 0xFC00 if mask else 0

    async def testbench(ctx):
        ctx.set(dut.mask, mask)
        for _ in range(20):
            length = int(rng.integers(1, tile + 1))
            values = rng.integers(0, 1 << 16, size=length).tolist() + [fill] * (tile - length)
            groups = -(-length // lanes)
            for part in range(groups):
                while rng.random() < .3:
                    ctx.set(dut.stb, 0)
                    assert not ctx.get(dut.done)
                    await ctx.tick()
                ctx.set(dut.stb, 1)
                ctx.set(dut.part, part)
                ctx.set(dut.chunk_end, part == groups - 1)
                valid = [part * lanes + lane < length for lane in range(lanes)]
                ctx.set(dut.lanes_valid, sum(bit << lane for lane, bit in enumerate(valid)))
                for lane in range(lanes):
                    ctx.set(dut.values[lane].as_value(),
                            values[part * lanes + lane] if valid[lane] else 0x7E00)
                assert ctx.get(dut.done) == (part == groups - 1)
                if part == groups - 1:
                    assert [value.as_bits() for value in ctx.get(dut.chunk)] == values
                await ctx.tick()

    # A chunk of one group needs no register, and so has no clock of its own.
    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulate(top, testbench)


def test_errors():
    for tile, lanes, kind, message in (
            (0, 1, TypeError, "Tile of a vectorizer must be a positive integer, not 0"),
            (8, "2", TypeError, "Lanes of a vectorizer must be a positive integer, not '2'"),
            (8, 3, ValueError, "Lanes of a vectorizer must divide its tile 8, which 3 does not")):
        with pytest.raises(kind) as error:
            Vectorizer(tile, lanes)
        assert str(error.value) == message
