from random import Random

import numpy as np
import pytest

from dfx_rtl.arith.dot_product import DotProduct
from dfx_rtl.vpu.reduction import Reduction
from tests.vpu.bench import pack
from tests.vpu.golden import exact_sum, half, integers, random_bits, single_bits


def kind(exact):
    """The bits of what an exact sum's flags say, 0 if it is finite."""
    if exact.nan or (exact.positive_infinity and exact.negative_infinity):
        return 0x7FC00000
    if exact.positive_infinity or exact.negative_infinity:
        return 0x7F800000 if exact.positive_infinity else 0xFF800000
    return 0


def run(simulate, lanes, vectors, *, gap=0.0):
    """Vectors of bits, whole beats each, one after another; checks all sums."""
    dut = Reduction(lanes)
    random = Random(lanes)
    beats = [(bits[k:k + lanes], k + lanes == len(bits), number)
             for number, bits in enumerate(vectors) for k in range(0, len(bits), lanes)]
    ends, exact, rounded = [], [], []

    async def testbench(ctx):
        cycle = 0
        pending = list(beats)
        while len(rounded) < len(vectors):
            stb = bool(pending) and random.random() >= gap
            ctx.set(dut.stb, stb)
            if stb:
                bits, last, _ = pending.pop(0)
                ctx.set(dut.values.as_value(), pack(bits))
                ctx.set(dut.last, last)
                if last:
                    ends.append(cycle)
            _, _, *seen = await ctx.tick().sample(
                dut.exact_done, dut.total, dut.squares, dut.done, dut.sum.as_value(), dut.invalid)
            exact_done, total, squares, done, total32, invalid = seen
            if exact_done:
                exact.append((cycle, total, squares))
            if done:
                rounded.append((cycle, total32, invalid))
            else:
                assert not invalid
            cycle += 1

    simulate(dut, testbench)
    latency = DotProduct(lanes, 2).latency + 1
    assert dut.latency == latency
    for bits, end, (exact_cycle, total, squares), (cycle, total32, invalid) in zip(
            vectors, ends, exact, rounded, strict=True):
        assert exact_cycle == end + latency
        assert cycle == end + latency + 3
        values = half(bits)
        wanted = exact_sum(values)
        assert total32 == single_bits(wanted)
        assert invalid == np.isnan(wanted)
        with np.errstate(all="ignore"):
            squared = np.square(values.astype(np.float64)).sum()
        for flags, number in ((total, wanted), (squares, squared)):
            assert kind(flags) == (0 if np.isfinite(number) else single_bits(number))
        if np.isfinite(values).all():
            numbers = integers(values)
            assert total.value == sum(numbers) << 24
            assert squares.value == sum(number * number for number in numbers)


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_random(simulate, lanes, gap):
    rng = np.random.default_rng(lanes)
    vectors = [random_bits(rng, lanes * int(rng.integers(1, 12))) for _ in range(20)]
    run(simulate, lanes, vectors, gap=gap)


def test_special(simulate):
    nan, infinity, negative, one = 0x7D01, 0x7C00, 0xFC00, 0x3C00
    vectors = [[one, infinity, one, one], [infinity, negative], [negative, one], [one, nan],
               [nan, infinity], [one, one], [0x8000, 0x8000], [0x7BFF, 0xFBFF, 0x0001, 0x8000],
               [0x7BFF] * 400]
    run(simulate, 2, [np.array(bits, dtype=np.uint16) for bits in vectors])
