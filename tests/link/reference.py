"""The codes of the link, bit by bit, from their definitions."""

__all__ = ["bits_of", "scramble_bits", "descramble_bits", "crc32_bits", "block_crc", "control"]

_POLYNOMIAL = 0x04C11DB7


def bits_of(value, width=64):
    """Most significant bit first."""
    return [value >> index & 1 for index in reversed(range(width))]


def number_of(bits):
    """The opposite."""
    return int("".join(map(str, bits)), 2)


def scramble_bits(blocks, past=(0,) * 58):
    """s[n] = d[n] + s[n-39] + s[n-58], from the 58 bits before, the oldest first."""
    line = list(past)
    for block in blocks:
        for bit in bits_of(block):
            line.append(bit ^ line[-39] ^ line[-58])
    line = line[58:]
    return [number_of(line[index:index + 64]) for index in range(0, len(line), 64)]


def descramble_bits(blocks, past=(0,) * 58):
    """d[n] = s[n] + s[n-39] + s[n-58]."""
    line = [*past, *(bit for block in blocks for bit in bits_of(block))]
    plain = [line[n] ^ line[n - 39] ^ line[n - 58] for n in range(58, len(line))]
    return [number_of(plain[index:index + 64]) for index in range(0, len(plain), 64)]


def crc32_bits(bits):
    """CRC-32 of IEEE 802.3's polynomial: from all ones, first bit first, inverted."""
    state = 0xFFFFFFFF
    for bit in bits:
        feedback = state >> 31 ^ bit
        state = state << 1 & 0xFFFFFFFF
        if feedback:
            state ^= _POLYNOMIAL
    return state ^ 0xFFFFFFFF


def block_crc(words, lanes):
    """The CRC of words of some lanes: lane 0 first."""
    return crc32_bits([bit for word in words for lane in range(lanes)
                       for bit in bits_of(word >> 64 * lane & (1 << 64) - 1)])


def control(kind, sequence=0, acknowledge=0, credit=0, *, before=(), lanes=1):
    """A control block with its CRC, ``before`` being the data of its packet."""
    block = kind << 56 | sequence << 48 | acknowledge << 40 | credit << 32
    return block | block_crc([*before, block], lanes)
