"""Vector and scalar instructions, one by one."""

from fractions import Fraction

import numpy as np
import pytest

from dfx_rtl.arith import golden
from dfx_rtl.arith.formats import bits16, bits32, float16_from_bits, float32_from_bits
from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.model.state import State
from dfx_rtl.model.trace import ScalarWrite, Tag, VectorWrite
from dfx_rtl.model.vector import VectorUnit

TAG = Tag(12, 0, 0)
RANDOM_BITS = float16_from_bits(np.random.default_rng(0).integers(0, 1 << 16, 13))


@pytest.fixture
def bench():
    """A unit; operands at chunks 0, 10 and 20, scalars 0 to 7."""
    state = State(CONFIGS["nano"], None)
    unit = VectorUnit(state)

    def execute(opcode, *vectors, scalars=(), **fields):
        for chunk, values in zip((0, 10, 20), vectors, strict=False):
            state.write(TAG, chunk, np.asarray(values, np.float16), fill=0x7E00)
        for number, value in enumerate(scalars):
            state.write_scalar(TAG, number, np.float32(value))
        state.flags.overflow = state.flags.invalid = False
        length = len(vectors[0]) if vectors else 0
        unit.execute(Instruction(opcode, **{
            "destination": 40, "source1": 0, "source2": 10, "source3": 20, "length": length,
            "scalar_destination": 7, "scalar_source1": 0, "scalar_source2": 1} | fields), TAG)
        return state.read(40, length), state.read_scalar(7)

    execute.state = state
    return execute


@pytest.mark.parametrize("opcode, function", [
    (Opcode.ADD, np.add), (Opcode.SUB, np.subtract), (Opcode.MUL, np.multiply)])
def test_elementwise(bench, opcode, function):
    a, b = RANDOM_BITS, RANDOM_BITS[::-1]
    with np.errstate(all="ignore"):
        wide = a.astype(np.float32)
        for second, extra in ((b.astype(np.float32), {}),
                              (np.float32(1e5), {"scalar_enable": 1}),
                              (np.float32(0.3), {"immediate_enable": 1,
                                                 "immediate0": bits32(np.float32(0.3))})):
            expected = function(wide, second).astype(np.float16)
            found, _ = bench(opcode, a, b, scalars=(0, 1e5), **extra)
            nan = np.isnan(expected)
            assert np.array_equal(bits16(found)[~nan], bits16(expected)[~nan])
            assert (bits16(found)[nan] == 0x7E00).all()
    rest = bits16(bench.state.read(40, 16))[13:]
    assert not rest.any()


def test_exp_and_move(bench):
    found, _ = bench(Opcode.EXP, [0, -1, -100, -np.inf])
    assert np.array_equal(found, np.exp([0, -1, -100, -np.inf]).astype(np.float16))
    found, _ = bench(Opcode.MOVE, RANDOM_BITS)
    nan = np.isnan(RANDOM_BITS)
    assert np.array_equal(bits16(found), np.where(nan, 0x7E00, bits16(RANDOM_BITS)))


def test_length_follows_the_position(bench):
    found, total = bench(Opcode.ACCUM, np.ones(16), length=3, length_from_position=1)
    assert total == 13


@pytest.mark.parametrize("opcode, extra, expected", [
    (Opcode.SCALAR_MOVE, {}, 3),
    (Opcode.SCALAR_MOVE, {"immediate_enable": 1, "immediate0": 0x40000000}, 2),
    (Opcode.SCALAR_ADD, {}, 3.1), (Opcode.SCALAR_SUB, {}, 2.9), (Opcode.SCALAR_MUL, {}, 0.3),
    (Opcode.SCALAR_MUL, {"immediate_enable": 1, "immediate0": 0x40000000}, 6),
    (Opcode.RECIP, {}, 1 / 3), (Opcode.RECIP_SQRT, {}, 3**-0.5)])
def test_scalars(bench, opcode, extra, expected):
    _, found = bench(opcode, scalars=(3, 0.1), **extra)
    assert found == pytest.approx(expected, rel=1e-6) and found.dtype == np.float32


def test_flags(bench):
    flags = bench.state.flags
    bench(Opcode.ADD, [65504], [65504])
    assert (flags.overflow, flags.invalid) == (True, False)
    bench(Opcode.SUB, [np.inf], [np.inf])
    assert (flags.overflow, flags.invalid) == (False, True)
    bench(Opcode.ADD, [np.inf], [1])
    assert (flags.overflow, flags.invalid) == (False, False)
    for opcode, operand in ((Opcode.RECIP, 0), (Opcode.RECIP, 1e-40), (Opcode.RECIP_SQRT, 0)):
        bench(opcode, scalars=(operand,))
        assert (flags.overflow, flags.invalid) == (True, False)
    bench(Opcode.RECIP, scalars=(np.inf,))
    assert (flags.overflow, flags.invalid) == (False, False)
    bench(Opcode.RECIP_SQRT, scalars=(-1,))
    assert (flags.overflow, flags.invalid) == (False, True)
    bench(Opcode.EXP, [12])
    assert (flags.overflow, flags.invalid) == (True, False)


def layer_norm(x, gamma, beta, epsilon):
    """design: exact statistics, every other step rounded to binary32."""
    n = len(x)
    exact = [Fraction(float(value)) for value in x]
    s1, s2 = sum(exact), sum(value * value for value in exact)
    r, q = np.float32(1 / n), np.float32(1 / n**2)
    mean = golden.exact_to_fp32(int(s1 * 2**24), -24) * r
    variance = golden.exact_to_fp32(int((n * s2 - s1 * s1) * 2**48), -48) * q
    deviation = golden.recip_sqrt32(variance + np.float32(epsilon))
    y = (x.astype(np.float32) - mean) * deviation * gamma.astype(np.float32)
    return (y + beta.astype(np.float32)).astype(np.float16)


def run_layer_norm(bench, x, gamma, beta, epsilon=1e-5):
    n = len(x)
    immediates = {f"immediate{k}": bits32(np.float32(value))
                  for k, value in enumerate((1 / n, 1 / n**2, epsilon))}
    return bench(Opcode.LAYERNORM, x, gamma, beta, **immediates)[0]


@pytest.mark.parametrize("scale, offset", [(1, 0), (10, 3000), (1e-6, 0), (0, 5), (15000, -9)])
def test_layer_norm(bench, scale, offset):
    random = np.random.default_rng(3)
    x = (scale * random.normal(size=60) + offset).astype(np.float16)
    gamma, beta = (random.normal(size=60).astype(np.float16) for _ in range(2))
    expected = layer_norm(x, gamma, beta, 1e-5)
    assert np.array_equal(bits16(run_layer_norm(bench, x, gamma, beta)), bits16(expected))


def test_layer_norm_with_outliers():
    """1,600 values with outliers, as trained models have: near to float64."""
    random, state = np.random.default_rng(4), State(CONFIGS["u280"], None)
    unit = VectorUnit(state)
    x = (10 * random.normal(size=1600)).astype(np.float16)
    x[7], x[900] = 3000, -800
    for chunk, values in ((0, x), (30, np.ones(1600)), (60, np.zeros(1600))):
        state.write(TAG, chunk, values.astype(np.float16))
    unit.execute(Instruction(
        Opcode.LAYERNORM, destination=90, source2=30, source3=60, length=1600,
        immediate0=bits32(np.float32(1 / 1600)), immediate1=bits32(np.float32(1 / 1600**2)),
        immediate2=bits32(np.float32(1e-5))), TAG)
    truth = x.astype(np.float64) - x.astype(np.float64).mean()
    truth /= np.sqrt((truth**2).mean() + 1e-5)
    error = state.read(90, 1600) - truth
    assert np.sqrt((error**2).mean()) < 5e-4 * np.sqrt((truth**2).mean())
    assert not state.flags.overflow and not state.flags.invalid


def run_rstd(bench, x, epsilon=1e-5):
    immediates = {f"immediate{k}": bits32(np.float32(value))
                  for k, value in enumerate((np.nan, 1 / len(x)**2, epsilon))}
    return bench(Opcode.RSTD, x, **immediates)[1]


@pytest.mark.parametrize("scale, offset", [(1, 0), (10, 3000), (1e-6, 0), (0, 5), (15000, -9)])
def test_rstd(bench, scale, offset):
    """The factor of LAYERNORM: with it in the place of its own, the same y."""
    random = np.random.default_rng(3)
    x = (scale * random.normal(size=60) + offset).astype(np.float16)
    rstd = run_rstd(bench, x)
    mean = golden.exact_to_fp32(sum(int(Fraction(float(value)) * 2**24) for value in x),
                                -24) * np.float32(1 / 60)
    y = ((x.astype(np.float32) - mean) * rstd).astype(np.float16)
    assert np.array_equal(bits16(run_layer_norm(bench, x, np.ones(60), np.zeros(60))),
                          bits16(y + np.float16(0)))
    truth = 1 / np.sqrt(x.astype(np.float64).var() + 1e-5)
    assert rstd == pytest.approx(truth, rel=3e-7) and rstd.dtype == np.float32


def test_rstd_without_a_deviation(bench):
    assert run_rstd(bench, np.full(9, 7.5), epsilon=0) == np.inf
    assert (bench.state.flags.overflow, bench.state.flags.invalid) == (True, False)
    for special in (np.inf, -np.inf, np.nan):
        assert np.isnan(run_rstd(bench, np.array([1, special, 2])))
        assert bench.state.flags.invalid


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_layer_norm_of_what_is_not_finite(bench, special):
    found = run_layer_norm(bench, np.array([1, special, 2]), np.ones(3), np.ones(3))
    assert (bits16(found) == 0x7E00).all()
    assert bench.state.flags.invalid


def test_softmax(bench):
    s = (5 * np.random.default_rng(5).normal(size=13)).astype(np.float16)
    found, inverse = bench(Opcode.SOFTMAX, s, scalars=(s.max(),), length=0,
                           length_from_position=1)
    found = bench.state.read(40, 13)
    d = (s.astype(np.float32) - np.float32(s.max())).astype(np.float16)
    e = golden.exp16(d)
    assert np.array_equal(bits16(found), bits16(e))
    total = sum(Fraction(float(value)) for value in e)
    assert inverse == np.float32(1) / golden.exact_to_fp32(int(total * 2**24), -24)


def test_writes_are_reported():
    records = []
    state = State(CONFIGS["nano"], records.append)
    state.write(TAG, 3, np.ones(9, np.float16), fill=0xFC00)
    state.write_scalar(TAG, 2, np.float32(1))
    first, second, scalar = records
    assert isinstance(first, VectorWrite) and first.key == (12, 0, 0, "chunk", 3)
    assert second.values.tolist() == [0x3C00] + [0xFC00] * 7 and second.chunk == 4
    assert scalar == ScalarWrite(TAG, 2, 0x3F800000) and scalar.key == (12, 0, 0, "scalar", 2)
    assert float32_from_bits(scalar.bits) == 1


def test_registers_are_nan_until_written():
    state = State(CONFIGS["nano"], None)
    assert np.isnan(state.read(5, 8)).all() and np.isnan(state.read_scalar(3))
