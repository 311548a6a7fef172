"""Exact sums of products of binary16 numbers, fast.

A product of two binary16 numbers is exact in binary64, and a sum of n of them is wrong by at most
n units of 2^-53 of the sum of their magnitudes, which is at most the product of the two vectors'
lengths (Cauchy and Schwarz). So one matrix product in binary64 gives an interval for each sum. If
both ends round to the same binary32 number, that is the result. The few others are summed as
integers.
"""

import numpy as np

from ..arith.golden import exact_to_fp32

__all__ = ["Columns", "dot", "exact_flags", "exact_integers", "scaled_integers", "sum32"]

# Terms that are added in 64 bits at once: 22 bits of product, 28 of shift, 12 of count.
_TERMS = 1 << 12
# Elements of a matrix that are widened to binary64 at a time, if they are stored in binary16: few
# enough to stay in the processor's cache.
_PIECE = 1 << 16


class Columns:
    """A matrix, stored by columns, with what :func:`dot` wants to know of it.

    Parameters
    ----------
    values : numpy array of float16, (columns, rows)
    wide : bool
        Keep it in binary64: four times the memory, and faster.
    """

    def __init__(self, values, *, wide):
        self.values = values.astype(np.float64) if wide else values
        self.narrow = values
        with np.errstate(all="ignore"):
            squares = [np.einsum("ij,ij->i", part, part) for part in self._pieces(self.values)]
        self.lengths = np.sqrt(np.concatenate(squares))
        self.finite = bool(np.isfinite(self.lengths).all())

    @staticmethod
    def _pieces(values):
        """Some columns at a time, in binary64."""
        step = max(1, _PIECE // max(1, values.shape[1]))
        for first in range(0, len(values), step):
            yield values[first:first + step].astype(np.float64, copy=False)

    def product(self, x):
        """The matrix times ``x`` in binary64."""
        if self.values.dtype == np.float64:
            return self.values @ x
        return np.concatenate([part @ x for part in self._pieces(self.values)])


def _significands(values):
    """binary16 as (signed significand, exponent): value = significand * 2^(exponent - 24)."""
    bits = values.view(np.uint16).astype(np.int64)
    exponent = (bits >> 10) & 31
    significand = (bits & 0x3FF) | np.where(exponent == 0, 0, 0x400)
    return np.where(bits >> 15, -significand, significand), np.maximum(exponent, 1) - 1


def scaled_integers(values):
    """Finite binary16 numbers as integers in units of 2^-24."""
    significand, exponent = _significands(np.asarray(values, np.float16))
    return significand << exponent


def exact_integers(x, columns):
    """The exact sums, as Python integers in units of 2^-48.

    Parameters
    ----------
    x : numpy array of float16, (rows,)
        Finite, like the columns; what is not counts as some finite number.
    columns : numpy array of float16, (columns, rows)

    Returns
    -------
    list of int
    """
    x_significand, x_exponent = _significands(x)
    totals = [0] * len(columns)
    for first in range(0, len(x), _TERMS):
        part = slice(first, first + _TERMS)
        significand, exponent = _significands(np.ascontiguousarray(columns[:, part]))
        products = significand * x_significand[part]
        shift = exponent + x_exponent[part]
        limb = shift // 29
        products <<= shift - 29 * limb
        for number in range(3):
            sums = np.where(limb == number, products, 0).sum(axis=1)
            totals = [total + (int(value) << 29 * number)
                      for total, value in zip(totals, sums, strict=True)]
    return totals


def exact_flags(x, columns):
    """What infinities and NaN make of the sums: (positive infinity, negative infinity, nan).

    Parameters and shapes are those of :func:`exact_integers`; three arrays of bool.
    """
    with np.errstate(all="ignore"):
        products = columns.astype(np.float32) * x.astype(np.float32)
    return ((products == np.inf).any(axis=1), (products == -np.inf).any(axis=1),
            np.isnan(products).any(axis=1))


def dot(x, columns):
    """The exact sums over the rows, each rounded once to binary32.

    Parameters
    ----------
    x : numpy array of float16, (rows,)
    columns : Columns

    Returns
    -------
    numpy array of float32, (columns,)
    """
    if not (columns.finite and np.isfinite(x).all()):
        positive, negative, nan = exact_flags(x, columns.narrow)
        return exact_to_fp32(exact_integers(x, columns.narrow), positive_infinity=positive,
                             negative_infinity=negative, nan=nan)
    x64 = x.astype(np.float64)
    sums = columns.product(x64)
    # 8 more than the rows: the square roots and this line's own roundings.
    bound = columns.lengths * (np.sqrt(x64 @ x64) * (len(x) + 8) * 2.0**-53)
    low = (sums - bound).astype(np.float32)
    result = (sums + bound).astype(np.float32)  # a bound is +0 at least: -0 becomes +0
    unsure, = np.nonzero(low != result)
    if len(unsure):
        result[unsure] = exact_to_fp32(exact_integers(x, columns.narrow[unsure]))
    return result


def sum32(values):
    """The exact sum of binary16 numbers, rounded once to binary32."""
    values = np.asarray(values, np.float16)
    if np.isfinite(values).all():
        return exact_to_fp32(int(scaled_integers(values).sum()), -24)
    return exact_to_fp32(0, positive_infinity=(values == np.inf).any(),
                         negative_infinity=(values == -np.inf).any(), nan=np.isnan(values).any())
