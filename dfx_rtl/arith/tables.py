"""Finds the tables of :class:`.functions.Fp16Function`: pieces that round every input right.

The inputs of a function are cut into *regions*, by sign, exponent and the highest bits of the
fraction, and a region into *pieces* of equal size, a power of two. On a piece the magnitude of
the result is a straight line in the input's lowest bits, in fixed point:

    line = constant + slope * low_bits

It counts units of the last place of the piece's smallest result, with ``GUARD`` bits below, and
a half for the rounding is in the constant. Where it reaches 2048 units, the result is in the
next binade and is rounded one place higher.

The search is exact: each result that is wanted gives the interval of integers in which the line
must be at its input. For each of some slopes near that of a least-squares fit, the constants that
meet every interval are themselves an interval; if none is left for any slope, the pieces are
halved.
A piece of a single input always has its constant.
"""

import dataclasses
import functools

import numpy as np

from .formats import FP16_INFINITY, bits16
from .golden import exp16, exp_float64, gelu16, gelu_float64

__all__ = ["FUNCTIONS", "GUARD", "REGION_BITS", "CONSTANT_WIDTH", "Piece", "Table", "table"]

#: The functions, each in binary64 and rounded to binary16.
FUNCTIONS = {
    "exp":  (exp_float64, exp16),
    "gelu": (gelu_float64, gelu16),
}

#: Bits of a line below the unit in the last place.
GUARD = 9
#: Bits of an input that choose a region: sign, exponent, and the highest of the fraction.
REGION_BITS = 9
#: Bits of a constant: a line is less than 4096 units.
CONSTANT_WIDTH = 12 + GUARD

_REGION_SIZE = 1 << (16 - REGION_BITS)
_BINADE = 1 << 10
_NEXT = (2 * _BINADE) << GUARD
_END = (1 << CONSTANT_WIDTH) - 1
# How many slopes are tried either side of the fit. They reach one unit in a piece's length.
_SLOPES = 40


@dataclasses.dataclass(frozen=True)
class Piece:
    """A straight line.

    Attributes
    ----------
    constant : int
        Its value where the low bits are zero; unsigned, ``CONSTANT_WIDTH`` bits.
    slope : int
        What one step of the input adds; signed.
    base : int
        The exponent field of the piece's smallest result, less one (zero for subnormals).
    """

    constant: int
    slope: int
    base: int


@dataclasses.dataclass(frozen=True)
class Table:
    """Everything that a function's hardware stores.

    Attributes
    ----------
    regions : tuple of (int, int)
        For each region, the index of its first piece and the number of low bits of an input.
    pieces : tuple of Piece
    slope_width : int
        Bits of the widest slope, with its sign.
    """

    regions: tuple
    pieces: tuple
    slope_width: int


def _intervals(targets, base):
    """The least and the greatest value of the line for each result that is wanted.

    ``targets`` has the results' magnitudes, a row for each piece; ``base`` a number for each.
    """
    units = targets - base * _BINADE
    above = units >= 2 * _BINADE
    upper = units - _BINADE
    half = 1 << (GUARD - 1)
    least = np.where(above, (upper << (GUARD + 1)) - half, units << GUARD)
    greatest = np.where(above, ((upper + 1) << (GUARD + 1)) - half - 1, ((units + 1) << GUARD) - 1)
    least = np.where(above, np.maximum(least, _NEXT), least)
    greatest = np.where(above & (targets == FP16_INFINITY), _END, np.minimum(greatest, _END))
    greatest = np.where(above, greatest, np.minimum(greatest, _NEXT - 1))
    return least, greatest


def _fit(values, targets):
    """Lines for pieces, a row each, or None: constants, slopes and bases."""
    size = targets.shape[1]
    infinite = targets == FP16_INFINITY
    # An infinity is written as one binade more than the largest finite results.
    lowest = np.where(infinite, FP16_INFINITY - _BINADE, targets).min(axis=1, keepdims=True)
    base = np.maximum(lowest // _BINADE, 1) - 1
    if (~infinite & (targets - base * _BINADE >= 3 * _BINADE)).any():
        return None
    least, greatest = _intervals(targets, base)
    steps = np.arange(size)
    if size == 1:
        slopes = np.zeros((len(targets), 1), dtype=np.int64)
    else:
        # Where some results are infinite the line goes on as if they were not.
        flat = infinite.all(axis=1, keepdims=True)
        units = np.where(flat, 0.0, np.minimum(np.abs(values), 2.0 ** 17))
        units = units * 2.0 ** (24 + GUARD - base)
        centred = steps - steps.mean()
        fit = (units * centred).sum(axis=1) / (centred ** 2).sum()
        step = max((1 << GUARD) // (size * _SLOPES), 1)
        slopes = np.rint(fit).astype(np.int64)[:, None] + step * np.arange(-_SLOPES, _SLOPES + 1)
    moved = slopes[:, :, None] * steps
    low = np.maximum((least[:, None, :] - moved).max(axis=2), 0)
    high = np.minimum((greatest[:, None, :] - moved).min(axis=2), _END)
    room = high - low
    best = room.argmax(axis=1)
    rows = np.arange(len(targets))
    if (room[rows, best] < 0).any():
        return None
    constants = (low[rows, best] + high[rows, best]) // 2
    return constants, slopes[rows, best], base[:, 0]


def _region(values, targets):
    """The largest pieces of a region that round right, and their number of low bits."""
    for low_bits in range((16 - REGION_BITS), -1, -1):
        shape = (-1, 1 << low_bits)
        found = _fit(values.reshape(shape), targets.reshape(shape))
        if found is not None:
            return low_bits, [Piece(int(constant), int(slope), int(base))
                              for constant, slope, base in zip(*found, strict=True)]
    raise AssertionError("a piece of one input has its constant")


@functools.cache
def table(function):
    """The :class:`Table` of a function of ``FUNCTIONS``."""
    exact, rounded = FUNCTIONS[function]
    inputs = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = exact(inputs)
    targets = (bits16(rounded(inputs)) & 0x7FFF).astype(np.int64)
    # What an infinity or a NaN gives is not looked up.
    finite = np.isfinite(inputs)
    values = np.where(finite, values, 0.0)
    targets = np.where(finite, targets, 0)

    regions = []
    pieces = []
    known = {}
    for start in range(0, 1 << 16, _REGION_SIZE):
        here = slice(start, start + _REGION_SIZE)
        low_bits, found = _region(values[here], targets[here])
        key = tuple(found)
        if key not in known:
            known[key] = len(pieces)
            pieces += found
        regions.append((known[key], low_bits))
    slope_width = max(max(piece.slope, ~piece.slope).bit_length() for piece in pieces) + 1
    return Table(tuple(regions), tuple(pieces), slope_width)
