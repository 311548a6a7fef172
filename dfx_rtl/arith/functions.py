"""Functions of binary16 numbers by tables of straight lines."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .checks import check_positive
from .expressions import canonical_bits, is_nan
from .formats import FP16_INFINITY, FP16_NAN, Fp16
from .tables import CONSTANT_WIDTH, FUNCTIONS, GUARD, REGION_BITS, table

__all__ = ["Fp16Function"]

_LOW_WIDTH = 16 - REGION_BITS


def _special(function, a):
    """The bits of the result where ``a``, a view of ``Fp16``, is an infinity or a NaN."""
    if function == "exp":
        at_infinity = Mux(a.sign, 0, FP16_INFINITY)
    else:
        at_infinity = Cat(Mux(a.sign, 0, FP16_INFINITY)[:15], a.sign)
    return Mux(a.fraction.any(), FP16_NAN, at_infinity)


class Fp16Function(wiring.Component):
    """A function of binary16 numbers, lane by lane, correctly rounded for every input.

    The functions are ``"exp"``, ``e ** a``, and ``"gelu"``, GPT-2's GELU in its tanh form:
    ``a / 2 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 a**3)))``. GELU keeps the sign of what
    underflows: gelu(-0) and gelu(-inf) are -0.

    Each lane has two ROMs. The input's highest nine bits choose a region: 512 words of 14 bits,
    read combinationally, which give where the region's pieces are and how large they are.
    The pieces are straight lines (see :mod:`.tables`): 1,367 words of 41 bits for ``"exp"``
    (55 kbit), 1,028 words of 41 bits for ``"gelu"`` (41 kbit), read synchronously.

    Latency: 2 cycles from ``stb`` to ``done``: the ROM, then the line. ``result`` and
    ``overflow`` are combinational from the registers of the line: they choose the place of the
    rounding. Throughput: one vector a cycle. No path is combinational from input to output.

    Parameters
    ----------
    function : str
        ``"exp"`` or ``"gelu"``.
    lanes : int
        Numbers in a vector.

    Members
    -------
    stb : In(1)
        The operand is valid in this cycle.
    skip : In(1)
        ``result`` is ``a``, canonical.
    a : In(ArrayLayout(Fp16, lanes))
    done : Out(1)
        The results are valid in this cycle.
    result : Out(ArrayLayout(Fp16, lanes))
    invalid : Out(1)
        A result is a NaN. Valid while ``done``.
    overflow : Out(1)
        A result of the function is infinite and its operand is not. Valid while ``done``.

    Raises
    ------
    ValueError
        If there is no such function.
    TypeError
        If the number of lanes is not a positive integer.

    Source: DFX paper, section 5.3 (GELU and exp by lookup with linear interpolation; there 2,048
    samples, not exact).
    """

    latency = 2

    def __init__(self, function, lanes):
        if function not in FUNCTIONS:
            raise ValueError(f"Function must be 'exp' or 'gelu', not {function!r}")
        check_positive("Lanes of a function", lanes)
        self._function = function
        self._lanes = lanes
        vector = data.ArrayLayout(Fp16, lanes)
        super().__init__({
            "stb":      In(1),
            "skip":     In(1),
            "a":        In(vector),
            "done":     Out(1),
            "result":   Out(vector),
            "invalid":  Out(1),
            "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        s1_valid = Signal()
        s2_valid = Signal()
        s1_invalid = Signal(reset_less=True)
        s2_invalid = Signal(reset_less=True)
        m.d.sync += [s1_valid.eq(self.stb), s2_valid.eq(s1_valid)]
        overflow = [self._lane(m, lane, s1_valid) for lane in range(self._lanes)]
        with m.If(self.stb):
            m.d.sync += s1_invalid.eq(Cat(is_nan(a) for a in self.a).any())
        with m.If(s1_valid):
            m.d.sync += s2_invalid.eq(s1_invalid)
        m.d.comb += [
            self.done.eq(s2_valid),
            self.invalid.eq(s2_invalid),
            self.overflow.eq(Cat(overflow).any()),
        ]

        return m

    def _read(self, m, lane):
        """The lane's piece, as it leaves its ROM in the cycle after ``stb``."""
        contents = table(self._function)
        region_layout = data.StructLayout({
            "first":    ceil_log2(len(contents.pieces)),
            "low_bits": ceil_log2(_LOW_WIDTH + 1),
        })
        piece_layout = data.StructLayout({
            "constant": CONSTANT_WIDTH,
            "slope":    signed(contents.slope_width),
            "base":     5,
        })
        m.submodules[f"regions{lane}"] = regions = memory.Memory(
            shape=region_layout, depth=len(contents.regions),
            init=[{"first": first, "low_bits": low_bits} for first, low_bits in contents.regions])
        m.submodules[f"pieces{lane}"] = pieces = memory.Memory(
            shape=piece_layout, depth=len(contents.pieces),
            init=[{"constant": piece.constant, "slope": piece.slope, "base": piece.base}
                  for piece in contents.pieces])
        region = regions.read_port(domain="comb")
        piece = pieces.read_port()

        bits = Value.cast(self.a[lane])
        s1_low = Signal(_LOW_WIDTH, name=f"s1_low{lane}", reset_less=True)
        m.d.comb += [
            region.addr.eq(bits[_LOW_WIDTH:]),
            piece.addr.eq(region.data.first + (bits[:_LOW_WIDTH] >> region.data.low_bits)),
            piece.en.eq(self.stb),
        ]
        with m.If(self.stb):
            m.d.sync += s1_low.eq(
                bits[:_LOW_WIDTH] & ~(Const(-1, _LOW_WIDTH) << region.data.low_bits))
        return piece.data, s1_low

    def _lane(self, m, lane, s1_valid):
        a = self.a[lane]
        piece, s1_low = self._read(m, lane)

        # A result that is no line's, and the sign of one that is.
        s1_special = Signal(name=f"s1_special{lane}", reset_less=True)
        s1_bits = Signal(16, name=f"s1_bits{lane}", reset_less=True)
        signed_zero = Cat(Const(0, 15), a.sign & (self._function != "exp"))
        with m.If(self.stb):
            m.d.sync += [
                s1_special.eq(self.skip | a.exponent.all()),
                s1_bits.eq(Mux(self.skip, canonical_bits(a, FP16_NAN),
                               Mux(a.exponent.all(), _special(self._function, a), signed_zero))),
            ]

        s2_line = Signal(CONSTANT_WIDTH, name=f"s2_line{lane}", reset_less=True)
        s2_base = Signal(5, name=f"s2_base{lane}", reset_less=True)
        s2_special = Signal(name=f"s2_special{lane}", reset_less=True)
        s2_bits = Signal(16, name=f"s2_bits{lane}", reset_less=True)
        with m.If(s1_valid):
            m.d.sync += [
                s2_line.eq(piece.constant + piece.slope * s1_low),
                s2_base.eq(piece.base),
                s2_special.eq(s1_special),
                s2_bits.eq(s1_bits),
            ]

        magnitude = Signal(16, name=f"magnitude{lane}")
        half = 1 << (GUARD - 1)
        m.d.comb += magnitude.eq(
            (s2_base << 10) + Mux(s2_line[-1], ((s2_line + half) >> (GUARD + 1)) + (1 << 10),
                                  s2_line >> GUARD))
        infinity = magnitude >= FP16_INFINITY
        m.d.comb += Value.cast(self.result[lane]).eq(
            Mux(s2_special, s2_bits,
                Cat(Mux(infinity, FP16_INFINITY, magnitude)[:15], s2_bits[-1])))
        return infinity & ~s2_special
