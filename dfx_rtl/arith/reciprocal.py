"""The reciprocal and the reciprocal square root of a binary32 number."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .expressions import leading_zeros
from .formats import FP32_INFINITY, FP32_NAN, Fp32

__all__ = ["Reciprocal", "ReciprocalRequest", "ReciprocalResult"]

# Bits of a result that decide its rounding: a one or a zero before the point, 24 that are kept
# and one below. The remainder stands for all that follow.
_RESULT_BITS = 26


class ReciprocalRequest(data.Struct):
    """What is asked of :class:`Reciprocal`.

    Members
    -------
    a : Fp32
    square_root : 1 bit
        The reciprocal is of the square root of ``a``.
    """

    a: Fp32
    square_root: 1


class ReciprocalResult(data.Struct):
    """What :class:`Reciprocal` answers.

    Members
    -------
    result : Fp32
    invalid : 1 bit
        The result is a NaN.
    """

    result: Fp32
    invalid: 1


class Reciprocal(wiring.Component):
    """``1 / a`` or ``1 / sqrt(a)`` in binary32, correctly rounded to nearest, ties to even.

    Subnormals count as they should, in and out. Of a zero both are the infinity of its sign. The
    reciprocal of an infinity is the zero of its sign; the reciprocal square root of a negative
    number is the canonical NaN, and so is either of a NaN.

    Digit by digit: with X the significand of ``a`` and y the result so far, the remainder is
    1 - X y or 1 - X y**2. A further bit of y is one if the remainder stays positive. For
    the square root X is scaled to [1, 4), and what the bit would take off, 2 X y and X times the
    bit, is kept beside y, so that a step waits for one subtraction. The remainder is exact, and so
    its being zero says whether the result is.

    Latency: ``latency`` cycles from the cycle in which the request is taken to the first in
    which the result is valid: ``ceil(26 / bits_per_cycle) + 2``, so 15 at 2 bits a cycle, for every
    input. Throughput: one request at a time; ``i.ready`` is low until the result has been
    taken. No path is combinational from input to output.

    Parameters
    ----------
    bits_per_cycle : int
        Steps in a cycle.

    Members
    -------
    i : In(stream.Signature(ReciprocalRequest))
    o : Out(stream.Signature(ReciprocalResult))

    Raises
    ------
    TypeError
        If the bits per cycle are not a positive integer.
    ValueError
        If they are more than 26.

    Source: IEEE 754-2019, sections 5.4.1, 7.2, 7.3 and 9.2 (rSqrt).
    """

    def __init__(self, bits_per_cycle=2):
        check_positive("Bits per cycle of a reciprocal", bits_per_cycle)
        if bits_per_cycle > _RESULT_BITS:
            raise ValueError(f"Bits per cycle of a reciprocal must be at most {_RESULT_BITS}, "
                             f"not {bits_per_cycle}")
        self._bits_per_cycle = bits_per_cycle
        self._cycles = -(-_RESULT_BITS // bits_per_cycle)
        super().__init__({
            "i": In(stream.Signature(ReciprocalRequest)),
            "o": Out(stream.Signature(ReciprocalResult)),
        })

    @property
    def latency(self):
        """Cycles from a request that is taken to its result."""
        return self._cycles + 2

    def elaborate(self, platform):
        m = Module()

        bits = self._cycles * self._bits_per_cycle
        # X has 23 bits below the point, and each bit of the result adds one.
        fraction_bits = 23 + bits
        width = fraction_bits + 5
        remainder = Signal(width, reset_less=True)
        # What the next bit takes off; X times that bit, and half as much again.
        term = Signal(width, reset_less=True)
        addend = Signal(width, reset_less=True)
        growth = Signal(width, reset_less=True)
        root = Signal(bits, reset_less=True)
        exponent = Signal(signed(10), reset_less=True)
        special = Signal(reset_less=True)
        result = Signal(32, reset_less=True)
        invalid = Signal(reset_less=True)
        count = Signal(range(self._cycles + 1), reset_less=True)
        m.d.comb += [
            Value.cast(self.o.payload.result).eq(result),
            self.o.payload.invalid.eq(invalid),
        ]

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    self._unpack(m, fraction_bits, term, addend, growth, exponent, special,
                                 result, invalid)
                    m.d.sync += [
                        # The first step doubles it to one.
                        remainder.eq(1 << (fraction_bits - 1)),
                        root.eq(0),
                        count.eq(self._cycles - 1),
                    ]
                    m.next = "digits"
            with m.State("digits"):
                self._digits(m, remainder, term, addend, growth, root)
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.next = "round"
            with m.State("round"):
                with m.If(~special):
                    self._round(m, remainder, root, exponent, result)
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"

        return m

    def _unpack(self, m, fraction_bits, term, addend, growth, exponent, special, result,
                invalid):
        """Take a request: X, the result's exponent, and the results that are not worked out."""
        a = self.i.payload.a
        leading = Signal(range(25))
        significand = Signal(24)
        # The exponent of X in [1, 2), and X.
        scale = Signal(signed(10))
        scaled = Signal(25)
        position = fraction_bits - 23
        m.d.comb += [
            leading.eq(Mux(a.exponent.any(), 0, leading_zeros(a.fraction) + 1)),
            significand.eq(Cat(a.fraction, a.exponent.any()) << leading),
            scale.eq((a.exponent | ~a.exponent.any()) - 127 - leading),
        ]
        # For the reciprocal the term stays X, and nothing is added to it.
        m.d.comb += scaled.eq(significand)
        m.d.sync += [
            term.eq(scaled << position),
            addend.eq(0),
            growth.eq(0),
            special.eq(1),
            invalid.eq(0),
            # The sign of what is worked out.
            result.eq(Cat(Const(0, 31), a.sign)),
        ]
        with m.If(self.i.payload.square_root):
            # Of an odd exponent one factor of two belongs to X.
            m.d.comb += scaled.eq(Mux(scale[0], significand << 1, significand))
            m.d.sync += [
                addend.eq(scaled << position),
                growth.eq((scaled << position) + (scaled << (position - 1))),
                exponent.eq(-(scale >> 1)),
            ]
        with m.Else():
            m.d.sync += exponent.eq(-scale)
        zero = ~a.exponent.any() & ~a.fraction.any()
        with m.If((a.exponent.all() & a.fraction.any())
                  | (self.i.payload.square_root & a.sign & ~zero)):
            m.d.sync += [result.eq(FP32_NAN), invalid.eq(1)]
        with m.Elif(zero):
            m.d.sync += result.eq(Cat(Const(FP32_INFINITY, 31), a.sign))
        with m.Elif(~a.exponent.all()):
            m.d.sync += special.eq(0)

    def _digits(self, m, remainder, term, addend, growth, root):
        """The steps of a cycle, from the registers back into them."""
        width = len(remainder)
        registers = [remainder, term, addend, growth]
        bits = []
        for step in range(self._bits_per_cycle):
            difference = Signal(signed(width + 2), name=f"difference{step}")
            next_remainder = Signal(width, name=f"remainder{step}")
            next_term = Signal(width, name=f"term{step}")
            # Kept apart: one adder for both would have to wait for the bit.
            grown, shrunk = (Signal(width, name=f"{name}{step}", attrs={"keep": "true"})
                             for name in ("grown", "shrunk"))
            bit = ~difference[-1]
            m.d.comb += [
                difference.eq((remainder << 1) - term),
                next_remainder.eq(Mux(bit, difference, remainder << 1)),
                # 2 X y grows by twice X times the bit if it is one, and X times the bit halves.
                grown.eq(term + growth),
                shrunk.eq(term - (addend >> 1)),
                next_term.eq(Mux(bit, grown, shrunk)),
            ]
            bits.append(bit)
            remainder, term, addend, growth = (
                next_remainder, next_term, addend >> 1, growth >> 1)
        for register, following in zip(registers, (remainder, term, addend, growth), strict=True):
            m.d.sync += register.eq(following)
        m.d.sync += root.eq(Cat(*reversed(bits), root))

    def _round(self, m, remainder, root, exponent, result):
        """Round the digits, of which one is before the point; the highest or the next is set."""
        biased = Signal(signed(11))
        # Where the result is subnormal it moves down, by two at most.
        digits = Signal(len(root) + 2)
        rounded = Signal(33)
        lowest = len(digits) - 24
        m.d.comb += [
            biased.eq(exponent + 126 + root[-1]),
            digits.eq(Cat(Const(0, 2), Mux(root[-1], root, root << 1)[:len(root)])
                      >> Mux(biased > 0, 0, 1 - biased)[:2]),
            rounded.eq((Mux(biased > 0, biased - 1, 0)[:9] << 23) + digits[lowest:]
                       + (digits[lowest - 1] & (digits[lowest] | digits[:lowest - 1].any()
                                                | remainder.any()))),
        ]
        m.d.sync += result[:31].eq(Mux(rounded >= FP32_INFINITY, FP32_INFINITY, rounded[:31]))
