"""n times the sum of squares, less the square of the sum: the variance before any rounding."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.formats import ExactSum
from ..isa import LENGTH

__all__ = ["DIFFERENCE_WIDTH", "VarianceDifference"]

#: n <= 2**17 values of at most 2**16: n * S2 < 2**(17 + 17 + 32), and units of 2**-48; a sign.
DIFFERENCE_WIDTH = 116
# The sum of n values in units of 2**-24 is below 2**(17 + 16 + 24).
MAGNITUDE = 57
SQUARES = 97
PRODUCT = SQUARES + LENGTH
HALF = -(-SQUARES // 2)
# A sum of binary16 values is a multiple of 2**-24, so the lower half of its 48 bits is 0.
SUM_SHIFT = 24


class VarianceDifference(wiring.Component):
    """``n * squares - total**2`` in integers, with one multiplier of 97 x 17 bits.

    The square is summed up from the most significant of four 17-bit digits of ``total`` to the
    least (Horner), and n, which is one such digit, times the squares is added last. That takes
    about 4 to 8 DSPs; nothing cancels, since nothing is rounded.

    Latency 7 cycles. One difference at a time.

    Members
    -------
    stb : In(1)
        The operands are valid. They need not stay.
    length : In(17)
        n.
    total, squares : In(ExactSum())
        The sum of n binary16 values and of their squares.
    done : Out(1)
        Strobe: ``difference`` is valid. It stays until the next ``stb``.
    difference : Out(ExactSum(116))
        The difference, in units of 2**-48, never negative. NaN if a flag of an operand is set.
    """

    #: Cycles from ``stb`` to ``done``.
    latency = 7

    stb: In(1)
    length: In(LENGTH)
    total: In(ExactSum())
    squares: In(ExactSum())
    done: Out(1)
    difference: Out(ExactSum(DIFFERENCE_WIDTH))

    def elaborate(self, platform):
        m = Module()
        digits = -(-MAGNITUDE // LENGTH)
        magnitude = Signal(MAGNITUDE, reset_less=True)
        multipliers = Signal((digits + 1) * LENGTH, reset_less=True)
        squares = Signal(SQUARES, reset_less=True)
        nan = Signal(reset_less=True)
        steps = Signal(digits + 1)
        last_step = Signal()
        # The product of the multiplicand's halves: added up with the accumulator.
        products = [Signal(HALF + LENGTH, name=f"product{half}", reset_less=True)
                    for half in range(2)]
        product = Signal(PRODUCT)
        product_valid = Signal()
        product_last = Signal()
        accumulator = Signal(signed(DIFFERENCE_WIDTH), reset_less=True)
        absolute = Signal(MAGNITUDE)
        flags = Cat(operand[flag] for operand in (self.total, self.squares)
                    for flag in ("positive_infinity", "negative_infinity", "nan"))
        total = Signal(signed(MAGNITUDE + 1))
        m.d.comb += [
            total.eq(self.total.value >> SUM_SHIFT),
            absolute.eq(Mux(total < 0, -total, total)),
            last_step.eq(steps == 1 << digits),
            product.eq(products[0] + (products[1] << HALF)),
            self.difference.value.eq(accumulator),
            self.difference.nan.eq(nan),
        ]
        m.d.sync += self.done.eq(product_valid & product_last)
        with m.If(self.stb):
            # Digits in the order of their use, most significant first, and n last.
            padded = absolute | C(0, digits * LENGTH)
            order = [padded[k * LENGTH:(k + 1) * LENGTH] for k in reversed(range(digits))]
            m.d.sync += [
                magnitude.eq(absolute),
                multipliers.eq(Cat(*order, self.length)),
                squares.eq(self.squares.value),
                nan.eq(flags.any()),
                steps.eq(1),
                accumulator.eq(0),
            ]
        with m.Elif(steps.any()):
            m.d.sync += [
                steps.eq(steps << 1),
                multipliers.eq(multipliers >> LENGTH),
            ]
        m.d.sync += product_valid.eq(steps.any())
        with m.If(steps.any()):
            multiplicand = Signal(2 * HALF)
            m.d.comb += multiplicand.eq(Mux(last_step, squares, magnitude))
            m.d.sync += product_last.eq(last_step)
            for half, part in enumerate(products):
                m.d.sync += part.eq(multiplicand.word_select(half, HALF) * multipliers[:LENGTH])
        with m.If(product_valid):
            with m.If(product_last):
                m.d.sync += accumulator.eq(accumulator + product)
            with m.Else():
                m.d.sync += accumulator.eq((accumulator << LENGTH) - product)
        return m
