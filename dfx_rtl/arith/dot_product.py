"""The exact dot product: the hot unit of the machine."""

from functools import reduce
from operator import and_, or_

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .checks import check_positive
from .expressions import balanced_sum
from .formats import ExactSum, Fp16

__all__ = ["Kind", "Unpack", "DotProductLane", "DotProduct"]

# What one stage of the adder tree adds: three levels of adders.
_RADIX = 8
# A product is shifted by the sum of its exponents: by this many bits within a limb, and beyond
# that by choosing the limb. Both limbs and their sums then fit 64 bits.
_LIMB = 32
_PRODUCT_WIDTH = 23
_TERM_WIDTH = _PRODUCT_WIDTH + _LIMB - 1
# What stands for zero in a term: half of its range.
_ZERO = 1 << (_TERM_WIDTH - 1)
# Exponents count from one, so that products count units of two to the -50.
_SPARE = 2


def _every(field, tile):
    """A mask with ``field`` in each binary16 of a packed vector."""
    return sum(field << (16 * index) for index in range(tile))


def _tree_stages(tile):
    """How many stages of the adder tree a tile needs."""
    stages = 1
    while _RADIX ** stages < tile:
        stages += 1
    return stages


def _groups(values):
    """``values`` in as few groups as the radix allows, of sizes that differ by one at most."""
    count = -(-len(values) // _RADIX)
    return [values[index::count] for index in range(count)]


def _exponents(bits):
    """Bit 16 k of each result is a bit of the exponent of number k of the packed vector."""
    return [bits[position:] for position in range(10, 15)]


def _fractions(bits):
    """The same of the fractions."""
    return [bits[position:] for position in range(10)]


class Kind(enum.Enum, shape=2):
    """What a binary16 number is, as far as products must know."""

    FINITE = 0
    ZERO = 1
    INFINITY = 2
    NAN = 3


class Unpack(wiring.Component):
    """A vector of binary16 as significands and exponents that multiply and add, and their kinds.

    A number is ``significand * 2 ** (exponent - 25)``: a subnormal's exponent is one, and the
    others' significands have their leading bit. Everything is worked out on the packed vector,
    which costs the same gates as number by number, and is faster to simulate.

    Latency: none; it is combinational.

    Parameters
    ----------
    tile : int
        Numbers in a vector.

    Members
    -------
    x : In(ArrayLayout(Fp16, tile))
    significands : Out(16 * tile)
        In each 16 bits a significand in the lowest 11, and the sign in the highest.
    exponents : Out(16 * tile)
        In each 16 bits the lowest 5 count; the others are zero.
    kinds : Out(16 * tile)
        In each 16 bits a :class:`Kind` in the lowest 2; the others are zero.
    special : Out(1)
        One of the numbers is an infinity or a NaN.

    Raises
    ------
    TypeError
        If the tile is not a positive integer.
    """

    def __init__(self, tile):
        check_positive("Tile of a dot product", tile)
        self._tile = tile
        super().__init__({
            "x":            In(data.ArrayLayout(Fp16, tile)),
            "significands": Out(16 * tile),
            "exponents":    Out(16 * tile),
            "kinds":        Out(16 * tile),
            "special":      Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        bits = Value.cast(self.x)
        ones = _every(1, self._tile)
        # Not signals, though they are used twice: the simulator would run all of this twice.
        normal = reduce(or_, _exponents(bits)) & ones
        infinite = reduce(and_, _exponents(bits)) & ones
        fraction = reduce(or_, _fractions(bits)) & ones
        m.d.comb += [
            self.significands.eq((bits & _every(0x83FF, self._tile)) | (normal << 10)),
            self.exponents.eq((bits[10:] & _every(0x1F, self._tile)) | (normal ^ ones)),
            self.kinds.eq((infinite << 1) | (infinite & fraction)
                          | ((normal | fraction) ^ ones)),
            self.special.eq(infinite.any()),
        ]

        return m


class DotProductLane(wiring.Component):
    """The exact sum of the products of two vectors of binary16.

    A product of significands has 11 by 11 bits and a sign: one DSP. It is shifted by the sum of
    the exponents in two steps: by the sum's lowest five bits, and by the sixth into one of two
    limbs. Each limb has an adder tree of its own, and the limbs are joined at the end.
    Nothing is rounded. A term is held plus half of its range, as an unsigned number, which saves
    the extension of its sign in every adder; what that adds up to is a power of two, and so the
    join takes it off by turning over the top bit.

    Latency: ``latency`` cycles from ``stb`` to ``done``: the product, the shift, one for each
    factor of 8 in the tile, and the join; 4 at a tile of 8 or less, 5 at 64. Throughput: one vector
    a cycle. No path is combinational from input to output.

    Parameters
    ----------
    tile : int
        Numbers in a vector.

    Members
    -------
    stb : In(1)
        The operands are valid in this cycle.
    x_significands, x_exponents, x_kinds : In(16 * tile)
    x_special : In(1)
        A vector, as :class:`Unpack` gives it: once, for all lanes.
    weights : In(ArrayLayout(Fp16, tile))
    done : Out(1)
        ``sum`` is valid in this cycle.
    sum : Out(ExactSum())
        Where ``nan`` is set an infinity may be flagged too.

    Raises
    ------
    TypeError
        If the tile is not a positive integer.
    ValueError
        If the tile is more than 512: the limbs' sums would not fit 64 bits.

    Source: DFX paper, section 5.3 (the multipliers and adder trees of the matrix function unit).
    """

    def __init__(self, tile):
        check_positive("Tile of a dot product", tile)
        if tile > _RADIX ** 3:
            raise ValueError(f"Tile of a dot product must be at most {_RADIX ** 3}, not {tile}")
        self._tile = tile
        super().__init__({
            "stb":            In(1),
            "x_significands": In(16 * tile),
            "x_exponents":    In(16 * tile),
            "x_kinds":        In(16 * tile),
            "x_special":      In(1),
            "weights":        In(data.ArrayLayout(Fp16, tile)),
            "done":           Out(1),
            "sum":            Out(ExactSum()),
        })

    @property
    def latency(self):
        """Cycles from ``stb`` to ``done``."""
        return _tree_stages(self._tile) + 3

    def elaborate(self, platform):
        m = Module()

        # What each stage of the pipeline does when it has something to do.
        stages = [[] for _ in range(self.latency)]
        lows, highs = self._terms(stages)
        low, high = self._limbs(lows, highs, stages)
        value = Signal(self.sum.shape()["value"].width, reset_less=True)
        stages[-1].append(value.eq((low >> _SPARE) + (high << (_LIMB - _SPARE))))
        flags = self._flags(stages)

        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.stb, valid))
        for stb, statements in zip(Cat(self.stb, valid), stages, strict=False):
            with m.If(stb):
                m.d.sync += statements
        m.d.comb += [
            self.done.eq(valid[-1]),
            Value.cast(self.sum).eq(Cat(value, flags)),
        ]

        return m

    def _terms(self, stages):
        """The first two stages: each product as a term of the low and one of the high limb."""
        weights = Value.cast(self.weights)
        lows, highs = [], []
        for index in range(self._tile):
            low = 16 * index
            exponent = weights[low + 10:low + 15]
            significand = Cat(weights[low:low + 10], exponent.any(), Const(0))
            negative = self.x_significands[low + 15] ^ weights[low + 15]
            factor = ((significand ^ negative.replicate(12)) + negative)[:12].as_signed()
            product = (factor * self.x_significands[low:low + 11])[:_PRODUCT_WIDTH]
            shift = (self.x_exponents[low:low + 5] + (exponent | ~exponent.any()))[:6]
            s1_product = Signal(_PRODUCT_WIDTH + 6, name=f"s1_product{index}", reset_less=True)
            stages[0].append(s1_product.eq(Cat(product, shift)))

            s2_low = Signal(_TERM_WIDTH, name=f"s2_low{index}", reset_less=True)
            s2_high = Signal(_TERM_WIDTH, name=f"s2_high{index}", reset_less=True)
            term = (s1_product[:_PRODUCT_WIDTH].as_signed()
                    << s1_product[_PRODUCT_WIDTH:_PRODUCT_WIDTH + 5])[:_TERM_WIDTH] ^ _ZERO
            high = s1_product[-1]
            stages[1] += [s2_low.eq(Mux(high, _ZERO, term)), s2_high.eq(Mux(high, term, _ZERO))]
            lows.append(s2_low)
            highs.append(s2_high)
        return lows, highs

    def _limbs(self, lows, highs, stages):
        """The adder trees: the low and the high limb, as signed values."""
        width = _TERM_WIDTH + ceil_log2(self._tile)
        # As many zeros as fill the tile to a power of two.
        missing = (1 << (width - 1)) - self._tile * _ZERO
        limbs = []
        for name, values in (("low", lows), ("high", highs)):
            if missing:
                values.append(Const(missing, width))
            for stage in range(_tree_stages(self._tile)):
                sums = []
                for index, group in enumerate(_groups(values)):
                    total = Signal(width, name=f"s{stage + 3}_{name}{index}", reset_less=True)
                    stages[stage + 2].append(total.eq(balanced_sum(group)))
                    sums.append(total)
                values = sums
            limbs.append((values[0] ^ (1 << (width - 1))).as_signed())
        return limbs

    def _flags(self, stages):
        """The flags of infinities and NaN, beside the stages of the sum."""
        weights = Value.cast(self.weights)
        nan, positive, negative = [], [], []
        for index, weight in enumerate(self.weights):
            kind = self.x_kinds[16 * index:16 * index + 2]
            infinite = weight.exponent.all()
            finite = ~kind[1] & ~infinite
            zero = ~weight.exponent.any() & ~weight.fraction.any()
            sign = self.x_significands[16 * index + 15] ^ weight.sign
            nan.append((kind == Kind.NAN) | ((kind == Kind.INFINITY) & zero)
                       | (infinite & (weight.fraction.any() | (kind == Kind.ZERO))))
            positive.append(~finite & ~sign)
            negative.append(~finite & sign)
        # Rarely are there any: what is not chosen costs no time to simulate.
        some = self.x_special | (reduce(and_, _exponents(weights)) & _every(1, self._tile)).any()
        flags = Mux(some, Cat(Cat(positive).any(), Cat(negative).any(), Cat(nan).any()), 0)
        for stage, statements in enumerate(stages):
            following = Signal(3, name=f"s{stage + 1}_flags", reset_less=True)
            statements.append(following.eq(flags))
            flags = following
        return flags


class DotProduct(wiring.Component):
    """Exact dot products of one vector of binary16 with a vector in each lane.

    Latency: ``latency`` cycles from ``stb`` to ``done``, as :class:`DotProductLane`: 4 at a tile
    of 8 or less, 5 at 64. Throughput: one tile a cycle. No path is combinational from input
    to output.

    Parameters
    ----------
    tile : int
        Numbers in a vector.
    lanes : int
        Dot products at once.

    Members
    -------
    stb : In(1)
        The operands are valid in this cycle.
    x : In(ArrayLayout(Fp16, tile))
    weights : In(ArrayLayout(ArrayLayout(Fp16, tile), lanes))
        For each lane the vector that ``x`` is multiplied with.
    done : Out(1)
        ``sums`` are valid in this cycle.
    sums : Out(ArrayLayout(ExactSum(), lanes))

    Raises
    ------
    TypeError
        If the tile or the number of lanes is not a positive integer.
    ValueError
        If the tile is more than 512: the limbs' sums would not fit 64 bits.

    Source: DFX paper, section 5.3 (matrix function unit).
    """

    def __init__(self, tile, lanes):
        check_positive("Lanes of a dot product", lanes)
        self._tile = tile
        self._lanes = [DotProductLane(tile) for _ in range(lanes)]
        super().__init__({
            "stb":     In(1),
            "x":       In(data.ArrayLayout(Fp16, tile)),
            "weights": In(data.ArrayLayout(data.ArrayLayout(Fp16, tile), lanes)),
            "done":    Out(1),
            "sums":    Out(data.ArrayLayout(ExactSum(), lanes)),
        })

    @property
    def latency(self):
        """Cycles from ``stb`` to ``done``."""
        return self._lanes[0].latency

    def elaborate(self, platform):
        m = Module()

        m.submodules.unpack = unpack = Unpack(self._tile)
        m.d.comb += Value.cast(unpack.x).eq(Value.cast(self.x))
        # Modules of their own, since the simulator runs all of a module's combinational
        # statements anew for each change of what any of them reads.
        m.submodules.spread = spread = Module()
        m.submodules.collect = collect = Module()

        for index, lane in enumerate(self._lanes):
            m.submodules[f"lane{index}"] = lane
            m.d.comb += [
                lane.stb.eq(self.stb),
                Value.cast(lane.weights).eq(Value.cast(self.weights[index])),
            ]
            spread.d.comb += [
                lane.x_significands.eq(unpack.significands),
                lane.x_exponents.eq(unpack.exponents),
                lane.x_kinds.eq(unpack.kinds),
                lane.x_special.eq(unpack.special),
            ]
            collect.d.comb += Value.cast(self.sums[index]).eq(Value.cast(lane.sum))
        collect.d.comb += self.done.eq(self._lanes[0].done)

        return m
