"""Expressions that several components write: functions of values, not components."""

from amaranth import *

__all__ = ["leading_zeros", "balanced_sum", "canonical_bits", "is_nan", "is_infinity"]


def leading_zeros(bits, start=0, stop=None):
    """How many zeros lead ``bits[start:stop]``; ``stop - start`` if there is no one in them.

    A tree of choices between halves. ``bits`` should be a signal: it is named again and again.
    """
    if stop is None:
        stop = len(bits)
    if stop - start == 1:
        return ~bits[start]
    middle = (start + stop) // 2
    upper = leading_zeros(bits, middle, stop)
    lower = leading_zeros(bits, start, middle)
    return Mux(bits[middle:stop].any(), upper, lower + (stop - middle))


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
