# amaranth: UnusedElaboratable=no
import itertools
from random import Random

import numpy as np
import pytest

from dfx_rtl.arith.adder import Fp32Adder
from dfx_rtl.arith.multiplier import Fp32Multiplier
from dfx_rtl.arith.reciprocal import Reciprocal
from dfx_rtl.vpu.jobs import ScalarOperation
from dfx_rtl.vpu.scalar import ScalarUnit
from tests.vpu.golden import Effect, Golden, single, single_bits

SPECIAL = [0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x3F800000, 0xBF800000, 0x7F7FFFFF,
           0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFF812345]


def golden(operation, a, b):
    """The bits of the result, and the flags."""
    effect = Effect()
    a, b = single(a), single(b)
    with np.errstate(all="ignore"):
        result, operands = {
            ScalarOperation.MOVE: lambda: (a, (a,)),
            ScalarOperation.ADD: lambda: (a + b, (a, b)),
            ScalarOperation.SUB: lambda: (a - b, (a, b)),
            ScalarOperation.MUL: lambda: (a * b, (a, b)),
            ScalarOperation.RECIP: lambda: (np.float32(1) / a, (a,)),
            ScalarOperation.RECIP_SQRT: lambda: (Golden._recip_sqrt(a), (a,)),
        }[operation]()
        effect.see(result, *operands)
    return single_bits(result), effect.overflow, effect.invalid


def run(simulate, cases, *, stall=0.0):
    dut = ScalarUnit()
    random = Random(1)
    latencies = []

    async def testbench(ctx):
        for operation, a, b in cases:
            request = dut.requests.payload
            ctx.set(request.operation, operation)
            ctx.set(request.a.as_value(), a)
            ctx.set(request.b.as_value(), b)
            ctx.set(dut.requests.valid, 1)
            ctx.set(dut.results.ready, 0)
            await ctx.tick().until(dut.requests.ready)
            ctx.set(dut.requests.valid, 0)
            latency = 1
            overflow = invalid = False
            while not ctx.get(dut.results.valid):
                assert not ctx.get(dut.overflow) and not ctx.get(dut.invalid)
                await ctx.tick()
                latency += 1
            latencies.append(latency)
            wait = 0
            while random.random() < stall:
                _, _, *flags = await ctx.tick().sample(dut.overflow, dut.invalid)
                overflow |= bool(flags[0])
                invalid |= bool(flags[1])
                if wait:
                    assert flags == [0, 0]
                wait += 1
                assert ctx.get(dut.results.valid)
                assert not ctx.get(dut.requests.ready)
            ctx.set(dut.results.ready, 1)
            _, _, result, *flags = await ctx.tick().sample(
                dut.results.payload.as_value(), dut.overflow, dut.invalid)
            overflow |= bool(flags[0])
            invalid |= bool(flags[1])
            assert (result, overflow, invalid) == golden(operation, a, b), (operation, a, b)

    simulate(dut, testbench, deadline=200_000)
    return latencies


@pytest.mark.parametrize("operation", ScalarOperation, ids=lambda operation: operation.name)
def test_special(simulate, operation):
    pairs = itertools.product(SPECIAL, SPECIAL)
    if operation in (ScalarOperation.MOVE, ScalarOperation.RECIP, ScalarOperation.RECIP_SQRT):
        pairs = [(a, SPECIAL[-1]) for a in SPECIAL]
    run(simulate, [(operation, a, b) for a, b in pairs])


def test_random(simulate):
    random = Random(2)
    operations = list(ScalarOperation)
    cases = [(random.choice(operations), random.getrandbits(32), random.getrandbits(32))
             for _ in range(150)]
    cases += [(random.choice(operations), 0x3F000000 + random.getrandbits(25),
               0x3F000000 + random.getrandbits(25)) for _ in range(150)]
    run(simulate, cases, stall=0.3)


def test_latency(simulate):
    one = 0x3F800000
    arithmetic = [ScalarOperation.MOVE, ScalarOperation.ADD, ScalarOperation.SUB,
                  ScalarOperation.MUL]
    latencies = run(simulate, [(operation, one, one) for operation in arithmetic])
    adder = Fp32Adder.latency + 2
    assert latencies == [adder, adder, adder, Fp32Multiplier.latency + 2]
    reciprocals = [ScalarOperation.RECIP, ScalarOperation.RECIP_SQRT]
    latencies = run(simulate, [(operation, one, one) for operation in reciprocals])
    assert latencies == [Reciprocal().latency + 2] * 2
