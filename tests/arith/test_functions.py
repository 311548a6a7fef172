# amaranth: UnusedElaboratable=no
"""exp and GELU on all of their inputs, and their tables."""

import re

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits16, canonical16, float16_from_bits
from dfx_rtl.arith.functions import Fp16Function
from dfx_rtl.arith.golden import exp16, gelu16
from dfx_rtl.arith.tables import CONSTANT_WIDTH, REGION_BITS, table
from tests.arith.vectors import SPECIAL16, pack, run, unpack

GOLDEN = {"exp": exp16, "gelu": gelu16}
OUTPUTS = ["result", "invalid", "overflow"]


def check(simulate, function, lanes, a, skip=False, stalls=None):
    a = a.reshape(-1, lanes)
    numbers = float16_from_bits(a)
    want = canonical16(numbers) if skip else GOLDEN[function](numbers)
    infinite = np.isinf(want) & np.isfinite(numbers)
    inputs = [{"a": pack(each), "skip": int(skip)} for each in a]

    def simulate_long(*arguments, **_):
        simulate(*arguments, deadline=200_000)

    results = run(simulate_long, Fp16Function(function, lanes), inputs, OUTPUTS, stalls)
    got = np.array([unpack(result, lanes, np.uint16) for result, *_ in results])
    wrong = got != bits16(want)
    assert not wrong.any(), list(zip(a[wrong][:5], got[wrong][:5], want[wrong][:5], strict=True))
    _, invalid, overflow = zip(*results, strict=True)
    np.testing.assert_array_equal(invalid, np.isnan(want).any(axis=1))
    np.testing.assert_array_equal(overflow, infinite.any(axis=1) & (not skip))


@pytest.mark.parametrize("function", ["exp", "gelu"])
class TestFunctions:
    def test_every_input(self, simulate, function):
        """In a mixed order, so that the lanes differ, and at full throughput."""
        everything = np.arange(1 << 16, dtype=np.uint16)
        check(simulate, function, 16, np.random.default_rng(16).permutation(everything))

    def test_flags_of_one_lane(self, simulate, function):
        check(simulate, function, 1, np.concatenate([SPECIAL16, [0x498B, 0x498C, 0x498D, 0x5000]]
                                                    ).astype(np.uint16))

    def test_stalls(self, simulate, function):
        generator = np.random.default_rng(17)
        check(simulate, function, 2, generator.integers(0, 1 << 16, 400, dtype=np.uint16),
              stalls=lambda: generator.integers(0, 4))

    def test_skip(self, simulate, function):
        generator = np.random.default_rng(18)
        a = np.concatenate([SPECIAL16, generator.integers(0, 1 << 16, 100, dtype=np.uint16)])
        check(simulate, function, 1, a, skip=True)


@pytest.mark.parametrize("function, pieces, word", [("exp", 1367, 41), ("gelu", 1028, 41)])
def test_size(function, pieces, word):
    """What the docstring says: less than 64 kbit a lane with the regions."""
    contents = table(function)
    assert len(contents.pieces) == pieces
    assert CONSTANT_WIDTH + contents.slope_width + 5 == word
    assert len(contents.regions) == 1 << REGION_BITS
    assert pieces * word + len(contents.regions) * 14 < 64 << 10


def test_errors():
    with pytest.raises(ValueError, match=re.escape(
            "Function must be 'exp' or 'gelu', not 'tanh'")):
        Fp16Function("tanh", 1)
    with pytest.raises(TypeError, match=re.escape(
            "Lanes of a function must be a positive integer, not 0")):
        Fp16Function("exp", 0)
