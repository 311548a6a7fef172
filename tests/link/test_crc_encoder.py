import random

import pytest

from dfx_rtl.link import BlockType, CrcEncoder
from tests.link.reference import control


@pytest.mark.parametrize("lanes, busy", [(1, 0.0), (1, 0.4), (2, 0.2), (4, 0.0)])
def test_words(simulate, lanes, busy):
    dut = CrcEncoder(lanes)
    generator = random.Random(lanes)
    items, expected, packet = [], [], []
    for _ in range(400):
        kind = generator.choice([0, 0, 0, 0, *(kind for kind in BlockType
                                               if kind != BlockType.IDLE)])
        if kind:
            items.append((kind << 56 | 0x123456 << 32, kind))
            before = packet if kind == BlockType.END else ()
            expected.append((control(kind, 0x12, 0x34, 0x56, before=before, lanes=lanes), 1))
            if kind in (BlockType.END, BlockType.REPLAY):
                packet = []
        else:
            word = generator.getrandbits(64 * lanes)
            items.append((word, 0))
            expected.append((word, 0))
            packet = [*packet, word]
    got, cycles = [], []

    async def send(ctx):
        for word, kind in items:
            while generator.random() < busy:
                await ctx.tick()
            ctx.set(dut.items.payload, {"data": word, "type": kind})
            ctx.set(dut.items.valid, 1)
            await ctx.tick().until(dut.items.ready)
            ctx.set(dut.items.valid, 0)
        await ctx.tick().repeat(40)

    async def receive(ctx):
        cycle = 0
        ctx.set(dut.words.ready, 1)
        async for _, _, valid, ready, word, is_control in ctx.tick().sample(
                dut.words.valid, dut.words.ready, dut.words.payload.data,
                dut.words.payload.control):
            if valid and ready:
                got.append((word, is_control))
                cycles.append(cycle)
            cycle += 1
            ctx.set(dut.words.ready, generator.random() >= busy)

    simulate(dut, send, background=[receive])
    assert got == expected
    if not busy:
        # Latency 2, a word a cycle.
        assert cycles == list(range(2, 402))


def test_clear(simulate):
    dut = CrcEncoder(1)

    async def testbench(ctx):
        ctx.set(dut.words.ready, 1)
        ctx.set(dut.items.valid, 1)
        ctx.set(dut.items.payload, {"data": 5, "type": 0})
        await ctx.tick().repeat(3)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert not ctx.get(dut.words.valid)
        ctx.set(dut.clear, 0)
        end = BlockType.END
        ctx.set(dut.items.payload, {"data": end << 56, "type": end})
        await ctx.tick().repeat(2)
        assert ctx.get(dut.words.payload.data) == control(end)

    simulate(dut, testbench)


def test_errors():
    with pytest.raises(ValueError) as raised:
        CrcEncoder(0)
    assert str(raised.value) == "Lanes must be an integer between 1 and 4, not 0"
