# amaranth: UnusedElaboratable=no
"""binary32 in hardware against numpy."""

import itertools
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from dfx_rtl.arith.formats import bits16, bits32, float16_from_bits, float32_from_bits
from dfx_rtl.arith.fp32 import Fp16ToFp32, Fp32Adder, Fp32Multiplier, Fp32ToFp16
from dfx_rtl.arith.golden import add32, multiply32, subtract32, to_fp16, to_fp32
from tests.arith.vectors import SPECIAL32, pack, random32, run, unpack

OUTPUTS = ["result", "invalid", "overflow"]


def ties32(generator, count):
    """Pairs whose sums are ties or near to them, and pairs whose products often are."""
    sums = generator.integers(0, 2, count)
    shift = generator.integers(1, 27, count)
    # Odd numbers of 12 or 13 bits times such of 13: products of 25 bits are ties.
    a = np.where(sums, generator.integers(1 << 23, 1 << 24, count),
                 2 * generator.integers(1 << 10, 1 << 12, count) + 1)
    b = np.where(sums, (2 * generator.integers(0, 1 << 22, count) + 1) / 2.0 ** shift,
                 2 * generator.integers(1 << 11, 1 << 12, count) + 1)
    scale = 2.0 ** generator.integers(-160, 100, count)
    with np.errstate(all="ignore"):
        return (bits32((a * np.where(sums, scale, 1)).astype(np.float32)),
                bits32((b * scale * generator.choice([-1, 1], count)).astype(np.float32)))


def check(simulate, kind, lanes, a, b, skip=False, stalls=None):
    subtract = kind == "subtract"
    dut = Fp32Multiplier(lanes) if kind == "multiply" else Fp32Adder(lanes)
    golden = {"multiply": multiply32, "add": add32, "subtract": subtract32}[kind]
    missing = -len(a) % lanes
    a, b = (np.concatenate([each, each[:missing]]).reshape(-1, lanes) for each in (a, b))
    inputs = []
    for each_a, each_b in zip(a, b, strict=True):
        each = {"a": pack(each_a), "b": pack(each_b), "skip": int(skip)}
        if kind != "multiply":
            each["subtract"] = int(subtract)
        inputs.append(each)
    x, y = float32_from_bits(a), float32_from_bits(b)
    want = multiply32(x, 1) if skip else golden(x, y)
    invalid = np.isnan(want).any(axis=1)
    infinite = np.isinf(want) & np.isfinite(x) & (np.isfinite(y) | skip)
    overflow = infinite.any(axis=1)
    for index, (result, *flags) in enumerate(run(simulate, dut, inputs, OUTPUTS, stalls)):
        got = unpack(result, lanes, np.uint32)
        np.testing.assert_array_equal(
            got, bits32(want[index]),
            err_msg=f"{[hex(v) for v in a[index]]} {[hex(v) for v in b[index]]}")
        assert flags == [invalid[index], overflow[index]], (a[index], b[index])


@pytest.mark.parametrize("kind", ["multiply", "add", "subtract"])
class TestOperations:
    def test_special_values(self, simulate, kind):
        pairs = np.array(list(itertools.product(SPECIAL32, SPECIAL32)), dtype=np.uint32)
        check(simulate, kind, 4, pairs[:, 0], pairs[:, 1])

    def test_special_values_alone(self, simulate, kind):
        """One lane, so that the flags are each result's own."""
        some = SPECIAL32[::3]
        pairs = np.array(list(itertools.product(some, some)), dtype=np.uint32)
        check(simulate, kind, 1, pairs[:, 0], pairs[:, 1])

    def test_random(self, simulate, kind):
        generator = np.random.default_rng(5)
        check(simulate, kind, 4, random32(generator, 3000), random32(generator, 3000))

    def test_ties(self, simulate, kind):
        check(simulate, kind, 4, *ties32(np.random.default_rng(6), 3000))

    def test_stalls(self, simulate, kind):
        generator = np.random.default_rng(7)
        check(simulate, kind, 2, random32(generator, 400), random32(generator, 400),
              stalls=lambda: generator.integers(0, 4))

    def test_skip(self, simulate, kind):
        generator = np.random.default_rng(8)
        a = np.concatenate([SPECIAL32, random32(generator, 80)])
        check(simulate, kind, 1, a, generator.permutation(a), skip=True)

    @pytest.mark.slow
    def test_many(self, simulate, kind):
        generator = np.random.default_rng(9)
        simulate_long = lambda *arguments, **_: simulate(*arguments, deadline=10**9)  # noqa: E731
        check(simulate_long, kind, 8, random32(generator, 100_000), random32(generator, 100_000))
        check(simulate_long, kind, 8, *ties32(generator, 100_000))


def test_fp32_to_fp16(simulate):
    generator = np.random.default_rng(10)
    exponents = generator.integers(98, 146, 3000).astype(np.uint32) << np.uint32(23)
    near = float16_from_bits(generator.integers(0, 1 << 16, 1000))
    with np.errstate(all="ignore"):
        ties = bits32(np.float32(near) * (1 + np.float32(2.0 ** -11)))
    a = np.concatenate([
        SPECIAL32, random32(generator, 2000), ties, ties + np.uint32(1), ties - np.uint32(1),
        exponents | generator.integers(0, 1 << 23, 3000).astype(np.uint32),
        bits32(np.float32(2.0 ** -24) * np.float32([0.5, 0.50001, 0.49999, 1.5, 2.5, 1])),
        bits32(np.float32([65519.99, 65520])),
    ])
    lanes = 2
    a = a[:len(a) // lanes * lanes].reshape(-1, lanes)
    want = to_fp16(float32_from_bits(a))
    infinite = np.isinf(want) & np.isfinite(float32_from_bits(a))
    results = run(simulate, Fp32ToFp16(lanes), [{"a": pack(each)} for each in a], OUTPUTS)
    for index, (result, *flags) in enumerate(results):
        np.testing.assert_array_equal(unpack(result, lanes, np.uint16), bits16(want[index]),
                                      err_msg=str([hex(each) for each in a[index]]))
        assert flags == [np.isnan(want[index]).any(), infinite[index].any()]


def test_fp32_to_fp16_stalls(simulate):
    generator = np.random.default_rng(11)
    a = random32(generator, 300)
    results = run(simulate, Fp32ToFp16(1), [{"a": int(each)} for each in a], ["result"],
                  stalls=lambda: generator.integers(0, 3))
    np.testing.assert_array_equal([result for result, in results],
                                  bits16(to_fp16(float32_from_bits(a))))


def test_fp16_to_fp32(simulate):
    """All inputs."""
    lanes = 8
    dut = Fp16ToFp32(lanes)
    everything = np.arange(1 << 16, dtype=np.uint16)
    want = bits32(to_fp32(float16_from_bits(everything)))

    async def bench(ctx):
        for start in range(0, 1 << 16, lanes):
            ctx.set(dut.a.as_value(), pack(everything[start:start + lanes]))
            got = unpack(ctx.get(dut.result.as_value()), lanes, np.uint32)
            np.testing.assert_array_equal(got, want[start:start + lanes])

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("component, noun", [
    (Fp32Multiplier, "Lanes of a multiplier"),
    (Fp32Adder, "Lanes of an adder"),
    (Fp16ToFp32, "Lanes of a conversion"),
    (Fp32ToFp16, "Lanes of a conversion"),
])
@pytest.mark.parametrize("lanes", [0, -1, "2", 1.0, True])
def test_errors(component, noun, lanes):
    with pytest.raises(TypeError, match=re.escape(
            f"{noun} must be a positive integer, not {lanes!r}")):
        component(lanes)
