"""CRC-32 of whole words in a cycle, as two linear maps.

The polynomial is that of IEEE 802.3, 0x04C11DB7, from all ones, the result inverted. Bits enter in
the order in which they go out: lane 0 first, and bit 63 of a lane first. (This is what catalogues
call CRC-32/BZIP2.) The part that does not depend on the state can be computed a stage ahead.
"""

from amaranth import *

from .blocks import BLOCK

__all__ = ["CRC", "CRC_START", "crc_contribution", "crc_advance"]


#: Bits of the state.
CRC = 32
#: State before the first word.
CRC_START = 0xFFFFFFFF
_POLYNOMIAL = 0x04C11DB7


def _powers(count):
    """x^(32 + t) modulo the polynomial, for t from 0 on."""
    powers, value = [], _POLYNOMIAL
    for _ in range(count):
        powers.append(value)
        value = (value << 1) ^ (_POLYNOMIAL if value >> (CRC - 1) else 0)
        value &= CRC_START
    return powers


def _map(value, columns):
    """The sum over GF(2) of the columns of those bits that are set."""
    rows = [sum((column >> row & 1) << index for index, column in enumerate(columns))
            for row in range(CRC)]
    return Cat((value & mask).xor() for mask in rows)


def crc_contribution(word):
    """What a word adds to the state after it; ``word`` is a signal of whole lanes."""
    width = len(word)
    powers = _powers(width)
    # Bit 0 of the last lane enters last.
    return _map(word, [powers[width - BLOCK - index // BLOCK * BLOCK + index % BLOCK]
                       for index in range(width)])


def crc_advance(state, width):
    """The state after a word of ``width`` zeros; ``state`` is a signal."""
    return _map(state, _powers(width)[width - CRC:])
