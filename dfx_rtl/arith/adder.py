"""The sum and the difference of binary32 numbers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .expressions import canonical_bits, is_infinity, is_nan, leading_zeros
from .formats import FP32_INFINITY, FP32_NAN, Fp32

__all__ = ["Fp32Adder"]

# Bits below the significand of the larger operand: three that are kept, and one that stands for
# all those below.
_GUARD = 4
# At this distance of the exponents the smaller operand only makes the sum inexact.
_FARTHEST = 27


class Fp32Adder(wiring.Component):
    """``a + b`` or ``a - b`` in binary32, lane by lane, rounded to nearest, ties to even.

    Subnormals count as they should, in and out. A NaN, and the difference of two infinities,
    give the canonical NaN. An exact zero is +0 unless both terms are -0.

    The first stage puts the operand of the larger magnitude first, and finds how far their
    exponents are apart; the second aligns the other to it and adds; the third normalises; the
    fourth rounds.

    Latency: 4 cycles from ``stb`` to ``done``. Throughput: one vector a cycle. No path is
    combinational from input to output.

    Parameters
    ----------
    lanes : int
        Numbers in a vector.

    Members
    -------
    stb : In(1)
        The operands are valid in this cycle.
    skip : In(1)
        ``result`` is ``a``, canonical; ``b`` and ``subtract`` are ignored.
    subtract : In(1)
        ``result`` is ``a - b``.
    a, b : In(ArrayLayout(Fp32, lanes))
    done : Out(1)
        The results are valid in this cycle.
    result : Out(ArrayLayout(Fp32, lanes))
    invalid : Out(1)
        A result is a NaN. Valid while ``done``.
    overflow : Out(1)
        A result is infinite and its operands are not. Valid while ``done``.

    Raises
    ------
    TypeError
        If the number of lanes is not a positive integer.

    Source: IEEE 754-2019, sections 4.3.1, 5.4.1, 6.3 and 7.
    """

    latency = 4

    def __init__(self, lanes):
        check_positive("Lanes of an adder", lanes)
        self._lanes = lanes
        vector = data.ArrayLayout(Fp32, lanes)
        super().__init__({
            "stb":      In(1),
            "skip":     In(1),
            "subtract": In(1),
            "a":        In(vector),
            "b":        In(vector),
            "done":     Out(1),
            "result":   Out(vector),
            "invalid":  Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        valid = Signal(4)
        s1_invalid = Signal(reset_less=True)
        s2_invalid = Signal(reset_less=True)
        s3_invalid = Signal(reset_less=True)
        s4_invalid = Signal(reset_less=True)
        s4_overflow = Signal(reset_less=True)
        m.d.sync += valid.eq(Cat(self.stb, valid))
        m.d.comb += [
            self.done.eq(valid[-1]),
            self.invalid.eq(s4_invalid),
            self.overflow.eq(s4_overflow),
        ]

        invalid = []
        overflow = []
        for lane in range(self._lanes):
            lane_invalid, lane_overflow = self._lane(m, lane, valid)
            invalid.append(lane_invalid)
            overflow.append(lane_overflow)
        with m.If(self.stb):
            m.d.sync += s1_invalid.eq(Cat(invalid).any())
        with m.If(valid[0]):
            m.d.sync += s2_invalid.eq(s1_invalid)
        with m.If(valid[1]):
            m.d.sync += s3_invalid.eq(s2_invalid)
        with m.If(valid[2]):
            m.d.sync += [s4_invalid.eq(s3_invalid), s4_overflow.eq(Cat(overflow).any())]

        return m

    def _lane(self, m, lane, valid):
        a, b = self.a[lane], self.b[lane]
        a_bits, b_bits = Value.cast(a), Value.cast(b)

        differ = Signal(name=f"differ{lane}")
        invalid = Signal(name=f"invalid{lane}")
        m.d.comb += [
            differ.eq(a.sign ^ b.sign ^ self.subtract),
            invalid.eq(Mux(self.skip, is_nan(a),
                           is_nan(a) | is_nan(b)
                           | (is_infinity(a) & is_infinity(b)
                              & (a.sign ^ b.sign ^ self.subtract)))),
        ]

        # Both distances at once: which one is meant the comparison tells as late.
        a_exponent = a.exponent | ~a.exponent.any()
        b_exponent = b.exponent | ~b.exponent.any()
        swap = Signal(name=f"swap{lane}")
        distances = []
        for name, larger, smaller in (("a", a_exponent, b_exponent),
                                      ("b", b_exponent, a_exponent)):
            difference = Signal(8, name=f"distance_{name}{lane}")
            m.d.comb += difference.eq(larger - smaller)
            distances.append(difference)
        distance = Signal(8, name=f"distance{lane}")
        m.d.comb += [
            swap.eq(a_bits[:31] < b_bits[:31]),
            distance.eq(Mux(swap, distances[1], distances[0])),
        ]

        # The larger magnitude and the smaller, and the sign of the larger.
        s1_large = Signal(31, name=f"s1_large{lane}", reset_less=True)
        s1_small = Signal(31, name=f"s1_small{lane}", reset_less=True)
        s1_distance = Signal(range(_FARTHEST + 1), name=f"s1_distance{lane}", reset_less=True)
        s1_sign = Signal(name=f"s1_sign{lane}", reset_less=True)
        s1_differ = Signal(name=f"s1_differ{lane}", reset_less=True)
        s1_special = Signal(name=f"s1_special{lane}", reset_less=True)
        with m.If(self.stb):
            m.d.sync += [
                s1_special.eq(self.skip | a.exponent.all() | b.exponent.all()),
                s1_differ.eq(differ),
                s1_small.eq(Mux(swap, a_bits[:31], b_bits[:31])),
                s1_distance.eq(Mux(distance > _FARTHEST, _FARTHEST, distance)),
                s1_large.eq(a_bits[:31]),
                s1_sign.eq(a.sign),
            ]
            with m.If(self.skip):
                m.d.sync += s1_large.eq(canonical_bits(a, FP32_NAN)[:31])
                m.d.sync += s1_sign.eq(a.sign & ~is_nan(a))
            with m.Elif(invalid):
                m.d.sync += [s1_large.eq(FP32_NAN), s1_sign.eq(0)]
            with m.Elif(swap):
                m.d.sync += [s1_large.eq(b_bits[:31]), s1_sign.eq(b.sign ^ self.subtract)]

        # The small significand, moved down; below bit 24 there is only what makes it inexact.
        aligned = Signal(24 + _FARTHEST, name=f"aligned{lane}")
        m.d.comb += aligned.eq(
            Cat(Const(0, _FARTHEST), s1_small[:23], s1_small[23:].any()) >> s1_distance)

        s2_total = Signal(25 + _GUARD, name=f"s2_total{lane}", reset_less=True)
        s2_exponent = Signal(8, name=f"s2_exponent{lane}", reset_less=True)
        s2_sign = Signal(name=f"s2_sign{lane}", reset_less=True)
        s2_special = Signal(name=f"s2_special{lane}", reset_less=True)
        s2_bits = Signal(31, name=f"s2_bits{lane}", reset_less=True)
        large = Cat(Const(0, _GUARD), s1_large[:23], s1_large[23:].any())
        small = Cat(aligned[:24].any(), aligned[24:])
        with m.If(valid[0]):
            m.d.sync += [
                s2_total.eq(Mux(s1_differ, large - small, large + small)),
                s2_exponent.eq(s1_large[23:] | ~s1_large[23:].any()),
                # Where magnitudes are equal and signs differ the sum is +0.
                s2_sign.eq(s1_sign & (s1_special | ~s1_differ | (s1_large != s1_small))),
                s2_special.eq(s1_special),
                s2_bits.eq(s1_large),
            ]

        leading = Signal(range(30), name=f"leading{lane}")
        left = Signal(range(30), name=f"left{lane}")
        m.d.comb += [
            leading.eq(leading_zeros(s2_total)),
            left.eq(Mux(leading < s2_exponent, leading, s2_exponent)),
        ]

        s3_normal = Signal(25 + _GUARD, name=f"s3_normal{lane}", reset_less=True)
        s3_exponent = Signal(8, name=f"s3_exponent{lane}", reset_less=True)
        s3_sign = Signal(name=f"s3_sign{lane}", reset_less=True)
        s3_special = Signal(name=f"s3_special{lane}", reset_less=True)
        s3_zero = Signal(name=f"s3_zero{lane}", reset_less=True)
        s3_bits = Signal(31, name=f"s3_bits{lane}", reset_less=True)
        with m.If(valid[1]):
            m.d.sync += [
                s3_normal.eq(s2_total << left),
                s3_exponent.eq(s2_exponent - left),
                s3_sign.eq(s2_sign),
                s3_special.eq(s2_special),
                s3_zero.eq(~s2_total.any()),
                s3_bits.eq(s2_bits),
            ]

        rounded = Signal(32, name=f"rounded{lane}")
        m.d.comb += rounded.eq(
            (s3_exponent << 23) + s3_normal[5:]
            + (s3_normal[4] & (s3_normal[:4].any() | s3_normal[5])))

        infinity = rounded >= FP32_INFINITY
        s4_result = Signal(32, name=f"s4_result{lane}", reset_less=True)
        with m.If(valid[2]):
            with m.If(s3_special):
                m.d.sync += s4_result.eq(Cat(s3_bits, s3_sign))
            with m.Elif(s3_zero):
                m.d.sync += s4_result.eq(Cat(Const(0, 31), s3_sign))
            with m.Else():
                m.d.sync += s4_result.eq(
                    Cat(Mux(infinity, FP32_INFINITY, rounded)[:31], s3_sign))
        m.d.comb += Value.cast(self.result[lane]).eq(s4_result)

        return invalid, infinity & ~s3_special & ~s3_zero
