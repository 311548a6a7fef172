import itertools

import numpy as np
import pytest

from dfx_rtl.vpu.jobs import VectorOperation
from dfx_rtl.vpu.vfu import VectorFunctionUnit
from tests.vpu.bench import beat_payload, pack
from tests.vpu.golden import Effect, half, half_bits, random_bits, single

SPECIAL = [0x0000, 0x8000, 0x0001, 0x83FF, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00,
           0xFD01]
OPERATIONS = pytest.mark.parametrize("operation", VectorOperation, ids=lambda op: op.name)


def golden(operation, exponential, a, b):
    """Bits of the results, and the flags."""
    effect = Effect()
    with np.errstate(all="ignore"):
        a, b = half(a).astype(np.float32), np.asarray(b, dtype=np.float32)
        if operation == VectorOperation.MOVE:
            result = a
        else:
            result = {VectorOperation.ADD: np.add, VectorOperation.SUB: np.subtract,
                      VectorOperation.MUL: np.multiply}[operation](a, b)
            effect.see(result, a, b)
        narrow = effect.see(result.astype(np.float16), result)
        if exponential:
            narrow = effect.see(np.exp(narrow.astype(np.float64)).astype(np.float16), narrow)
    return half_bits(narrow), effect


def run(simulate, lanes, operation, exponential, beats, scalar=None):
    """Beats of (a, b, enabled lanes), one a cycle; None is a gap."""
    dut = VectorFunctionUnit(lanes)
    latency = dut.latency(operation, exponential)

    async def testbench(ctx):
        ctx.set(dut.operation, operation)
        ctx.set(dut.exponential, exponential)
        if scalar is not None:
            ctx.set(dut.scalar_operand, 1)
            ctx.set(dut.scalar.as_value(), scalar)
        overflow = invalid = False
        for cycle in range(len(beats) + latency):
            beat = beats[cycle] if cycle < len(beats) else None
            ctx.set(dut.stb, beat is not None)
            if beat is not None:
                a, b, count = beat
                # What the operand collector gates is +0.
                a = [x if k < count else 0 for k, x in enumerate(a)]
                b = [x if k < count else 0 for k, x in enumerate(b)]
                ctx.set(dut.beat, beat_payload(a, b, enable=(1 << count) - 1,
                                               chunk_last=cycle % 2, last=cycle % 3 == 0))
            done = ctx.get(dut.done)
            before = cycle - latency
            assert done == (before >= 0 and beats[before] is not None)
            if done:
                a, b, count = beats[before]
                b = half(b[:count]).astype(np.float32) if scalar is None else single(scalar)
                wanted, _ = golden(operation, exponential, np.array(a[:count]), b)
                wanted = [*wanted, *[0] * (lanes - count)]
                got = ctx.get(dut.result.values.as_value())
                assert f"{got:x}" == f"{pack(wanted):x}"
                assert ctx.get(dut.result.chunk_last) == before % 2
                assert ctx.get(dut.result.last) == (before % 3 == 0)
            _, _, *flags = await ctx.tick().sample(dut.overflow, dut.invalid)
            overflow |= bool(flags[0])
            invalid |= bool(flags[1])
        wanted_overflow = wanted_invalid = False
        for a, b, count in filter(None, beats):
            b = half(b[:count]).astype(np.float32) if scalar is None else single(scalar)
            _, effect = golden(operation, exponential, np.array(a[:count]), b)
            wanted_overflow |= effect.overflow
            wanted_invalid |= effect.invalid
        assert (overflow, invalid) == (wanted_overflow, wanted_invalid)

    simulate(dut, testbench)


@OPERATIONS
@pytest.mark.parametrize("exponential", [0, 1])
def test_special(simulate, operation, exponential):
    pairs = list(itertools.product(SPECIAL, SPECIAL))
    beats = [([a for a, _ in pairs[k:k + 2]], [b for _, b in pairs[k:k + 2]], 2)
             for k in range(0, len(pairs), 2)]
    run(simulate, 2, operation, exponential, beats)


@OPERATIONS
@pytest.mark.parametrize("exponential,lanes", [(0, 1), (1, 2), (0, 3)])
def test_random_with_gaps(simulate, operation, exponential, lanes):
    rng = np.random.default_rng(lanes)
    beats = [None if rng.random() < 0.3 else
             (list(random_bits(rng, lanes)), list(random_bits(rng, lanes)),
              int(rng.integers(1, lanes + 1))) for _ in range(60)]
    run(simulate, lanes, operation, exponential, beats)


@OPERATIONS
@pytest.mark.parametrize("scalar", [0x7F800000, 0xFFC00001, 0xC1200000])
def test_scalar(simulate, operation, scalar):
    rng = np.random.default_rng(1)
    beats = [(list(random_bits(rng, 2)), [0x7E00] * 2, int(rng.integers(1, 3)))
             for _ in range(20)]
    run(simulate, 2, operation, 0, beats, scalar=scalar)


@pytest.mark.parametrize("operation,exponential,a,b", [
    (VectorOperation.ADD, 0, 0x7BFF, 0x7BFF),
    (VectorOperation.SUB, 0, 0x7C00, 0x7C00),
    (VectorOperation.MUL, 0, 0x7C00, 0x0000),
    (VectorOperation.MOVE, 1, 0x4A00, 0x3C00)])
def test_one_flag(simulate, operation, exponential, a, b):
    run(simulate, 1, operation, exponential, [([a], [b], 1)])


def test_gated_lane_sees_no_scalar(simulate):
    """+0 times an infinite scalar would be invalid; the enabled lane's product is not."""
    run(simulate, 2, VectorOperation.MUL, 0, [([0x4000, 0x4000], [0, 0], 1)], scalar=0x7F800000)


def test_latencies():
    latencies = {(operation.name, exponential): VectorFunctionUnit.latency(operation, exponential)
                 for operation in VectorOperation for exponential in (0, 1)}
    assert latencies == {("MOVE", 0): 6, ("ADD", 0): 6, ("SUB", 0): 6, ("MUL", 0): 5,
                         ("MOVE", 1): 8, ("ADD", 1): 8, ("SUB", 1): 8, ("MUL", 1): 7}
