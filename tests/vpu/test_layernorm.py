# amaranth: UnusedElaboratable=no
"""LayerNorm by itself, with a scalar unit beside it; whole vectors are in test_unit.py."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from dfx_rtl.arith.adder import Fp32Adder
from dfx_rtl.arith.multiplier import Fp32Multiplier
from dfx_rtl.arith.reciprocal import Reciprocal
from dfx_rtl.vpu.layernorm import LayerNorm
from dfx_rtl.vpu.scalar import ScalarUnit
from tests.vpu.bench import beat_payload
from tests.vpu.golden import exact_sum, integers, rounded, single_bits

# 7 for the difference, 3 to round it, 1 to note it; each request to the scalar unit takes 2 more
# cycles than its arithmetic, and 1 to note the result.
COEFFICIENTS = (7 + 3 + 1 + Fp32Multiplier.latency + 3 + Fp32Adder.latency + 3
                + Reciprocal().latency + 3)


class Bench(wiring.Component):
    def __init__(self):
        self.dut = LayerNorm(1)
        self.unit = ScalarUnit()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        m.submodules.unit = self.unit
        connect(m, self.dut.requests, self.unit.requests)
        connect(m, self.unit.results, self.dut.results)
        return m


@pytest.mark.parametrize("kind", ["usual", "constant", "infinite"])
def test_coefficients(simulate, kind):
    rng = np.random.default_rng(1)
    length = 50
    values = rng.normal(3, 10, length).astype(np.float16)
    if kind == "constant":
        values[:] = 7.5
    bench = Bench()
    dut = bench.dut
    factor, square_factor = np.float32(1 / length), np.float32(1 / length**2)
    epsilon = np.float32(1e-5)
    latency = []

    async def testbench(ctx):
        ctx.set(dut.length, length)
        ctx.set(dut.normalise, 1)
        for port, value in ((dut.mean_factor, factor), (dut.variance_factor, square_factor),
                            (dut.epsilon, epsilon)):
            ctx.set(port.as_value(), single_bits(value))
        # The second vector must not be normalised with what is left of the first one.
        for vector in (values, -values):
            terms = integers(vector)
            total, squares = sum(terms), sum(term * term for term in terms)
            ctx.set(dut.total.value, total << 24)
            ctx.set(dut.squares.value, squares)
            ctx.set(dut.squares.positive_infinity, kind == "infinite")
            ctx.set(dut.exact_done, 1)
            await ctx.tick()
            ctx.set(dut.exact_done, 0)
            await ctx.tick()
            assert not ctx.get(dut.requests.valid)
            ctx.set(dut.sum.as_value(), single_bits(exact_sum(vector)))
            ctx.set(dut.sum_done, 1)
            await ctx.tick()
            ctx.set(dut.sum_done, 0)
            latency.append(3)
            invalid = False
            while not ctx.get(dut.coefficients_ready):
                _, _, seen = await ctx.tick().sample(dut.invalid)
                invalid |= bool(seen)
                latency[-1] += 1
            assert invalid == (kind == "infinite")
            # One beat that ends the vector: gamma 1, beta 0.
            ctx.set(dut.beat, beat_payload([0x4900], [0x3C00], [0], last=1, chunk_last=1))
            ctx.set(dut.stb, 1)
            await ctx.tick()
            ctx.set(dut.stb, 0)
            assert not ctx.get(dut.coefficients_ready)
            await ctx.tick().until(dut.done)
            if kind == "infinite":
                wanted = 0x7E00
            else:
                mean = exact_sum(vector) * factor
                variance = rounded(length * squares - total**2, -48) * square_factor
                rstd = np.float32(1 / np.sqrt(np.float64(variance + epsilon)))
                wanted = int(np.float16((np.float32(10) - mean) * rstd).view(np.uint16))
            assert ctx.get(dut.result.values[0].as_value()) == wanted

    simulate(bench, testbench)
    assert latency == [COEFFICIENTS] * 2
    assert COEFFICIENTS == 42


def test_rstd_alone(simulate):
    """Without a vector to normalise; twice, and a LayerNorm behind."""
    rng = np.random.default_rng(2)
    length = 50
    bench = Bench()
    dut = bench.dut
    square_factor, epsilon = np.float32(1 / length**2), np.float32(1e-5)

    async def testbench(ctx):
        ctx.set(dut.length, length)
        ctx.set(dut.mean_factor.as_value(), 0x7FC00000)  # is not looked at
        ctx.set(dut.variance_factor.as_value(), single_bits(square_factor))
        ctx.set(dut.epsilon.as_value(), single_bits(epsilon))
        for normalise in (0, 0, 1):
            terms = integers(rng.normal(3, 10, length).astype(np.float16))
            total, squares = sum(terms), sum(term * term for term in terms)
            ctx.set(dut.normalise, normalise)
            ctx.set(dut.total.value, total << 24)
            ctx.set(dut.squares.value, squares)
            ctx.set(dut.exact_done, 1)
            await ctx.tick()
            ctx.set(dut.exact_done, 0)
            ctx.set(dut.sum_done, normalise)
            cycles = 1
            while not ctx.get(dut.rstd_next & bench.unit.results.valid):
                assert not ctx.get(dut.coefficients_ready)
                await ctx.tick()
                ctx.set(dut.sum_done, 0)
                cycles += 1
            variance = rounded(length * squares - total**2, -48) * square_factor
            rstd = np.float32(1 / np.sqrt(np.float64(variance + epsilon)))
            assert ctx.get(bench.unit.results.payload.as_value()) == single_bits(rstd)
            assert cycles == COEFFICIENTS - 1
            await ctx.tick()
            assert ctx.get(dut.coefficients_ready) == normalise
            assert not ctx.get(dut.rstd_next)

    simulate(bench, testbench)
