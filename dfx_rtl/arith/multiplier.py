"""The product of binary32 numbers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .expressions import canonical_bits, is_infinity, is_nan, leading_zeros
from .formats import FP32_INFINITY, FP32_NAN, Fp32

__all__ = ["Fp32Multiplier"]

# A product is kept with this many bits below it, for results that are subnormal: shifted right
# by more, a product is less than half of the smallest subnormal.
_ROOM = 26


class Fp32Multiplier(wiring.Component):
    """``a * b`` in binary32, lane by lane, rounded to nearest, ties to even.

    Subnormals count as they should, in and out. A NaN, and an infinity times zero, give the
    canonical NaN.

    The first stage multiplies the significands and finds the shift that will normalise the
    product, from the operands' leading zeros and exponents; the second shifts; the third rounds.

    Latency: 3 cycles from ``stb`` to ``done``. Throughput: one vector a cycle. No path is
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
        ``result`` is ``a``, canonical; ``b`` is ignored.
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

    Source: IEEE 754-2019, sections 4.3.1, 5.4.1 and 7.
    """

    latency = 3

    def __init__(self, lanes):
        check_positive("Lanes of a multiplier", lanes)
        self._lanes = lanes
        vector = data.ArrayLayout(Fp32, lanes)
        super().__init__({
            "stb":      In(1),
            "skip":     In(1),
            "a":        In(vector),
            "b":        In(vector),
            "done":     Out(1),
            "result":   Out(vector),
            "invalid":  Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        s1_valid = Signal()
        s2_valid = Signal()
        s3_valid = Signal()
        s1_invalid = Signal(reset_less=True)
        s2_invalid = Signal(reset_less=True)
        s3_invalid = Signal(reset_less=True)
        s3_overflow = Signal(reset_less=True)
        m.d.sync += [s1_valid.eq(self.stb), s2_valid.eq(s1_valid), s3_valid.eq(s2_valid)]
        m.d.comb += [
            self.done.eq(s3_valid),
            self.invalid.eq(s3_invalid),
            self.overflow.eq(s3_overflow),
        ]

        invalid = []
        overflow = []
        for lane in range(self._lanes):
            lane_invalid, lane_overflow = self._lane(m, lane, s1_valid, s2_valid)
            invalid.append(lane_invalid)
            overflow.append(lane_overflow)
        with m.If(self.stb):
            m.d.sync += s1_invalid.eq(Cat(invalid).any())
        with m.If(s1_valid):
            m.d.sync += s2_invalid.eq(s1_invalid)
        with m.If(s2_valid):
            m.d.sync += [s3_invalid.eq(s2_invalid), s3_overflow.eq(Cat(overflow).any())]

        return m

    def _lane(self, m, lane, s1_valid, s2_valid):
        a, b = self.a[lane], self.b[lane]

        invalid = Signal(name=f"invalid{lane}")
        infinite = is_infinity(a) | is_infinity(b)
        zero = ~Value.cast(a)[:31].any() | ~Value.cast(b)[:31].any()
        m.d.comb += invalid.eq(Mux(self.skip, is_nan(a),
                                   is_nan(a) | is_nan(b) | (infinite & zero)))

        total = Signal(9, name=f"total{lane}")
        # The exponent of the product's bit 46, were it a result's leading bit.
        exponent = Signal(signed(11), name=f"exponent{lane}")
        # How far left the product's leading bit must go to reach bit 46 or 47: as far as that of
        # the operand which is subnormal. Two of them give less than any result can be.
        significand = Signal(24, name=f"significand{lane}")
        leading = Signal(range(25), name=f"leading{lane}")
        # The result's exponent less one. Below 0 the result is subnormal, and the shift stops
        # early, or goes right.
        below = Signal(signed(11), name=f"below{lane}")
        m.d.comb += [
            total.eq((a.exponent | ~a.exponent.any()) + (b.exponent | ~b.exponent.any())),
            exponent.eq(total - 127),
            significand.eq(Cat(Mux(a.exponent.any(), b.fraction, a.fraction),
                               a.exponent.any() & b.exponent.any())),
            leading.eq(leading_zeros(significand)),
            below.eq((total - 128) - leading),
        ]

        s1_product = Signal(48, name=f"s1_product{lane}", reset_less=True)
        s1_shift = Signal(6, name=f"s1_shift{lane}", reset_less=True)
        s1_exponent = Signal(10, name=f"s1_exponent{lane}", reset_less=True)
        s1_special = Signal(name=f"s1_special{lane}", reset_less=True)
        s1_bits = Signal(32, name=f"s1_bits{lane}", reset_less=True)
        sign = a.sign ^ b.sign
        with m.If(self.stb):
            m.d.sync += [
                s1_product.eq(Cat(a.fraction, a.exponent.any())
                              * Cat(b.fraction, b.exponent.any())),
                s1_shift.eq(Mux(below >= 0, leading + _ROOM,
                                Mux(exponent > 1 - _ROOM, exponent + (_ROOM - 1), 0))),
                s1_exponent.eq(Mux(below >= 0, below, 0)),
                s1_special.eq(self.skip | invalid | infinite | zero),
                # Where the result is not special only the sign of this is used.
                s1_bits.eq(Mux(self.skip, canonical_bits(a, FP32_NAN),
                               Mux(invalid, FP32_NAN,
                                   Cat(Mux(infinite, FP32_INFINITY, 0)[:31], sign)))),
            ]

        # Bit 47 + _ROOM is the product's bit 47, at the shift of none.
        shifted = Signal(48 + _ROOM, name=f"shifted{lane}")
        m.d.comb += shifted.eq(s1_product << s1_shift)
        carry = shifted[-1]
        lowest = _ROOM + 23

        s2_fraction = Signal(24, name=f"s2_fraction{lane}", reset_less=True)
        s2_up = Signal(name=f"s2_up{lane}", reset_less=True)
        s2_exponent = Signal(11, name=f"s2_exponent{lane}", reset_less=True)
        s2_special = Signal(name=f"s2_special{lane}", reset_less=True)
        s2_bits = Signal(32, name=f"s2_bits{lane}", reset_less=True)
        with m.If(s1_valid):
            m.d.sync += [
                s2_fraction.eq(Mux(carry, shifted[lowest + 1:], shifted[lowest:-1])),
                s2_up.eq(Mux(carry,
                             shifted[lowest] & (shifted[:lowest].any() | shifted[lowest + 1]),
                             shifted[lowest - 1] & (shifted[:lowest - 1].any()
                                                    | shifted[lowest]))),
                s2_exponent.eq(s1_exponent + carry),
                s2_special.eq(s1_special),
                s2_bits.eq(s1_bits),
            ]

        rounded = Signal(34, name=f"rounded{lane}")
        m.d.comb += rounded.eq((s2_exponent << 23) + s2_fraction + s2_up)
        infinity = rounded >= FP32_INFINITY
        s3_result = Signal(32, name=f"s3_result{lane}", reset_less=True)
        with m.If(s2_valid):
            m.d.sync += s3_result.eq(
                Mux(s2_special, s2_bits,
                    Cat(Mux(infinity, FP32_INFINITY, rounded[:31])[:31], s2_bits[31])))
        m.d.comb += Value.cast(self.result[lane]).eq(s3_result)

        return invalid, infinity & ~s2_special
