"""What the hardware of this folder computes, in numpy: bit for bit, and fast on arrays.

Every function takes numbers or arrays, broadcasts them, and gives the canonical NaN wherever
the result is a NaN. An operation was *invalid* where its result is a NaN, and it *overflowed*
where its result is infinite and its operands are not.
"""

import functools
import math

import numpy as np

from .formats import EXACT_UNIT, canonical16, canonical32, float16_from_bits

__all__ = [
    "multiply32", "add32", "subtract32", "to_fp16", "to_fp32", "exact_to_fp32",
    "recip32", "recip_sqrt32", "exp16", "gelu16", "exp_float64", "gelu_float64",
]


def multiply32(a, b):
    """``a * b`` in binary32, rounded once."""
    with np.errstate(all="ignore"):
        return canonical32(np.float32(a) * np.float32(b))


def add32(a, b):
    """``a + b`` in binary32, rounded once."""
    with np.errstate(all="ignore"):
        return canonical32(np.float32(a) + np.float32(b))


def subtract32(a, b):
    """``a - b`` in binary32, rounded once."""
    with np.errstate(all="ignore"):
        return canonical32(np.float32(a) - np.float32(b))


def to_fp16(a):
    """binary32 rounded to binary16."""
    with np.errstate(all="ignore"):
        return canonical16(np.float32(a).astype(np.float16))


def to_fp32(a):
    """binary16 in binary32: exact."""
    with np.errstate(all="ignore"):
        return canonical32(np.float16(a).astype(np.float32))


def _round_to_fp32(value, unit):
    magnitude = abs(value)
    drop = max(magnitude.bit_length() - 24, -149 - unit, 0)
    kept = magnitude >> drop
    remainder = (magnitude & ((1 << drop) - 1)) << 1
    half = 1 << drop
    if drop and (remainder > half or (remainder == half and kept & 1)):
        kept += 1
    exponent = drop + unit
    if kept.bit_length() + exponent > 128:
        result = math.inf
    else:
        result = math.ldexp(kept, exponent)
    return -result if value < 0 else result


def exact_to_fp32(value, unit=EXACT_UNIT, *, positive_infinity=False, negative_infinity=False,
                  nan=False):
    """An exact sum, ``value`` times two to the ``unit``, rounded once to binary32.

    ``value`` is a Python integer of any size, or an array of them (of objects, or of a numpy
    integer type). Zero gives +0. The flags are those of :class:`.formats.ExactSum`.
    """
    values = np.asarray(value, dtype=object)
    rounded = np.array([_round_to_fp32(int(each), unit) for each in values.reshape(-1)],
                       dtype=np.float64).reshape(values.shape)
    with np.errstate(all="ignore"):
        rounded = rounded.astype(np.float32)
    rounded = np.where(positive_infinity, np.float32(np.inf), rounded)
    rounded = np.where(negative_infinity, np.float32(-np.inf), rounded)
    invalid = np.logical_or(nan, np.logical_and(positive_infinity, negative_infinity))
    return canonical32(np.where(invalid, np.float32(np.nan), rounded))


def recip32(a):
    """``1 / a`` in binary32, rounded once: IEEE division is."""
    with np.errstate(all="ignore"):
        return canonical32(np.float32(1) / np.float32(a))


def recip_sqrt32(a):
    """``1 / sqrt(a)``, rounded once to binary32; of a zero, the infinity of its sign.

    It is computed in binary64 and then rounded, which could round twice. It does not: no
    binary32 number's reciprocal square root is near enough to a tie. ``tests/arith`` compares
    every significand of two neighbouring exponents with exact integers.
    """
    a = np.float32(a)
    with np.errstate(all="ignore"):
        result = (1 / np.sqrt(np.abs(a).astype(np.float64))).astype(np.float32)
    result = np.copysign(result, a)
    return canonical32(np.where((a < 0) | np.isnan(a), np.float32(np.nan), result))


def exp_float64(a):
    """``e ** a`` in binary64."""
    with np.errstate(all="ignore"):
        return np.exp(np.asarray(a, dtype=np.float64))


def gelu_float64(a):
    """GPT-2's GELU, ``a / 2 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 a**3)))``, in binary64.

    It is written as ``a / (1 + exp(-2 u))``, which loses nothing where the hyperbolic tangent
    is near -1.
    """
    a = np.asarray(a, dtype=np.float64)
    with np.errstate(all="ignore"):
        inner = math.sqrt(8 / math.pi) * (a + 0.044715 * a * a * a)
        result = a / (1 + np.exp(-inner))
    return np.where(a == -np.inf, -0.0, result)


@functools.cache
def _table16(function):
    everything = float16_from_bits(np.arange(1 << 16))
    with np.errstate(all="ignore"):
        table = canonical16(function(everything.astype(np.float64)).astype(np.float16))
    table.flags.writeable = False
    return table


def _lookup16(function, a):
    return _table16(function)[np.asarray(a, dtype=np.float16).view(np.uint16)]


def exp16(a):
    """``e ** a`` in binary16, correctly rounded."""
    return _lookup16(exp_float64, a)


def gelu16(a):
    """GPT-2's GELU in binary16, correctly rounded; what underflows keeps its sign."""
    return _lookup16(gelu_float64, a)
