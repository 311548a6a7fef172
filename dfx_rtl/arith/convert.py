"""binary16 to binary32 and back."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .checks import check_positive
from .expressions import is_nan, leading_zeros
from .formats import FP16_INFINITY, FP16_NAN, FP32_NAN, Fp16, Fp32

__all__ = ["Fp16ToFp32", "Fp32ToFp16", "fp16_to_fp32"]

# The biases differ by this.
_REBIAS = 127 - 15
# 65520 in binary32: it and what is above round to an infinity.
_OVERFLOW = 0x477FF000


def fp16_to_fp32(m, x, name):
    """A signal of :class:`Fp32` that is ``x``, driven combinationally.

    It is exact; of a NaN it is the canonical one.

    Parameters
    ----------
    m : Module
        Where it is driven.
    x : View of Fp16
    name : str
        What the signal is called.
    """
    result = Signal(Fp32, name=name)
    leading = Signal(range(11), name=f"{name}_leading")
    m.d.comb += leading.eq(leading_zeros(x.fraction))
    with m.If(x.exponent.all()):
        m.d.comb += Value.cast(result).eq(
            Mux(x.fraction.any(), FP32_NAN, Cat(Const(0, 23), Const(0xFF, 8), x.sign)))
    with m.Elif(x.exponent.any()):
        m.d.comb += Value.cast(result).eq(
            Cat(Const(0, 13), x.fraction, (x.exponent + _REBIAS)[:8], x.sign))
    with m.Elif(x.fraction.any()):
        m.d.comb += Value.cast(result).eq(
            Cat(Const(0, 13), (x.fraction << leading << 1)[:10], (_REBIAS - leading)[:8], x.sign))
    with m.Else():
        m.d.comb += result.sign.eq(x.sign)
    return result


class Fp16ToFp32(wiring.Component):
    """binary16 in binary32, lane by lane: exact. Of a NaN, the canonical one.

    Latency: none; it is combinational.

    Parameters
    ----------
    lanes : int
        Numbers in a vector.

    Members
    -------
    a : In(ArrayLayout(Fp16, lanes))
    result : Out(ArrayLayout(Fp32, lanes))

    Raises
    ------
    TypeError
        If the number of lanes is not a positive integer.

    Source: IEEE 754-2019, section 5.4.2.
    """

    latency = 0

    def __init__(self, lanes):
        check_positive("Lanes of a conversion", lanes)
        self._lanes = lanes
        super().__init__({
            "a":      In(data.ArrayLayout(Fp16, lanes)),
            "result": Out(data.ArrayLayout(Fp32, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        for lane in range(self._lanes):
            wide = fp16_to_fp32(m, self.a[lane], name=f"wide{lane}")
            m.d.comb += Value.cast(self.result[lane]).eq(Value.cast(wide))
        return m


class Fp32ToFp16(wiring.Component):
    """binary32 rounded to binary16, lane by lane, to nearest, ties to even.

    Latency: 1 cycle from ``stb`` to ``done``. Throughput: one vector a cycle. No path is
    combinational from input to output.

    Parameters
    ----------
    lanes : int
        Numbers in a vector.

    Members
    -------
    stb : In(1)
        The operand is valid in this cycle.
    a : In(ArrayLayout(Fp32, lanes))
    done : Out(1)
        The results are valid in this cycle.
    result : Out(ArrayLayout(Fp16, lanes))
    invalid : Out(1)
        A result is a NaN. Valid while ``done``.
    overflow : Out(1)
        A result is infinite and its operand is not. Valid while ``done``.

    Raises
    ------
    TypeError
        If the number of lanes is not a positive integer.

    Source: IEEE 754-2019, sections 4.3.1, 5.4.2 and 7.
    """

    latency = 1

    def __init__(self, lanes):
        check_positive("Lanes of a conversion", lanes)
        self._lanes = lanes
        super().__init__({
            "stb":      In(1),
            "a":        In(data.ArrayLayout(Fp32, lanes)),
            "done":     Out(1),
            "result":   Out(data.ArrayLayout(Fp16, lanes)),
            "invalid":  Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        s1_valid = Signal()
        s1_invalid = Signal(reset_less=True)
        s1_overflow = Signal(reset_less=True)
        m.d.sync += s1_valid.eq(self.stb)
        m.d.comb += [
            self.done.eq(s1_valid),
            self.invalid.eq(s1_invalid),
            self.overflow.eq(s1_overflow),
        ]

        overflow = []
        for lane in range(self._lanes):
            a = self.a[lane]
            # The significand, moved down where the result is subnormal. Its lowest kept bit is
            # bit 25; moved by more than 12 it is less than half of the smallest subnormal.
            significand = Signal(36, name=f"significand{lane}")
            rounded = Signal(19, name=f"rounded{lane}")
            m.d.comb += [
                significand.eq(Cat(Const(0, 12), a.fraction, a.exponent.any())
                               >> Mux(a.exponent > _REBIAS, 0,
                                      Mux(a.exponent < _REBIAS - 11, 12,
                                          _REBIAS + 1 - a.exponent))[:4]),
                rounded.eq(Cat(Const(0, 10),
                               Mux(a.exponent > _REBIAS, a.exponent - _REBIAS - 1, 0)[:8])
                           + significand[25:]
                           + (significand[24] & (significand[:24].any() | significand[25]))),
            ]
            finite = ~a.exponent.all()
            # Told by the operand, since the rounded number comes late.
            infinity = Value.cast(a)[:31] >= _OVERFLOW
            overflow.append(finite & infinity)
            s1_result = Signal(16, name=f"s1_result{lane}", reset_less=True)
            with m.If(self.stb):
                m.d.sync += s1_result.eq(
                    Mux(is_nan(a), FP16_NAN,
                        Cat(Mux(infinity, FP16_INFINITY, rounded[:15])[:15], a.sign)))
            m.d.comb += Value.cast(self.result[lane]).eq(s1_result)

        with m.If(self.stb):
            m.d.sync += [
                s1_invalid.eq(Cat(is_nan(a) for a in self.a).any()),
                s1_overflow.eq(Cat(overflow).any()),
            ]

        return m
