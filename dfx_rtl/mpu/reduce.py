"""The largest of the results: its value, or its index."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arith.checks import check_positive
from ..arith.formats import Fp16, Fp32
from ..isa import LENGTH

__all__ = ["ArgMax", "RunningMaximum"]

# Comparators in a row before a register.
_LEVELS = 2


def _stages(lanes):
    """Cycles of a tree of comparators over ``lanes`` lanes."""
    return max(1, -(-ceil_log2(lanes) // _LEVELS))


def _largest(m, stb, shape, items):
    """A pipelined tree that finds the item of ``shape`` with the largest ``key``.

    The lower one wins a tie. Returns the item and its strobe, ``_stages(len(items))`` later.
    """
    for stage in range(_stages(len(items))):
        for level in range(_LEVELS):
            pairs = [items[k:k + 2] for k in range(0, len(items), 2)]
            items = []
            for number, pair in enumerate(pairs):
                winner = Signal(shape, name=f"s{stage}_{level}_{number}")
                m.d.comb += winner.eq(pair[0])
                if len(pair) == 2:
                    with m.If(pair[1].key > pair[0].key):
                        m.d.comb += winner.eq(pair[1])
                items.append(winner)
            if len(items) == 1:
                break
        kept = [Signal(shape, name=f"s{stage + 1}_{number}", reset_less=True)
                for number in range(len(items))]
        kept_stb = Signal(name=f"s{stage + 1}_stb")
        m.d.sync += kept_stb.eq(stb)
        with m.If(stb):
            m.d.sync += [register.eq(item) for register, item in zip(kept, items, strict=True)]
        stb, items = kept_stb, kept
    return items[0], stb


class RunningMaximum(wiring.Component):
    """The maximum of a stream of groups of canonical binary16 values.

    The order is IEEE 754's total order with NaN greatest: -0 is less than +0.

    Latency: ``latency`` cycles. Throughput: a group a cycle.

    Source: DFX paper, section 5.3 (SFU_M: reduce-max); IEEE 754-2019, section 5.10.

    Parameters
    ----------
    lanes : int
        Values in a group.

    Members
    -------
    stb : In(1)
        A group arrives.
    first : In(1)
        The group starts a new maximum.
    values, lanes_valid : In
        The group, and a bit for each value that counts.
    done : Out(1)
        ``stb``, ``latency`` cycles later.
    maximum : Out(Fp16)
        The maximum up to that group.

    Raises
    ------
    TypeError
        If ``lanes`` is not a positive integer.
    """

    def __init__(self, lanes):
        check_positive("Lanes of a maximum", lanes)
        self._lanes = lanes
        super().__init__({
            "stb":         In(1),
            "first":       In(1),
            "values":      In(data.ArrayLayout(Fp16, lanes)),
            "lanes_valid": In(lanes),
            "done":        Out(1),
            "maximum":     Out(Fp16),
        })

    @property
    def latency(self):
        """Cycles from a group to the maximum."""
        return _stages(self._lanes)

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"key": 16, "first": 1})
        items = [Signal(shape, name=f"item{lane}") for lane in range(self._lanes)]
        # As unsigned keys: a negative number's bits are inverted. A lane that does not count has
        # key 0, which would be a NaN that is not canonical.
        with m.If(self.stb):
            for lane, item in enumerate(items):
                bits = self.values[lane].as_value()
                m.d.comb += item.first.eq(self.first)
                with m.If(self.lanes_valid[lane]):
                    m.d.comb += item.key.eq(Mux(bits[15], ~bits, bits | 1 << 15))
        best, done = _largest(m, self.stb, shape, items)

        running = Signal(16, reset_less=True)
        largest = Signal(16)
        m.d.comb += [
            self.done.eq(done),
            largest.eq(Mux(best.first | (best.key > running), best.key, running)),
            self.maximum.eq(Mux(largest[15], largest[:15], ~largest)),
        ]
        with m.If(done):
            m.d.sync += running.eq(largest)
        return m


class ArgMax(wiring.Component):
    """The index of the largest of a stream of groups of canonical binary32 values.

    +0 equals -0; the lowest index wins a tie; a NaN never wins. It raises no flag here: the
    operation that made it has done that.

    Latency: ``latency`` cycles. Throughput: a group a cycle.

    Source: DFX paper, section 5.3 (SFU_M: reduce-max) and section 4.2 (LM head).

    Parameters
    ----------
    lanes : int
        Values in a group; a power of two.

    Members
    -------
    stb : In(1)
        A group arrives.
    first : In(1)
        The group starts a new search.
    group : In(17)
        Its index: lane k of it is column ``group * lanes + k``.
    values, lanes_valid : In
        The group, and a bit for each value that counts.
    done : Out(1)
        ``stb``, ``latency`` cycles later.
    found : Out(1)
        There was a number.
    index : Out(17)
        The column of the largest value up to that group.
    value : Out(Fp32)
        Its value.

    Raises
    ------
    TypeError
        If ``lanes`` is not a positive integer.
    """

    def __init__(self, lanes):
        check_positive("Lanes of an arg max", lanes)
        self._lanes = lanes
        super().__init__({
            "stb":         In(1),
            "first":       In(1),
            "group":       In(LENGTH),
            "values":      In(data.ArrayLayout(Fp32, lanes)),
            "lanes_valid": In(lanes),
            "done":        Out(1),
            "found":       Out(1),
            "index":       Out(LENGTH),
            "value":       Out(Fp32),
        })

    @property
    def latency(self):
        """Cycles from a group to the index."""
        return _stages(self._lanes)

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"key": 32, "negative_zero": 1, "index": LENGTH, "first": 1})
        items = [Signal(shape, name=f"item{lane}") for lane in range(self._lanes)]
        not_numbers = Signal(self._lanes)
        # As unsigned keys: a negative number's bits are inverted, and -0 has the key of +0. A NaN,
        # or a lane that does not count, has key 0.
        with m.If(self.stb):
            for lane, item in enumerate(items):
                value = self.values[lane]
                bits = value.as_value()
                m.d.comb += [
                    not_numbers[lane].eq((value.exponent == 0xFF) & (value.fraction != 0)
                                         & self.lanes_valid[lane]),
                    item.first.eq(self.first),
                    item.index.eq(self.group * self._lanes + lane),
                ]
                with m.If(self.lanes_valid[lane] & ~not_numbers[lane]):
                    with m.If(bits == 1 << 31):
                        m.d.comb += [item.key.eq(1 << 31), item.negative_zero.eq(1)]
                    with m.Else():
                        m.d.comb += item.key.eq(Mux(bits[31], ~bits, bits | 1 << 31))
        best, done = _largest(m, self.stb, shape, items)

        running = Signal(shape, reset_less=True)
        largest = Signal(shape)
        m.d.comb += largest.eq(running)
        with m.If(best.first | (best.key > running.key)):
            m.d.comb += largest.eq(best)
        key = largest.key
        m.d.comb += [
            self.done.eq(done),
            self.found.eq(key != 0),
            self.index.eq(largest.index),
            self.value.eq(Mux(key[31], Cat(key[:31], largest.negative_zero), ~key)),
        ]
        with m.If(done):
            m.d.sync += running.eq(largest)
        return m
