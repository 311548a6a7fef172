"""The number formats, as shapes, and the bridge from them to numpy.

Source: IEEE 754-2019, section 3.4 (binary interchange formats).
"""

import numpy as np
from amaranth import *
from amaranth.lib import data

__all__ = [
    "Fp16", "Fp32", "ExactSum", "EXACT_UNIT", "EXACT_WIDTH",
    "FP16_NAN", "FP16_INFINITY", "FP16_NEGATIVE_INFINITY", "FP16_ONE",
    "FP32_NAN", "FP32_INFINITY", "FP32_NEGATIVE_INFINITY", "FP32_ONE",
    "bits16", "float16_from_bits", "bits32", "float32_from_bits", "canonical16", "canonical32",
]

#: An exact sum counts units of two to this power: the smallest product of two binary16 numbers.
EXACT_UNIT = -48
#: Bits of an exact sum with its sign: room for 2**16 products of any two finite binary16 numbers.
EXACT_WIDTH = 98

FP16_NAN = 0x7E00
FP16_INFINITY = 0x7C00
FP16_NEGATIVE_INFINITY = 0xFC00
FP16_ONE = 0x3C00

FP32_NAN = 0x7FC00000
FP32_INFINITY = 0x7F800000
FP32_NEGATIVE_INFINITY = 0xFF800000
FP32_ONE = 0x3F800000


class Fp16(data.Struct):
    """IEEE 754 binary16.

    Members
    -------
    fraction : 10 bits
    exponent : 5 bits, biased by 15
    sign : 1 bit
    """

    fraction: 10
    exponent: 5
    sign: 1


class Fp32(data.Struct):
    """IEEE 754 binary32.

    Members
    -------
    fraction : 23 bits
    exponent : 8 bits, biased by 127
    sign : 1 bit
    """

    fraction: 23
    exponent: 8
    sign: 1


class ExactSum(data.StructLayout):
    """A sum of products in fixed point, with what fixed point cannot hold in flags beside it.

    The flags say what the terms were. The sum is NaN if ``nan`` is set or if both infinities are;
    otherwise it is the infinity whose flag is set; otherwise it is ``value``. Where a flag is set
    ``value`` means nothing. Two sums add by adding the values and joining the flags.

    Parameters
    ----------
    width : int
        Bits of ``value``, with its sign. Two at least.

    Members
    -------
    value : signed(width)
    positive_infinity, negative_infinity, nan : 1 bit each

    Raises
    ------
    TypeError
        If the width is not an integer of two or more.
    """

    def __init__(self, width=EXACT_WIDTH):
        if not isinstance(width, int) or width < 2:
            raise TypeError(f"Width of an exact sum must be an integer of 2 or more, not {width!r}")
        super().__init__({
            "value":             signed(width),
            "positive_infinity": 1,
            "negative_infinity": 1,
            "nan":               1,
        })

    @property
    def width(self):
        """Bits of ``value``."""
        return self["value"].width


def _bits(number, floating, unsigned_type):
    bits = np.asarray(number, dtype=floating).view(unsigned_type)
    return bits if bits.ndim else int(bits)


def bits16(number):
    """The bit pattern of a binary16 number (an ``int``) or of an array of them (``uint16``)."""
    return _bits(number, np.float16, np.uint16)


def bits32(number):
    """The bit pattern of a binary32 number (an ``int``) or of an array of them (``uint32``)."""
    return _bits(number, np.float32, np.uint32)


def float16_from_bits(bits):
    """The binary16 number, or the array of them, that has these bits."""
    return np.asarray(bits).astype(np.uint16).view(np.float16)[()]


def float32_from_bits(bits):
    """The binary32 number, or the array of them, that has these bits."""
    return np.asarray(bits).astype(np.uint32).view(np.float32)[()]


_NAN16 = np.array(FP16_NAN, dtype=np.uint16).view(np.float16)[()]
_NAN32 = np.array(FP32_NAN, dtype=np.uint32).view(np.float32)[()]


def canonical16(array):
    """``array`` in binary16, every NaN replaced by the canonical one."""
    array = np.asarray(array, dtype=np.float16)
    return np.where(np.isnan(array), _NAN16, array)[()]


def canonical32(array):
    """``array`` in binary32, every NaN replaced by the canonical one."""
    array = np.asarray(array, dtype=np.float32)
    return np.where(np.isnan(array), _NAN32, array)[()]
