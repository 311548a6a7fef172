import random

import pytest

from dfx_rtl.link import *
from tests.link import reference

KINDS = [
    (2, REGULAR_IDLE, WordKind.IDLE),
    (2, NOT_READY_IDLE, WordKind.NOT_READY),
    (2, NOT_READY_LOOSE_IDLE, WordKind.NOT_READY),
    (1, REGULAR_IDLE, WordKind.DATA),
    (1, 0, WordKind.DATA),
    (2, BONDING_IDLE, None),
    (2, COMPENSATION_IDLE, None),
    (2, COMPENSATION_STRICT_IDLE, None),
    (0, REGULAR_IDLE, WordKind.BAD_HEADER),
    (3, COMPENSATION_IDLE, WordKind.BAD_HEADER),
    (2, REGULAR_IDLE | 1, WordKind.BAD_BLOCK),
    (2, 0x7850 << 48, WordKind.BAD_BLOCK),
    (2, 0, WordKind.BAD_BLOCK),
    *((2, kind << 56 | 0x123456, WordKind.CONTROL) for kind in BlockType
      if kind != BlockType.IDLE),
]


@pytest.mark.parametrize("pause", [False, True])
def test_one_lane(simulate, pause):
    dut = ReceiveLanes(1, slip_cycles=1)
    generator = random.Random(1)
    blocks = [(2, REGULAR_IDLE, WordKind.IDLE)] * 70
    for _ in range(200):
        # Between bad headers there must be good ones.
        blocks += [generator.choice(KINDS), *[(1, generator.getrandbits(64), WordKind.DATA)] * 9]
    line = reference.scramble_bits([data for _, data, _ in blocks])
    words = []

    async def testbench(ctx):
        for (header, data, kind), scrambled in zip(blocks, line, strict=True):
            ctx.set(dut.header[0], header)
            ctx.set(dut.data[0], scrambled)
            ctx.set(dut.valid, 1)
            await ctx.tick()
            if ctx.get(dut.locked):
                # Latency: 1.
                assert ctx.get(dut.word_valid) == (kind is not None)
                if kind is not None:
                    assert ctx.get(dut.word.kind) == kind
                    assert ctx.get(dut.word.data) == data
                    words.append(kind)
            if pause and generator.random() < 0.1:
                ctx.set(dut.valid, 0)
                await ctx.tick()
                assert not ctx.get(dut.word_valid)

    simulate(dut, testbench)
    assert len(words) > 1800
    assert set(words) == set(WordKind)


def test_lanes_that_differ(simulate):
    dut = ReceiveLanes(2, slip_cycles=1)
    idle = (2, REGULAR_IDLE), (2, REGULAR_IDLE)
    cases = [
        (((1, 5), (1, 6)), WordKind.DATA),
        (((1, 5), (2, REGULAR_IDLE)), WordKind.BAD_BLOCK),
        (((2, REGULAR_IDLE), (1, 5)), WordKind.BAD_BLOCK),
        (((1, 5), (0, 6)), WordKind.BAD_HEADER),
        (((2, BlockType.END << 56), (2, REGULAR_IDLE)), WordKind.CONTROL),
        (((2, BlockType.END << 56), (2, 1234)), WordKind.CONTROL),
        (((2, REGULAR_IDLE), (2, BlockType.END << 56)), WordKind.IDLE),
        (((2, COMPENSATION_IDLE), (2, COMPENSATION_IDLE ^ 1)), None),
        (((3, 1), (2, COMPENSATION_IDLE)), None),
    ]
    words = [((2, BONDING_IDLE), (2, BONDING_IDLE)) if index % 16 == 15 else idle
             for index in range(240)]
    for case, _ in cases:
        words += [case, idle, idle]
    words += [idle] * 10
    lines = [reference.scramble_bits([word[lane][1] for word in words]) for lane in range(2)]
    seen = []

    async def testbench(ctx):
        for index, word in enumerate(words):
            for lane in range(2):
                ctx.set(dut.header[lane], word[lane][0])
                ctx.set(dut.data[lane], lines[lane][index])
            ctx.set(dut.valid, 3)
            await ctx.tick()
            # Latency: 3.
            if index >= 242 and (index - 242) % 3 == 0 and (index - 242) // 3 < len(cases):
                (one, other), kind = cases[(index - 242) // 3]
                assert ctx.get(dut.word_valid) == (kind is not None)
                if kind is not None:
                    assert ctx.get(dut.word.kind) == kind
                    assert ctx.get(dut.word.data) == one[1] | other[1] << 64
                seen.append(kind)

    simulate(dut, testbench)
    assert seen == [kind for _, kind in cases]


@pytest.mark.parametrize("lanes, parameters, error, text", [
    (0, {}, ValueError, "Lanes must be an integer between 1 and 4, not 0"),
    (1, {"slip_cycles": 0}, ValueError, "Slip cycles must be an integer between 1 and 64, not 0"),
    (1, {"skew": 9}, ValueError, "Skew must be an integer between 1 and 7, not 9"),
])
def test_errors(lanes, parameters, error, text):
    with pytest.raises(error) as raised:
        ReceiveLanes(lanes, **parameters)
    assert str(raised.value) == text
