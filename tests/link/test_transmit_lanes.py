import random

import pytest

from dfx_rtl.link import *
from tests.link import reference


async def blocks_of(ctx, dut, lanes, cycles, *, drive=lambda cycle: None):
    """Headers and descrambled blocks of all lanes, from the second one on."""
    headers, line = [[] for _ in range(lanes)], [[] for _ in range(lanes)]
    for cycle in range(cycles):
        drive(cycle)
        ready = ctx.get(dut.transmit_ready)
        await ctx.tick()
        if ready:
            for lane in range(lanes):
                headers[lane].append(ctx.get(dut.header[lane]))
                line[lane].append(ctx.get(dut.data[lane]))
    return [list(zip(headers[lane][1:], reference.descramble_bits(line[lane])[1:], strict=True))
            for lane in range(lanes)]


@pytest.mark.parametrize("mode, idle, bonding", [
    (ChannelMode.NOT_READY, NOT_READY_IDLE, False),
    (ChannelMode.BONDING, NOT_READY_IDLE, True),
    (ChannelMode.WAITING, REGULAR_IDLE, True),
    (ChannelMode.READY, REGULAR_IDLE, False),
])
def test_idle_blocks(simulate, mode, idle, bonding):
    dut = TransmitLanes(2)

    async def testbench(ctx):
        ctx.set(dut.mode, mode)
        ctx.set(dut.transmit_ready, 1)
        one, other = await blocks_of(ctx, dut, 2, 4900)
        assert one == other
        for index, block in enumerate(one, 1):
            count = index % COMPENSATION_PERIOD
            if count < COMPENSATION_BLOCKS:
                assert block == (2, COMPENSATION_IDLE)
            elif bonding and count % 16 == 15:
                assert block == (2, BONDING_IDLE)
            else:
                assert block == (2, idle)

    simulate(dut, testbench)


def test_words(simulate):
    lanes = 2
    dut = TransmitLanes(lanes)
    generator = random.Random(1)
    taken = []

    async def testbench(ctx):
        ctx.set(dut.mode, ChannelMode.READY)

        def drive(cycle):
            ctx.set(dut.transmit_ready, cycle % 33 != 5)
            word = {"data": generator.getrandbits(128), "control": generator.random() < 0.2}
            ctx.set(dut.words.payload, word)
            ctx.set(dut.words.valid, generator.random() < 0.8)
            if ctx.get(dut.transmit_ready):
                moves = ctx.get(dut.words.valid) and ctx.get(dut.words.ready)
                taken.append(word if moves else None)
            else:
                assert not ctx.get(dut.words.ready)

        lanes_out = await blocks_of(ctx, dut, lanes, 500, drive=drive)
        assert taken.count(None) < 130
        for word, *blocks in zip(taken[1:], *lanes_out, strict=True):
            if word is None:
                assert all(header == 2 and data in (REGULAR_IDLE, COMPENSATION_IDLE)
                           for header, data in blocks)
            elif word["control"]:
                assert blocks == [(2, word["data"] % (1 << 64)), (2, REGULAR_IDLE)]
            else:
                assert blocks == [(1, word["data"] % (1 << 64)), (1, word["data"] >> 64)]

    simulate(dut, testbench)


def test_no_words_before_the_channel_is_ready(simulate):
    dut = TransmitLanes(1)

    async def testbench(ctx):
        ctx.set(dut.transmit_ready, 1)
        ctx.set(dut.words.valid, 1)
        for mode in (ChannelMode.NOT_READY, ChannelMode.BONDING, ChannelMode.WAITING):
            ctx.set(dut.mode, mode)
            for _ in range(10):
                await ctx.tick()
                assert not ctx.get(dut.words.ready)

    simulate(dut, testbench)


def test_errors():
    with pytest.raises(ValueError) as raised:
        TransmitLanes(5)
    assert str(raised.value) == "Lanes must be an integer between 1 and 4, not 5"
