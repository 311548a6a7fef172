import random

import pytest

from sim.link import LineModel, error_threshold

LINE = 66


def number(header, data):
    """The 66 bits of a block as they go out."""
    return header << 64 | data


async def carry(ctx, dut, blocks, *, lanes=1):
    """What comes out for blocks that go in, one a cycle: per lane, pairs of cycle and bits."""
    out = [[] for _ in range(lanes)]
    for cycle, block in enumerate(blocks):
        for lane in range(lanes):
            ctx.set(dut.header[lane], block >> 64 & 3)
            ctx.set(dut.data[lane], block & (1 << 64) - 1)
        await ctx.tick()
        for lane in range(lanes):
            if ctx.get(dut.valid[lane]):
                out[lane].append((cycle + 1, number(ctx.get(dut.received_header[lane]),
                                                    ctx.get(dut.received_data[lane]))))
    return out


def random_blocks(count, seed=1):
    generator = random.Random(seed)
    return [generator.getrandbits(LINE) for _ in range(count)]


@pytest.mark.parametrize("latency, skews", [(4, (0, 0)), (4, (0, 16)), (7, (3, 1)), (70, (0, 5))])
def test_latency_and_skew(simulate, latency, skews):
    dut = LineModel(2, latency=latency, skews=skews)
    blocks = random_blocks(200)

    async def testbench(ctx):
        for lane, out in enumerate(await carry(ctx, dut, blocks, lanes=2)):
            delay = latency + skews[lane]
            assert {cycle - delay: value for cycle, value in out if cycle >= delay} \
                == dict(enumerate(blocks[:200 - delay + 1]))

    simulate(dut, testbench)


@pytest.mark.parametrize("alignment", [1, 33, 65])
def test_alignment_and_slips(simulate, alignment):
    dut = LineModel(1, latency=4, alignments=(alignment,))
    blocks = random_blocks(40)
    line = "".join(f"{block:066b}" for block in blocks)

    async def testbench(ctx):
        out, = await carry(ctx, dut, blocks)
        text = "".join(f"{value:066b}" for cycle, value in out[8:])
        # It is the line, cut elsewhere.
        assert line.find(text) % LINE == LINE - alignment
        for _ in range(LINE - alignment):
            ctx.set(dut.slip, 1)
            await ctx.tick()
        ctx.set(dut.slip, 0)
        out, = await carry(ctx, dut, blocks)
        assert {cycle - 4: value for cycle, value in out if cycle >= 4} \
            == dict(enumerate(blocks[:37]))
        ctx.set(dut.realign, 1)
        await ctx.tick()
        ctx.set(dut.realign, 0)
        out, = await carry(ctx, dut, blocks)
        text = "".join(f"{value:066b}" for cycle, value in out[8:])
        assert line.find(text) % LINE == LINE - 17

    simulate(dut, testbench)


def test_pause(simulate):
    dut = LineModel(1, latency=4, pause=5)
    blocks = random_blocks(100)
    taken = []

    async def watch(ctx):
        async for _, _, ready, header, data in ctx.tick().sample(
                dut.transmit_ready, dut.header[0], dut.data[0]):
            if ready:
                taken.append(number(header, data))

    async def testbench(ctx):
        out, = await carry(ctx, dut, blocks)
        assert [value for _, value in out] == taken[:len(out)]
        assert len(out) > 75 and len(taken) == 80

    simulate(dut, testbench, background=[watch])


@pytest.mark.parametrize("burst", [1, 9, 66])
def test_errors_of_the_line(simulate, burst):
    dut = LineModel(1, latency=4)
    blocks = random_blocks(4000)
    rate = 1e-3

    async def testbench(ctx):
        ctx.set(dut.error.threshold, error_threshold(rate))
        ctx.set(dut.error.burst, burst)
        out, = await carry(ctx, dut, blocks)
        pairs = zip(blocks, [value for cycle, value in out if cycle >= 4], strict=False)
        differences = [one ^ other for one, other in pairs if one != other]
        # 264 are to be expected; 5 standard deviations are 78.
        assert abs(len(differences) - 4000 * LINE * rate) < 78
        assert abs(ctx.get(dut.error_count) - len(differences)) <= 1
        places = set()
        for difference in differences:
            place = (difference & -difference).bit_length() - 1
            places.add(place)
            length = min(burst, LINE - place)
            assert difference == ((1 << length) - 1) << place
        assert len(places) > 55

    simulate(dut, testbench)


def test_unplugged(simulate):
    dut = LineModel(1, latency=4)
    blocks = [1 << 64 | 5] * 40

    async def testbench(ctx):
        ctx.set(dut.error.unplugged, 1)
        out, = await carry(ctx, dut, blocks)
        assert {value for _, value in out[2:]} == {0}
        ctx.set(dut.error.noise, 1)
        out, = await carry(ctx, dut, blocks)
        values = [value for _, value in out[2:]]
        assert len(set(values)) == len(values)
        assert {value >> 64 for value in values} == {0, 1, 2, 3}
        ctx.set(dut.error.unplugged, 0)
        out, = await carry(ctx, dut, blocks)
        assert {value for _, value in out[2:]} == {1 << 64 | 5}

    simulate(dut, testbench)


def test_threshold():
    assert error_threshold(0) == 0
    assert error_threshold(1e-6) == round(66e-6 * 2**32)
    assert error_threshold(1) == 2**32 - 1


@pytest.mark.parametrize("parameters, error, text", [
    ({"lanes": 5}, ValueError, "Lanes must be an integer between 1 and 4, not 5"),
    ({"lanes": 1, "latency": 3}, ValueError,
     "Latency must be an integer between 4 and 1000, not 3"),
    ({"lanes": 2, "skews": (1,)}, ValueError, "Skews must be 2 numbers, not (1,)"),
    ({"lanes": 1, "skews": (17,)}, ValueError, "Skews must be an integer between 0 and 16, not 17"),
    ({"lanes": 1, "alignments": (66,)}, ValueError,
     "Alignments must be an integer between 0 and 65, not 66"),
    ({"lanes": 1, "alignments": (0, 0)}, ValueError, "Alignments must be 1 numbers, not (0, 0)"),
    ({"lanes": 1, "pause": 1}, ValueError, "Pause must be an integer between 2 and 1000, not 1"),
    ({"lanes": 1, "seed": 0}, ValueError,
     "Seed must be an integer between 1 and 4294967295, not 0"),
    ({"lanes": 1, "seed": "1"}, TypeError,
     "Seed must be an integer between 1 and 4294967295, not '1'"),
])
def test_errors(parameters, error, text):
    with pytest.raises(error) as raised:
        LineModel(**parameters)
    assert str(raised.value) == text
