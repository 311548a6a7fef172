"""Expressions that several components write: functions of values, not components."""

from amaranth import *
from amaranth.utils import ceil_log2

__all__ = ["leading_zeros", "balanced_sum", "canonical_bits", "is_nan", "is_infinity"]


def leading_zeros(bits, start=0, stop=None):
    """How many zeros lead ``bits[start:stop]``; ``stop - start`` if there is no one in them.

    A tree of choices, without an addition: the upper part has as many bits as a power of two, and
    what is counted below has no more. ``bits`` should be a signal: it is named again and again.
    """
    if stop is None:
        stop = len(bits)
    if stop - start == 1:
        return ~bits[start]
    position = ceil_log2(stop - start) - 1
    middle = stop - (1 << position)
    upper = leading_zeros(bits, middle, stop)
    lower = leading_zeros(bits, start, middle)
    lower = Cat(lower, Const(0, position + 1))[:position + 1]
    # The lower count and a power of two: all zeros reach the next one.
    behind = Cat(lower[:position], ~lower[position], lower[position])
    return Mux(bits[middle:stop].any(), upper, behind)


def balanced_sum(values):
    """The sum of ``values`` as a balanced tree: no wider, and no deeper, than it must be."""
    values = list(values)
    while len(values) > 1:
        pairs = [left + right for left, right in zip(values[0::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs):]
    return values[0]


def is_nan(number):
    """Whether ``number``, a view of ``Fp16`` or ``Fp32``, is a NaN."""
    return number.exponent.all() & number.fraction.any()


def is_infinity(number):
    """Whether ``number``, a view of ``Fp16`` or ``Fp32``, is an infinity."""
    return number.exponent.all() & ~number.fraction.any()


def canonical_bits(number, nan):
    """The bits of ``number``, a view of ``Fp16`` or ``Fp32``; of a NaN, those of ``nan``."""
    return Mux(is_nan(number), nan, Value.cast(number))
