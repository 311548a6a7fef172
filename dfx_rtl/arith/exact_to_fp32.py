"""An exact sum, rounded to binary32."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .expressions import leading_zeros
from .formats import EXACT_UNIT, EXACT_WIDTH, FP32_INFINITY, FP32_NAN, ExactSum, Fp32

__all__ = ["ExactToFp32"]

# The leading bit is found in two steps: which chunk of this many bits holds it, and where there.
_CHUNK = 16


class ExactToFp32(wiring.Component):
    """Exact sums rounded to binary32, lane by lane, once, to nearest, ties to even.

    A sum of zero is +0. The flags of :class:`.formats.ExactSum` give infinities and the
    canonical NaN. The units that are allowed are those whose results are neither subnormal nor
    too large.

    The first stage takes the magnitude and finds the chunk of its leading bit. It looks for the
    chunk in the one's complement, beside the carry of the two's complement, so the leading bit
    can be the lowest bit of the chunk above; the second stage knows. That takes the bits of the
    chunk and those below, the third shifts and rounds.

    Latency: 3 cycles from ``stb`` to ``done``. Throughput: one vector a cycle. No path is
    combinational from input to output.

    Parameters
    ----------
    lanes : int
        Numbers in a vector.
    width : int
        Bits of a sum's value, with its sign.
    unit : int
        A sum counts units of two to this power.

    Members
    -------
    stb : In(1)
        The sums are valid in this cycle.
    a : In(ArrayLayout(ExactSum(width), lanes))
    done : Out(1)
        The results are valid in this cycle.
    result : Out(ArrayLayout(Fp32, lanes))
    invalid : Out(1)
        A result is a NaN. Valid while ``done``.

    Raises
    ------
    TypeError
        If the number of lanes is not a positive integer, the width is not an integer of two or
        more, or the unit is not an integer.
    ValueError
        If a result could be subnormal or too large for binary32.

    Source: IEEE 754-2019, section 4.3.1.
    """

    latency = 3

    def __init__(self, lanes, width=EXACT_WIDTH, unit=EXACT_UNIT):
        check_positive("Lanes of a conversion", lanes)
        layout = ExactSum(width)
        if not isinstance(unit, int):
            raise TypeError(f"Unit of an exact sum must be an integer, not {unit!r}")
        if unit < -126 or width - 1 + unit > 127:
            raise ValueError(f"Exact sum of {width} bits in units of 2**{unit} does not fit into "
                             f"normal binary32 numbers")
        self._lanes = lanes
        self._width = width
        self._unit = unit
        super().__init__({
            "stb":     In(1),
            "a":       In(data.ArrayLayout(layout, lanes)),
            "done":    Out(1),
            "result":  Out(data.ArrayLayout(Fp32, lanes)),
            "invalid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        s1_valid = Signal()
        s2_valid = Signal()
        s3_valid = Signal()
        s1_invalid = Signal(reset_less=True)
        s2_invalid = Signal(reset_less=True)
        s3_invalid = Signal(reset_less=True)
        m.d.sync += [s1_valid.eq(self.stb), s2_valid.eq(s1_valid), s3_valid.eq(s2_valid)]
        m.d.comb += [self.done.eq(s3_valid), self.invalid.eq(s3_invalid)]

        with m.If(self.stb):
            m.d.sync += s1_invalid.eq(
                Cat(a.nan | (a.positive_infinity & a.negative_infinity) for a in self.a).any())
        with m.If(s1_valid):
            m.d.sync += s2_invalid.eq(s1_invalid)
        with m.If(s2_valid):
            m.d.sync += s3_invalid.eq(s2_invalid)
        for lane in range(self._lanes):
            self._lane(m, lane, s1_valid, s2_valid)

        return m

    def _lane(self, m, lane, s1_valid, s2_valid):
        a = self.a[lane]
        chunks = -(-self._width // _CHUNK)

        negative = a.value[-1]
        folded = Signal(chunks * _CHUNK, name=f"folded{lane}")
        m.d.comb += folded.eq(Mux(negative, ~a.value, a.value))
        # A chunk that is not 0, each; the lowest one where there is no other.
        occupied = Signal(chunks, name=f"occupied{lane}")
        m.d.comb += occupied.eq(Cat(1, *(folded.word_select(chunk, _CHUNK).any()
                                         for chunk in range(1, chunks))))

        s1_magnitude = Signal(self._width, name=f"s1_magnitude{lane}", reset_less=True)
        s1_chunk = Signal(range(max(chunks, 2)), name=f"s1_chunk{lane}", reset_less=True)
        s1_sign = Signal(name=f"s1_sign{lane}", reset_less=True)
        s1_special = Signal(name=f"s1_special{lane}", reset_less=True)
        s1_nan = Signal(name=f"s1_nan{lane}", reset_less=True)
        with m.If(self.stb):
            m.d.sync += [
                s1_magnitude.eq(Mux(negative, -a.value, a.value)),
                s1_chunk.eq(chunks - 1 - leading_zeros(occupied)),
                s1_special.eq(a.nan | a.positive_infinity | a.negative_infinity),
                s1_nan.eq(a.nan | (a.positive_infinity & a.negative_infinity)),
                s1_sign.eq(Mux(a.positive_infinity | a.negative_infinity,
                               a.negative_infinity, negative)),
            ]

        # The chunk with one bit above it and 24 below: wherever the leading bit is, 24 follow.
        field = Signal(1 + _CHUNK + 24, name=f"field{lane}")
        below = Signal(name=f"below{lane}")
        padded = Cat(Const(0, 24), s1_magnitude, Const(0, 1 + chunks * _CHUNK - self._width))
        with m.Switch(s1_chunk):
            for chunk in range(chunks):
                with m.Case(chunk):
                    start = chunk * _CHUNK
                    m.d.comb += field.eq(padded[start:start + len(field)])
                    if start > 24:
                        m.d.comb += below.eq(s1_magnitude[:start - 24].any())

        s2_field = Signal(len(field), name=f"s2_field{lane}", reset_less=True)
        s2_below = Signal(name=f"s2_below{lane}", reset_less=True)
        s2_base = Signal(8, name=f"s2_base{lane}", reset_less=True)
        s2_sign = Signal(name=f"s2_sign{lane}", reset_less=True)
        s2_special = Signal(name=f"s2_special{lane}", reset_less=True)
        s2_nan = Signal(name=f"s2_nan{lane}", reset_less=True)
        with m.If(s1_valid):
            m.d.sync += [
                s2_field.eq(field),
                s2_below.eq(below),
                # One less than the exponent: the leading bit of the significand adds it.
                s2_base.eq(s1_chunk * _CHUNK + (_CHUNK + self._unit + 126)),
                s2_sign.eq(s1_sign),
                s2_special.eq(s1_special),
                s2_nan.eq(s1_nan),
            ]

        leading = Signal(range(_CHUNK + 2), name=f"leading{lane}")
        normal = Signal(len(field), name=f"normal{lane}")
        m.d.comb += [
            leading.eq(leading_zeros(s2_field, 24)),
            normal.eq(s2_field << leading),
        ]
        exponent = (s2_base - leading)[:8]
        rounded = (Cat(Const(0, 23), exponent) + normal[17:]
                   + (normal[16] & (normal[:16].any() | s2_below | normal[17])))

        s3_result = Signal(32, name=f"s3_result{lane}", reset_less=True)
        with m.If(s2_valid):
            with m.If(s2_nan):
                m.d.sync += s3_result.eq(FP32_NAN)
            with m.Elif(s2_special):
                m.d.sync += s3_result.eq(Cat(Const(FP32_INFINITY, 31), s2_sign))
            with m.Elif(~normal[-1]):
                m.d.sync += s3_result.eq(0)
            with m.Else():
                m.d.sync += s3_result.eq(Cat(rounded[:31], s2_sign))
        m.d.comb += Value.cast(self.result[lane]).eq(s3_result)
