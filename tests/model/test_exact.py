"""Exact sums against Python integers, on the cases where a sum in floating point fails."""

from fractions import Fraction

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits32, float16_from_bits
from dfx_rtl.arith.golden import exact_to_fp32
from dfx_rtl.model import exact
from dfx_rtl.model.exact import (
    Columns,
    dot,
    exact_flags,
    exact_integers,
    scaled_integers,
    sum32,
)

UNIT = 1 << 48


def integers(x, columns):
    """The exact sums, by fractions."""
    result = []
    for column in columns:
        terms = (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, column, strict=True))
        total = sum(terms, Fraction(0))
        assert (total * UNIT).denominator == 1
        result.append(int(total * UNIT))
    return result


def finite(random, shape):
    """Random bits that are a finite number: all exponents, subnormal numbers too."""
    bits = random.integers(0, 1 << 16, shape)
    return float16_from_bits(np.where((bits & 0x7C00) == 0x7C00, bits & 0x83FF, bits))


def check(x, columns):
    expected = integers(x, columns)
    assert exact_integers(x, columns) == expected
    for wide in (False, True):
        found = dot(x, Columns(columns, wide=wide))
        assert found.dtype == np.float32
        assert np.array_equal(bits32(found), bits32(exact_to_fp32(expected)))


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 300])
def test_random_bits(rows):
    random = np.random.default_rng(rows)
    check(finite(random, rows), finite(random, (20, rows)))


def test_like_a_model():
    random = np.random.default_rng(0)
    check(random.normal(size=200).astype(np.float16),
          random.normal(size=(50, 200)).astype(np.float16))


@pytest.mark.parametrize("x, column", [
    ([65504, 65504, 2**-24], [65504, -65504, 2**-24]),     # all cancels but the smallest
    ([65504, 65504], [65504, -65504]),                     # all cancels: +0
    ([0, 0], [-1, -2]),                                    # -0 + -0 is +0
    ([4096, 1, 0], [4096, 1, 0]),                          # exact: 2^24 + 1, a tie to even
    ([4096, 3, 0], [4096, 1, 0]),                          # 2^24 + 3, a tie to even upwards
    ([4096, 1, 2**-24], [4096, 1, 2**-24]),                # just above the tie
    ([4096, 1, 2**-24], [4096, 1, -(2**-24)]),             # just below the tie
    ([2**-24] * 3, [2**-24] * 3),                          # smallest products
])
def test_hard_cases(x, column):
    x, column = np.array(x, np.float16), np.array(column, np.float16)
    check(x, np.stack([column, -column]))


def test_ties_are_summed_exactly(monkeypatch):
    """Only the sums whose two bounds differ are computed as integers."""
    calls = []

    def count(x, columns):
        calls.append(len(columns))
        return exact_integers(x, columns)

    monkeypatch.setattr(exact, "exact_integers", count)
    columns = np.ones((100, 3), np.float16)
    columns[17] = [4096, 1, 2**-24]
    found = dot(np.array([4096, 1, 2**-24], np.float16), Columns(columns, wide=True))
    assert calls == [1]
    assert found[17] == 2**24 + 2 and found[0] == 4097


def test_many_rows():
    """More terms than 64 bits hold at once, all as large as can be in their limb."""
    x = np.full(9000, 65504, np.float16)
    check(x, np.stack([np.full(9000, 65504, np.float16), np.full(9000, 32752, np.float16)]))


def test_infinities_and_nan():
    infinity, nan = np.inf, np.nan
    x = np.array([infinity, 1, 0, 2], np.float16)
    columns = np.array([[1, 1, 1, 1], [-1, 1, 1, 1], [0, 1, 1, 1], [1, 1, infinity, 1],
                        [1, 1, 1, -infinity], [-1, 1, 1, -infinity], [1, nan, 1, 1]], np.float16)
    flags = np.array(exact_flags(x, columns)).T.tolist()
    assert flags == [[True, False, False], [False, True, False], [False, False, True],
                     [True, False, True], [True, True, False], [False, True, False],
                     [True, False, True]]
    expected = [infinity, -infinity, nan, nan, nan, -infinity, nan]
    for wide in (False, True):
        found = dot(x, Columns(columns, wide=wide))
        assert np.array_equal(bits32(found), bits32(np.array(expected, np.float32)))


def test_pieces_of_large_matrices(monkeypatch):
    monkeypatch.setattr(exact, "_PIECE", 64)
    random = np.random.default_rng(1)
    check(random.normal(size=30).astype(np.float16),
          random.normal(size=(50, 30)).astype(np.float16))


def test_scaled_integers():
    values = np.array([0, -0.0, 2**-24, -(2**-24), 1, -1.5, 65504], np.float16)
    assert scaled_integers(values).tolist() == [
        0, 0, 1, -1, 1 << 24, -3 << 23, 65504 << 24]


def test_sum32():
    random = np.random.default_rng(2)
    for length in (1, 5, 1000):
        values = finite(random, length)
        expected = exact_to_fp32(int(sum(Fraction(float(value)) for value in values) * 2**24), -24)
        assert bits32(sum32(values)) == bits32(expected)
    with np.errstate(all="ignore"):
        for values, expected in (([1, np.inf], np.inf), ([-np.inf, 1], -np.inf),
                                 ([np.inf, -np.inf], np.nan), ([1, np.nan], np.nan)):
            assert bits32(sum32(values)) == bits32(np.float32(expected))
