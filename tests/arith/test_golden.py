"""The numpy golden against exact integers and against more precise arithmetic."""

import decimal
import math
from fractions import Fraction

import numpy as np
import pytest

from dfx_rtl.arith.formats import (
    FP16_INFINITY,
    FP16_NAN,
    FP32_INFINITY,
    FP32_NAN,
    FP32_NEGATIVE_INFINITY,
    bits16,
    bits32,
    float16_from_bits,
    float32_from_bits,
)
from dfx_rtl.arith.golden import (
    add32,
    exact_to_fp32,
    exp16,
    exp_float64,
    gelu16,
    gelu_float64,
    multiply32,
    recip32,
    recip_sqrt32,
    subtract32,
    to_fp16,
    to_fp32,
)
from tests.arith.vectors import SPECIAL32, random32


def exact(number):
    return Fraction(float(number))


def test_operations_round_once():
    """binary64 holds each exact sum and product of these, or rounds them harmlessly."""
    bits = np.concatenate([SPECIAL32, random32(np.random.default_rng(0), 100_000)])
    a = float32_from_bits(bits)
    b = float32_from_bits(np.random.default_rng(1).permutation(bits))
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64) * b, a.astype(np.float64) + b, a.astype(np.float64) - b]
        for golden, want in zip((multiply32, add32, subtract32), wide, strict=True):
            got = bits32(golden(a, b))
            want = want.astype(np.float32)
            want = np.where(np.isnan(want), np.uint32(FP32_NAN), bits32(want))
            np.testing.assert_array_equal(got, want)


def test_canonical_nan():
    assert bits32(subtract32(np.inf, np.inf)) == FP32_NAN
    assert bits32(multiply32(np.inf, 0)) == FP32_NAN
    assert bits32(add32(float32_from_bits(0xFF812345), 1)) == FP32_NAN
    assert bits16(to_fp16(float32_from_bits(0xFF812345))) == FP16_NAN
    assert bits32(to_fp32(float16_from_bits(0xFC01))) == FP32_NAN


def test_to_fp16_and_back():
    everything = float16_from_bits(np.arange(1 << 16))
    want = np.where(np.isnan(everything), np.uint16(FP16_NAN), bits16(everything))
    np.testing.assert_array_equal(bits16(to_fp16(to_fp32(everything))), want)
    assert bits16(to_fp16(65519.996)) == 0x7BFF
    assert bits16(to_fp16(65520.0)) == FP16_INFINITY


def test_exact_to_fp32():
    generator = np.random.default_rng(2)
    for unit in (-48, -24, -149, 0):
        for _ in range(300):
            value = int.from_bytes(generator.bytes(16), "little") >> int(generator.integers(0, 128))
            value *= int(generator.choice([-1, 1]))
            got = float(exact_to_fp32(value, unit))
            want = Fraction(value) * Fraction(2) ** unit
            if math.isinf(got):
                assert abs(want) >= Fraction(2) ** 128 - Fraction(2) ** 103
                continue
            below = np.nextafter(np.float32(got), np.float32(-np.inf))
            above = np.nextafter(np.float32(got), np.float32(np.inf))
            error = abs(want - exact(got))
            for other in (below, above):
                if np.isfinite(other):
                    assert error <= abs(want - exact(other))
                    if error == abs(want - exact(other)):
                        assert bits32(got) % 2 == 0
    assert bits32(exact_to_fp32(0)) == 0
    assert exact_to_fp32(1 << 48) == 1
    np.testing.assert_array_equal(exact_to_fp32([1 << 24, -3], unit=-24),
                                  np.float32([1, -3 / 2**24]))


def test_exact_to_fp32_flags():
    assert bits32(exact_to_fp32(5, positive_infinity=True)) == FP32_INFINITY
    assert bits32(exact_to_fp32(5, negative_infinity=True)) == FP32_NEGATIVE_INFINITY
    assert bits32(exact_to_fp32(5, nan=True, positive_infinity=True)) == FP32_NAN
    assert bits32(exact_to_fp32(5, positive_infinity=True, negative_infinity=True)) == FP32_NAN
    np.testing.assert_array_equal(
        bits32(exact_to_fp32([1 << 48, 1], nan=[False, True])), [0x3F800000, FP32_NAN])


def test_reciprocals_of_special_values():
    a = float32_from_bits([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F800001, 0xBF800000, 1])
    np.testing.assert_array_equal(
        bits32(recip32(a)),
        [FP32_INFINITY, FP32_NEGATIVE_INFINITY, 0, 0x80000000, FP32_NAN, 0xBF800000, FP32_INFINITY])
    np.testing.assert_array_equal(
        bits32(recip_sqrt32(a)),
        [FP32_INFINITY, FP32_NEGATIVE_INFINITY, 0, FP32_NAN, FP32_NAN, FP32_NAN, 0x64B504F3])


def root_is_nearest(x, y):
    """Whether 2y-1 and 2y+1 halves enclose 2**k / sqrt(x), in integers; x < 2**25, y < 2**25.

    1 / sqrt(x * 2**-23) lies between (2y-1) and (2y+1) times 2**-25: so x (2y-1)**2 < 2**73
    and x (2y+1)**2 > 2**73. The 75-bit products are compared in two halves.
    """
    def less(odd):
        square = odd * odd
        low = (square & np.uint64(0xFFFFFFFF)) * x
        high = (square >> np.uint64(32)) * x + (low >> np.uint64(32))
        return high < np.uint64(1 << 41)
    return less(2 * y - 1) & ~less(2 * y + 1)


def check_recip_sqrt(significands):
    """Both exponents of two: x is in [1, 4)."""
    for scale in (1, 2):
        x = significands.astype(np.uint64) * np.uint64(scale)
        root = recip_sqrt32((x * 2.0 ** -23).astype(np.float32))
        y = (root.astype(np.float64) * 2.0 ** 24).astype(np.uint64)
        assert (y.astype(np.float64) == root * 2.0 ** 24).all()
        assert root_is_nearest(x, y).all()


def check_recip(significands):
    """2**47 / x lies between 2y-1 and 2y+1 halves, in integers; a tie is impossible but at one."""
    x = significands.astype(np.uint64)
    result = recip32((x * 2.0 ** -23).astype(np.float32)).astype(np.float64)
    y = (result * 2.0 ** 24).astype(np.uint64)
    assert ((2 * y - 1) * x < np.uint64(1 << 48)).all()
    assert ((2 * y + 1) * x > np.uint64(1 << 48)).all()


def test_reciprocals_of_every_significand():
    for start in range(1 << 23, 1 << 24, 1 << 20):
        significands = np.arange(start, start + (1 << 20))
        check_recip(significands)
        check_recip_sqrt(significands)


def test_reciprocals_of_other_exponents():
    """What holds for a significand holds at each exponent: the results are scaled."""
    generator = np.random.default_rng(4)
    a = float32_from_bits(generator.integers(0x02000000, 0x7E800000, 1000))
    np.testing.assert_array_equal(recip32(a * np.float32(0.25)), recip32(a) * 4)
    np.testing.assert_array_equal(recip_sqrt32(a * np.float32(4)), recip_sqrt32(a) / 2)


def near_ties(function):
    """The finite inputs whose result is relatively nearer than 2**-38 to a tie, and all margins."""
    inputs = float16_from_bits(np.arange(1 << 16))
    inputs = inputs[np.isfinite(inputs)]
    with np.errstate(all="ignore"):
        values = np.abs(function(inputs))
        inputs = inputs[(values > 2.0 ** -26) & (values < 2.0 ** 17)]
        values = np.abs(function(inputs))
        exponents = np.maximum(np.floor(np.log2(values)), -14)
        halves = values * 2.0 ** (11 - exponents)
    distance = np.abs(halves - (2 * np.floor(halves / 2) + 1)) / halves
    return inputs, distance


@pytest.mark.parametrize("function", [exp_float64, gelu_float64])
def test_functions_are_far_from_ties(function):
    """binary64 is precise enough: no result is as near to a tie as its error.

    The relative error of ``exp`` is below 2**-51, and that of GELU, whose exponent of at most
    40 multiplies the errors of four operations, below 2**-44.
    """
    _, distance = near_ties(function)
    assert distance.min() > 2.0 ** -40


@pytest.mark.parametrize("function", ["exp", "gelu"])
def test_binary64_functions_against_decimal(function):
    """The error that the test above relies on, on some inputs and on those nearest to ties."""
    decimal.getcontext().prec = 50
    evaluate = {"exp": exp_float64, "gelu": gelu_float64}[function]
    inputs, distance = near_ties(evaluate)
    chosen = np.concatenate([np.argsort(distance)[:200], np.arange(0, len(inputs), 97)])
    pi = decimal.Decimal("3.14159265358979323846264338327950288419716939937510582")
    for a in inputs[chosen]:
        x = decimal.Decimal(float(a))
        if function == "exp":
            want = x.exp()
        else:
            inner = (8 / pi).sqrt() * (x + decimal.Decimal("0.044715") * x ** 3)
            want = x / (1 + (-inner).exp())
        got = decimal.Decimal(float(evaluate(a)))
        assert abs(got - want) <= abs(want) * decimal.Decimal(2) ** -44


def test_functions_of_special_values():
    a = float16_from_bits([0, 0x8000, 0x7C00, 0xFC00, 0xFC01, 0xC900, 0x0001, 0x8001])
    np.testing.assert_array_equal(
        bits16(exp16(a)), [0x3C00, 0x3C00, FP16_INFINITY, 0, FP16_NAN,
                           bits16(np.exp(np.float32(-10))), 0x3C00, 0x3C00])
    np.testing.assert_array_equal(
        bits16(gelu16(a)), [0, 0x8000, FP16_INFINITY, 0x8000, FP16_NAN, 0x8000, 0x0001, 0x8000])
    assert gelu16([1, 2]).dtype == np.float16
    assert gelu16(np.float16(1)).dtype == np.float16
