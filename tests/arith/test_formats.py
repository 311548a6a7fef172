"""The shapes of numbers, and their bridge to numpy."""

import re

import numpy as np
import pytest
from amaranth import *

from dfx_rtl.arith.formats import (
    EXACT_UNIT,
    EXACT_WIDTH,
    FP16_INFINITY,
    FP16_NAN,
    FP16_NEGATIVE_INFINITY,
    FP16_ONE,
    FP32_INFINITY,
    FP32_NAN,
    FP32_NEGATIVE_INFINITY,
    FP32_ONE,
    ExactSum,
    Fp16,
    Fp32,
    bits16,
    bits32,
    canonical16,
    canonical32,
    float16_from_bits,
    float32_from_bits,
)


def test_fields_are_where_ieee_puts_them():
    for shape, one, exponent in ((Fp16, FP16_ONE, 15), (Fp32, FP32_ONE, 127)):
        number = shape.from_bits(one | 1)
        assert (number.fraction, number.exponent, number.sign) == (1, exponent, 0)
    assert Shape.cast(Fp16).width == 16
    assert Shape.cast(Fp32).width == 32
    assert Fp16.from_bits(FP16_NEGATIVE_INFINITY).sign == 1
    assert Fp32.from_bits(FP32_NEGATIVE_INFINITY).sign == 1


def test_bits():
    assert bits16(np.float16(1)) == FP16_ONE
    assert bits32(1.0) == FP32_ONE
    assert type(bits16(1.0)) is int
    infinities = [np.inf, -np.inf]
    np.testing.assert_array_equal(bits16(infinities), [FP16_INFINITY, FP16_NEGATIVE_INFINITY])
    np.testing.assert_array_equal(bits32(infinities), [FP32_INFINITY, FP32_NEGATIVE_INFINITY])
    assert float16_from_bits(FP16_ONE) == np.float16(1)
    assert float32_from_bits(FP32_ONE) == np.float32(1)
    everything = np.arange(1 << 16)
    np.testing.assert_array_equal(bits16(float16_from_bits(everything)), everything)


def test_canonical():
    assert bits16(canonical16(float16_from_bits(0xFC01))) == FP16_NAN
    assert bits32(canonical32(float32_from_bits(0xFF800001))) == FP32_NAN
    np.testing.assert_array_equal(
        bits32(canonical32(float32_from_bits([0x80000000, 0xFFC00000, 1]))),
        [0x80000000, FP32_NAN, 1])
    assert canonical16([np.nan, 1]).dtype == np.float16
    assert canonical32([np.nan, 1]).dtype == np.float32


def test_exact_sum():
    layout = ExactSum()
    assert (EXACT_UNIT, EXACT_WIDTH) == (-48, 98)
    assert layout["value"].shape == signed(98)
    assert layout.size == 101
    assert ExactSum(40).width == 40
    # The room that is promised: 2**16 products of the largest magnitude.
    largest = int(np.finfo(np.float16).max) ** 2 << -EXACT_UNIT
    assert largest << 16 < 1 << (EXACT_WIDTH - 1)


@pytest.mark.parametrize("width", [1, "8", 2.0])
def test_exact_sum_errors(width):
    with pytest.raises(TypeError, match=re.escape(
            f"Width of an exact sum must be an integer of 2 or more, not {width!r}")):
        ExactSum(width)
