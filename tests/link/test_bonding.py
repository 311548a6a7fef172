import random

import pytest
from amaranth.sim import Simulator

from dfx_rtl.link import BONDING_IDLE, NOT_READY_IDLE, Bonding


def sent(lanes, cycle):
    """The blocks that go out in a cycle: pairs of header and data."""
    if cycle % 16 == 15:
        return [(2, BONDING_IDLE)] * lanes
    if cycle % 3:
        return [(2, NOT_READY_IDLE)] * lanes
    return [(1, cycle << 8 | lane) for lane in range(lanes)]


def drive(dut, lanes, skews, cycles, *, change=None):
    """A background testbench: lane k is ``skews[k]`` blocks late."""

    async def testbench(ctx):
        positions = [-skew for skew in skews]
        for cycle in range(cycles):
            if change and cycle == change[0]:
                positions[change[1]] -= change[2]
            valid = 0
            for lane in range(lanes):
                header, data = sent(lanes, max(positions[lane], 0))[lane]
                positions[lane] += 1
                ctx.set(dut.header[lane], header)
                ctx.set(dut.data[lane], data)
                valid |= 1 << lane
            ctx.set(dut.valid, valid)
            await ctx.tick()

    return testbench


def collect(dut, lanes, words, cycles):
    async def testbench(ctx):
        for _ in range(cycles):
            await ctx.tick()
            if ctx.get(dut.word_valid):
                words.append([(ctx.get(dut.word_header[lane]), ctx.get(dut.word_data[lane]))
                              for lane in range(lanes)])

    return testbench


def number(word):
    """Which cycle a word with data was sent in."""
    return word[0][1] >> 8 if word[0][0] == 1 else None


@pytest.mark.parametrize("skews", [(0, 0, 0, 0), (0, 7, 3, 5), (7, 0), (2, 0, 1)])
def test_takes_the_skew_out(simulate, skews):
    lanes = len(skews)
    dut = Bonding(lanes)
    words = []
    simulate(dut, collect(dut, lanes, words, 400), background=[drive(dut, lanes, skews, 500)])
    assert len(words) > 200
    # Not a block is missing, and none is in the wrong place.
    first = next(index for index, word in enumerate(words) if number(word) is not None)
    start = number(words[first]) - first
    assert words == [sent(lanes, start + index) for index in range(len(words))]


def test_more_skew_than_it_can_take_does_not_bond(simulate):
    dut = Bonding(2, skew=3)
    words = []
    simulate(dut, collect(dut, 2, words, 400), background=[drive(dut, 2, (0, 4), 500)])
    assert words == []


def test_needs_seven(simulate):
    dut = Bonding(2)

    async def testbench(ctx):
        cycles = 0
        while not ctx.get(dut.bonded):
            await ctx.tick()
            cycles += 1
        # The seventh bonding block is the one of cycle 111: it is read in the next cycle.
        assert cycles == 113

    simulate(dut, testbench, background=[drive(dut, 2, (0, 0), 500)])


def test_a_lane_that_moves_is_bonded_again(simulate):
    dut = Bonding(2)
    words = []
    states = []

    async def watch(ctx):
        async for _, _, bonded in ctx.tick().sample(dut.bonded):
            states.append(bonded)

    simulate(dut, collect(dut, 2, words, 500),
             background=[drive(dut, 2, (1, 0), 600, change=(200, 1, 2)), watch])
    assert "".join(map(str, states)).strip("0").count("10") == 1
    assert words[-1] in [sent(2, cycle) for cycle in range(400, 600)]


def test_one_lane_passes_at_once():
    dut = Bonding(1)

    async def testbench(ctx):
        ctx.set(dut.valid, 1)
        ctx.set(dut.header[0], 2)
        ctx.set(dut.data[0], random.Random(1).getrandbits(64))
        await ctx.delay(1e-9)
        assert ctx.get(dut.word_valid) and ctx.get(dut.bonded)
        assert ctx.get(dut.word_header[0]) == 2
        assert ctx.get(dut.word_data[0]) == ctx.get(dut.data[0])
        ctx.set(dut.clear, 1)
        await ctx.delay(1e-9)
        assert not ctx.get(dut.word_valid) and not ctx.get(dut.bonded)

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("arguments, error, text", [
    ((5, 1), ValueError, "Lanes must be an integer between 1 and 4, not 5"),
    ((2, 0), ValueError, "Skew must be an integer between 1 and 7, not 0"),
    ((2, 8), ValueError, "Skew must be an integer between 1 and 7, not 8"),
    ((2, "1"), TypeError, "Skew must be an integer between 1 and 7, not '1'"),
])
def test_errors(arguments, error, text):
    with pytest.raises(error) as raised:
        Bonding(*arguments)
    assert str(raised.value) == text
