"""The fetch issuer: which tiles it asks for, and behind which stores."""

import random

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.fetch import FetchIssuer
from dfx_rtl.isa import Instruction, Opcode

CONFIG = CONFIGS["nano"]


def program(rng, count):
    """Random instructions at random places, with the fetch that each must make."""
    stores = keys = values = 0
    for _ in range(count):
        position, base = rng.randrange(40), rng.randrange(1000)
        kind = rng.choice(("weights", "key", "value", "store", "other"))
        relative = rng.randrange(2)
        tile, tiles = rng.randrange(5000), rng.randrange(1, 60)
        fields = {"tile": tile, "tiles": tiles, "layer_relative": relative}
        first = tile + relative * base
        if kind == "weights":
            yield Instruction(Opcode.CONV1D, **fields), position, base, (first, tiles, 0)
        elif kind == "key":
            steps = position // CONFIG.lanes + 1
            yield (Instruction(Opcode.MASKED_MM, columns_from_position=1, key_value=1, **fields),
                   position, base, (first, tiles * steps, keys))
        elif kind == "value":
            steps = position // CONFIG.tile + 1
            yield (Instruction(Opcode.MM, rows_from_position=1, key_value=1, transposed=1,
                               **fields), position, base, (first, tiles * steps, values))
        elif kind == "store":
            stores += 1
            opcode = rng.choice((Opcode.STORE_KEY, Opcode.STORE_VALUE))
            if opcode == Opcode.STORE_KEY:
                keys = stores
            else:
                values = stores
            yield Instruction(opcode), 0, 0, None
        else:
            yield Instruction(Opcode.SOFTMAX), 0, 0, None


def payload(instruction, position, base, place=0):
    return {"instruction": instruction.encode(), "layer_base": base,
            "tag": {"instruction": place, "layer": 0, "position": position}}


@pytest.mark.parametrize("stall", [0, 60])
def test_fetches(simulate, put, stall):
    dut = FetchIssuer(CONFIG)
    rng = random.Random(7)
    entries = list(program(rng, 150))
    expected = [fetch for *_, fetch in entries if fetch]
    found = []

    async def front(ctx):
        for instruction, position, base, _ in entries:
            await put(ctx, dut.issues, payload(instruction, position, base))

    async def back(ctx):
        while len(found) < len(expected):
            ready = rng.random() * 100 >= stall
            ctx.set(dut.fetches.ready, ready)
            if ready and ctx.get(dut.fetches.valid):
                found.append(tuple(ctx.get(getattr(dut.fetches.p, name))
                                   for name in ("tile", "tiles", "stores")))
            await ctx.tick()
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.busy)

    simulate(dut, front, back)
    assert found == expected


@pytest.mark.parametrize("instruction", [
    Instruction(Opcode.CONV1D, tile=CONFIG.hbm_tiles - 3, tiles=4),
    Instruction(Opcode.CONV1D, tile=5, tiles=0),
])
def test_a_fetch_that_leaves_the_memory(simulate, put, instruction):
    dut = FetchIssuer(CONFIG)

    async def bench(ctx):
        await put(ctx, dut.issues, payload(instruction, 0, 0, place=9))
        for _ in range(6):
            assert not ctx.get(dut.fetches.valid)
            await ctx.tick()
        assert Cause(ctx.get(dut.cause)) is Cause.HBM_RANGE
        assert ctx.get(dut.place) == 9

    simulate(dut, bench)
