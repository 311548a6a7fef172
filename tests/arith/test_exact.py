# amaranth: UnusedElaboratable=no
"""Exact dot products, and their rounding, against Python's integers."""

import itertools
import re

import numpy as np
import pytest

from dfx_rtl.arith.exact import DotProduct, DotProductLane, ExactToFp32
from dfx_rtl.arith.formats import EXACT_UNIT, EXACT_WIDTH, bits32
from dfx_rtl.arith.golden import exact_to_fp32
from tests.arith.vectors import SPECIAL16, pack, run

FINITE16 = SPECIAL16[(SPECIAL16 & 0x7C00) != 0x7C00]


def units(bits):
    """A finite binary16 number in units of 2**-24."""
    bits = int(bits)
    exponent = bits >> 10 & 0x1F
    magnitude = (bits & 0x3FF | bool(exponent) << 10) << max(exponent, 1) - 1
    return -magnitude if bits >> 15 else magnitude


def golden(x, weights):
    """The sum of products and what it is: a value, or None with the kind of number."""
    value = 0
    kinds = set()
    for a, b in zip(x.tolist(), weights.tolist(), strict=True):
        if a & 0x7C00 == 0x7C00 or b & 0x7C00 == 0x7C00:
            nan = any(each & 0x7C00 == 0x7C00 and each & 0x3FF for each in (a, b))
            zero = any(each & 0x7FFF == 0 for each in (a, b))
            kinds.add("nan" if nan or zero else "-inf" if (a ^ b) & 0x8000 else "+inf")
        else:
            value += units(a) * units(b)
    if "nan" in kinds or len(kinds) == 2:
        return None, "nan"
    if kinds:
        return None, kinds.pop()
    return value, "finite"


def decode(bits):
    """The same of an exact sum's bits."""
    value = bits & ((1 << EXACT_WIDTH) - 1)
    positive, negative, nan = (bits >> (EXACT_WIDTH + index) & 1 for index in range(3))
    if nan or (positive and negative):
        return None, "nan"
    if positive or negative:
        return None, "+inf" if positive else "-inf"
    return value - (value >> (EXACT_WIDTH - 1) << EXACT_WIDTH), "finite"


def check(simulate, dut, tile, lanes, x, weights, stalls=None):
    x = np.asarray(x, dtype=np.uint16).reshape(-1, tile)
    weights = np.asarray(weights, dtype=np.uint16).reshape(-1, lanes, tile)
    inputs = [{"x": pack(a), "weights": pack(b)} for a, b in zip(x, weights, strict=True)]
    results = run(simulate, dut, inputs, ["sums"], stalls)
    size = EXACT_WIDTH + 3
    for a, columns, (sums,) in zip(x, weights, results, strict=True):
        for lane, column in enumerate(columns):
            got = decode(sums >> (lane * size) & ((1 << size) - 1))
            assert got == golden(a, column), ([hex(v) for v in a], [hex(v) for v in column])


@pytest.mark.parametrize("tile, latency",
                         [(1, 4), (2, 4), (8, 4), (9, 5), (16, 5), (64, 5), (65, 6), (512, 6)])
def test_latency(tile, latency):
    assert DotProduct(tile, 1).latency == latency
    assert DotProductLane(tile).latency == latency


def test_every_pair_of_special_values(simulate):
    """A tile of one: each product by itself, with its flags."""
    pairs = np.array(list(itertools.product(SPECIAL16, SPECIAL16)))
    check(simulate, DotProduct(1, 1), 1, 1, pairs[:, 0], pairs[:, 1])


@pytest.mark.parametrize("tile, lanes, count", [(1, 2, 200), (2, 1, 200), (3, 2, 200), (8, 2, 300),
                                                (11, 1, 100), (16, 4, 100), (64, 2, 40)])
def test_random(simulate, tile, lanes, count):
    """Any bits, so that many sums are infinite or NaN, and the same with finite numbers alone."""
    generator = np.random.default_rng(tile)
    x = generator.integers(0, 1 << 16, (count, tile), dtype=np.uint16)
    weights = generator.integers(0, 1 << 16, (count, lanes, tile), dtype=np.uint16)
    half = count // 2
    for each in (x, weights):
        finite = each[half:]
        finite[(finite & 0x7C00) == 0x7C00] &= 0x83FF
    check(simulate, DotProduct(tile, lanes), tile, lanes, x, weights)


def test_special_values_among_others(simulate):
    generator = np.random.default_rng(12)
    tile, lanes, count = 8, 2, 300
    x = generator.choice(FINITE16, (count, tile))
    weights = generator.choice(FINITE16, (count, lanes, tile))
    rare = generator.integers(0, 3, count)
    for index in range(count):
        for _ in range(rare[index]):
            where = generator.integers(0, tile)
            weights[index, generator.integers(0, lanes), where] = generator.choice(SPECIAL16)
            x[index, generator.integers(0, tile)] = generator.choice(SPECIAL16)
    check(simulate, DotProduct(tile, lanes), tile, lanes, x, weights)


@pytest.mark.parametrize("tile", [8, 16, 64])
def test_extremes(simulate, tile):
    """All of the largest, of the smallest, of either sign; and the smallest among the largest."""
    largest, smallest = 0x7BFF, 0x0001
    rows = [([a] * tile, [b] * tile) for a in (largest, smallest, 0, 0x8000)
            for b in (largest, largest | 0x8000, smallest, smallest | 0x8000)]
    for sign in (0, 0x8000):
        rows.append(([largest] * (tile - 1) + [smallest],
                     [largest | sign] * (tile - 1) + [smallest]))
    check(simulate, DotProduct(tile, 1), tile, 1, [x for x, _ in rows], [w for _, w in rows])


def test_sums_that_cancel(simulate):
    """Products that cancel but for one unit."""
    generator = np.random.default_rng(13)
    tile, count = 8, 100
    x = generator.integers(0x0000, 0x7C00, (count, tile), dtype=np.uint16)
    weights = generator.integers(0x0000, 0x7C00, (count, tile), dtype=np.uint16)
    x[:, 4:7], weights[:, 4:7] = x[:, 1:4], weights[:, 1:4] | 0x8000
    x[:, 0] = weights[:, 0] = x[:, 7] = weights[:, 7] = 0
    x[::2, 7] = weights[::2, 7] = 1
    check(simulate, DotProduct(tile, 1), tile, 1, x, weights)


def test_stalls(simulate):
    generator = np.random.default_rng(14)
    tile, lanes, count = 4, 2, 200
    x = generator.integers(0, 1 << 16, (count, tile), dtype=np.uint16)
    weights = generator.integers(0, 1 << 16, (count, lanes, tile), dtype=np.uint16)
    check(simulate, DotProduct(tile, lanes), tile, lanes, x, weights,
          stalls=lambda: generator.integers(0, 4))


def sums_of_width(generator, width, count):
    """Sums of all lengths, ties, and powers of two with what is next to them."""
    limit = 1 << (width - 1)
    values = [0, 1, -1, limit - 1, -limit, 1 - limit]
    for position in range(width - 1):
        values += [1 << position, -(1 << position), (1 << position) - 1, 1 - (1 << position),
                   (1 << position) + 1]
    for _ in range(count):
        length = int(generator.integers(1, width))
        value = int.from_bytes(generator.bytes(20), "little") & ((1 << length) - 1)
        if length > 26 and generator.integers(0, 2):
            # A tie, or one off it.
            low = length - 25
            value = (value >> low | 1) << low
            value += int(generator.integers(-1, 2))
        values.append(value * int(generator.choice([-1, 1])))
    return [min(max(value, -limit), limit - 1) for value in values]


def check_rounding(simulate, lanes, width, unit, sums, stalls=None):
    """``sums``: pairs of a value and flags (positive, negative, nan)."""
    sums = sums + sums[:-len(sums) % lanes]
    size = width + 3
    inputs = []
    for start in range(0, len(sums), lanes):
        bits = 0
        for lane, (value, flags) in enumerate(sums[start:start + lanes]):
            flag_bits = sum(flag << index for index, flag in enumerate(flags))
            bits |= (value & ((1 << width) - 1) | flag_bits << width) << (lane * size)
        inputs.append({"a": bits})
    results = run(simulate, ExactToFp32(lanes, width, unit), inputs, ["result", "invalid"], stalls)
    for index, (result, invalid) in enumerate(results):
        invalid_wanted = False
        for lane, (value, flags) in enumerate(sums[index * lanes:(index + 1) * lanes]):
            want = exact_to_fp32(value, unit, positive_infinity=flags[0],
                                 negative_infinity=flags[1], nan=flags[2])
            assert result >> (32 * lane) & 0xFFFFFFFF == bits32(want), (hex(value), flags)
            invalid_wanted |= bool(np.isnan(want))
        assert invalid == invalid_wanted


@pytest.mark.parametrize("lanes, width, unit", [
    (2, EXACT_WIDTH, EXACT_UNIT), (1, 128, -48), (1, 40, -24), (1, 2, 0), (3, 17, -24),
    (1, 16, -126), (1, 25, 103), (1, 33, 5)])
def test_rounding(simulate, lanes, width, unit):
    generator = np.random.default_rng(width)
    sums = [(value, (0, 0, 0)) for value in sums_of_width(generator, width, 300)]
    check_rounding(simulate, lanes, width, unit, sums)


def test_rounding_with_flags_and_stalls(simulate):
    generator = np.random.default_rng(15)
    sums = []
    for value in sums_of_width(generator, EXACT_WIDTH, 0)[:200]:
        flags = tuple(int(each) for each in generator.integers(0, 2, 3))
        sums.append((value, flags if generator.integers(0, 2) else (0, 0, 0)))
    check_rounding(simulate, 1, EXACT_WIDTH, EXACT_UNIT, sums,
                   stalls=lambda: generator.integers(0, 3))


@pytest.mark.parametrize("value", [0, -3, "8", 1.5, True])
def test_errors(value):
    for make, noun in ((lambda: DotProduct(value, 1), "Tile of a dot product"),
                       (lambda: DotProductLane(value), "Tile of a dot product"),
                       (lambda: DotProduct(1, value), "Lanes of a dot product"),
                       (lambda: ExactToFp32(value), "Lanes of a conversion")):
        with pytest.raises(TypeError, match=re.escape(
                f"{noun} must be a positive integer, not {value!r}")):
            make()


def test_range_errors():
    with pytest.raises(ValueError, match=re.escape(
            "Tile of a dot product must be at most 512, not 513")):
        DotProduct(513, 1)
    with pytest.raises(TypeError, match=re.escape(
            "Unit of an exact sum must be an integer, not 0.5")):
        ExactToFp32(1, 8, 0.5)
    with pytest.raises(TypeError, match=re.escape(
            "Width of an exact sum must be an integer of 2 or more, not 1")):
        ExactToFp32(1, 1)
    for width, unit in ((8, -127), (98, 31)):
        with pytest.raises(ValueError, match=re.escape(
                f"Exact sum of {width} bits in units of 2**{unit} does not fit into normal "
                f"binary32 numbers")):
            ExactToFp32(1, width, unit)
