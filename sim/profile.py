"""Where every cycle of a run goes: what a core recorded, as spans, causes and sums."""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dfx_rtl.compiler.listing import listing
from dfx_rtl.control.activity import Account
from dfx_rtl.isa import Opcode, Unit

from .system import ProfileLayout

__all__ = ["Recording", "Segment", "Span", "Timeline", "Total", "activity_spans"]


class Recording:
    """The values of ``System.profile``, each with the cycle from which on it stood.

    An engine fills it: with single values, which it drops if nothing has changed, or with arrays
    of changes.
    """

    def __init__(self):
        self._cycles, self._values = [], []

    def add(self, cycle, value):
        """The value in a cycle; cycles without a change may be left out."""
        if not self._values or self._values[-1] != value:
            self._cycles.append(cycle)
            self._values.append(value)

    def extend(self, cycles, values):
        """Changes, as arrays."""
        self._cycles.extend(cycles.tolist())
        self._values.extend(values.tolist())

    def run(self, length):
        """The first run, whose length in cycles the core has counted.

        Returns
        -------
        int, dict
            Its first cycle, and the members of ``ProfileLayout``: arrays with a value a cycle.
        """
        cycles, values = np.array(self._cycles), np.array(self._values, np.uint32)
        members = _members(values)
        # A run begins behind the last clear before its first command.
        command = np.flatnonzero(members["taken"])[0]
        begin = np.flatnonzero(members["clear"][:command])[-1] + 1
        start = int(cycles[begin])
        end = np.searchsorted(cycles, start + length)
        lengths = np.diff([*cycles[begin:end], start + length])
        return start, _members(np.repeat(values[begin:end], lengths))


def _members(values):
    return {name: values >> place.offset & (1 << place.width) - 1 for name, place in ProfileLayout}


@dataclass(frozen=True, kw_only=True)
class Span:
    """An instruction in its unit, from the cycle it is taken to the one after it has ended.

    Members
    -------
    unit : Unit
        The unit.
    row : int
        A unit takes an instruction before the last one has ended; of the instructions of a row none
        overlap.
    number : int
        Its place in the program.
    layer, position : int
        ``layer`` is the number of layers behind the last one.
    start, end : int
        Cycles of the run.
    """

    unit: Unit
    row: int
    number: int
    layer: int
    position: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Cycles that the MPU spent on an instruction, waiting for it included.

    Segments follow each other without a gap: one ends with the last tile of its instruction. The
    first one, in which the program is loaded, and the last one, in which nothing is left to
    multiply, have no instruction.
    """

    name: str | None
    number: int | None
    layer: int | None
    position: int | None
    start: int
    end: int


@dataclass
class Total:
    """Cycles of the MPU, summed.

    Members
    -------
    name : str
    count : int
        Instructions.
    cycles : list of int
        By :class:`Account`. Those of BUSY are tiles.
    """

    name: str
    count: int = 0
    cycles: list = field(default_factory=lambda: [0] * len(Account))


def _program_order(compiled, first_position, positions, input_count):
    """The instructions of a run in their order: (number, layer, position), without flow."""
    program, layers = compiled.instructions, compiled.run.layers
    opcodes = [entry.opcode for entry in program]
    token, end = opcodes.index(Opcode.TOKEN), opcodes.index(Opcode.END)
    first, behind = opcodes.index(Opcode.LAYER), opcodes.index(Opcode.NEXT_LAYER)
    head = opcodes.index(Opcode.LM_HEAD)
    order = [(number, 0, first_position) for number in range(token)]
    for position in range(first_position, positions):
        last = end if position >= input_count - 1 else head
        order += [(number, 0, position) for number in range(token, first)]
        order += [(number, layer, position) for layer in range(layers)
                  for number in range(first, behind)]
        order += [(number, layers, position) for number in range(behind, last)]
    return [entry for entry in order if program[entry[0]].unit is not None]


def _tiles(entry, position, config):
    """Tiles that a matrix instruction multiplies."""
    steps = 1
    if entry.columns_from_position:
        steps = config.groups(position + 1)
    elif entry.rows_from_position:
        steps = config.chunks(position + 1)
    return entry.tiles * steps


class Timeline:
    """A run, cycle by cycle, counted from its first one as the core's counter CYCLES does.

    Parameters
    ----------
    compiled : CompiledModel
        What was run.
    input_count : int
        Tokens of the prompt.
    recording : Recording
        Of the engine.
    result : Result
        Of the simulation.
    first_position : int
        Where the run began.

    Attributes
    ----------
    start : int
        The run's first cycle, counted from the start of the simulation.
    cycles : int
        Length of the run.
    activity : numpy array of uint32
        An :class:`.Account` for each cycle.
    tiles, ddr_reads, ddr_writes, stores : numpy array of uint32
        Tiles taken by the MPU, beats of DDR, parts of K and V handed to HBM, in each cycle.
    spans : list of Span
        Instructions, unit by unit, in the order in which they were taken.
    segments : list of Segment
        What the MPU worked on; together all cycles.
    tokens : list of (int, int)
        Generated ids, and the cycles in which they were known.
    """

    def __init__(self, compiled, input_count, recording, result, *, first_position=0):
        self._compiled = compiled
        self.cycles = result.counters["CYCLES"]
        self.start, members = recording.run(self.cycles)
        self.activity = members["account"]
        self.tiles = (self.activity == Account.BUSY).astype(np.uint32)
        self.ddr_reads, self.ddr_writes = members["ddr_read"], members["ddr_write"]
        self.stores = members["store"]
        self.tokens = [(token, cycle - self.start) for token, cycle in
                       zip(result.tokens, result.token_cycles, strict=True)]
        # One position more than needed: an end of the text may find that it has begun.
        order = _program_order(compiled, first_position, input_count + len(self.tokens),
                               input_count)
        self.spans = self._find_spans(order, members["taken"], members["retired"])
        self.segments = self._find_segments(order)
        lines = (line[4:].split("  ;")[0].split(None, 1)
                 for line in listing(compiled).splitlines())
        #: The instructions as the listing shows them, without sizes and flags.
        self.names = [" ".join(parts) for parts in lines]

    @property
    def compiled(self):
        """What was run."""
        return self._compiled

    @property
    def causes(self):
        """The MPU's cycles by :class:`Account`; equal to the core's counters."""
        return np.bincount(self.activity, minlength=len(Account)).tolist()

    def _find_spans(self, order, taken, retired):
        program, spans = self._compiled.instructions, []
        for unit in Unit:
            entries = [entry for entry in order if program[entry[0]].unit == unit]
            starts = np.flatnonzero(taken >> unit & 1).tolist()
            ends = (np.flatnonzero(retired >> unit & 1) + 1).tolist()
            # A run that the end of the text has ended leaves some without an end.
            ends += [self.cycles] * (len(starts) - len(ends))
            assert len(ends) == len(starts) <= len(entries)
            rows = []
            for (number, layer, position), start, end in zip(entries, starts, ends, strict=False):
                row = next((row for row, busy in enumerate(rows) if busy <= start), len(rows))
                rows[row:row + 1] = [end]
                spans.append(Span(unit=unit, row=row, number=number, layer=layer,
                                  position=position, start=start, end=end))
        return spans

    def _find_segments(self, order):
        program, config = self._compiled.instructions, self._compiled.config
        busy = np.flatnonzero(self.tiles)
        segments = [Segment(name="start", number=None, layer=None, position=None, start=0,
                            end=min(span.start for span in self.spans))]
        start, tiles = segments[0].end, 0
        for number, layer, position in order:
            if program[number].unit == Unit.MPU and tiles < len(busy):
                tiles += _tiles(program[number], position, config)
                end = int(busy[min(tiles, len(busy)) - 1]) + 1
                segments.append(Segment(name=None, number=number, layer=layer,
                                        position=position, start=start, end=end))
                start = end
        if start < self.cycles:
            segments.append(Segment(name="end", number=None, layer=None, position=None,
                                    start=start, end=self.cycles))
        return segments

    def kind(self, number):
        """An instruction's mnemonic, and for the MPU the object in HBM, whatever the head."""
        entry = self._compiled.instructions[number]
        mnemonic = entry.opcode.name.lower()
        if entry.unit != Unit.MPU:
            return mnemonic
        region = self._compiled.layout.find_tile(entry.tile, entry.layer_relative)
        name = re.sub(r"\.\d+(-\d+)?$", "", region.name) if region else f"tile {entry.tile}"
        return f"{mnemonic} {name}"

    def layer_name(self, layer):
        """``layer 3``, or what comes behind the layers."""
        return f"layer {layer}" if layer < self._compiled.run.layers else "LM head"

    def totals(self, key):
        """The segments' cycles, summed by ``key(segment)``, a name, if they have none of their own.

        Returns
        -------
        list of Total
            In the order in which the names come up; together all cycles.
        """
        totals = {}
        sums = np.zeros((len(Account), self.cycles + 1), np.int64)
        for account in Account:
            np.cumsum(self.activity == account, out=sums[account, 1:])
        for segment in self.segments:
            name = segment.name or key(segment)
            total = totals.setdefault(name, Total(name))
            total.count += segment.number is not None
            spent = sums[:, segment.end] - sums[:, segment.start]
            total.cycles = [before + int(count)
                            for before, count in zip(total.cycles, spent, strict=True)]
        return list(totals.values())

    def units(self):
        """Sums of the spans by unit and kind: (unit, kind, count, cycles from start to end)."""
        counts, cycles = Counter(), Counter()
        for span in self.spans:
            key = span.unit, self.kind(span.number)
            counts[key] += 1
            cycles[key] += span.end - span.start
        return [(unit.name, kind, count, cycles[unit, kind])
                for (unit, kind), count in counts.items()]

    def groups(self, key):
        """Neighbouring segments with an equal ``key(segment)``: (key, start, end)."""
        groups = []
        for segment in self.segments:
            if segment.number is not None:
                name = key(segment)
                if groups and groups[-1][0] == name:
                    groups[-1][2] = segment.end
                else:
                    groups.append([name, segment.start, segment.end])
        return [tuple(group) for group in groups]

    def buckets(self, values, count):
        """Sums of ``values`` over at most ``count`` pieces of the run: (cycles a piece, sums)."""
        size = max(1, -(-self.cycles // count))
        return size, np.add.reduceat(values, np.arange(0, self.cycles, size)).tolist()


def activity_spans(activity, limit):
    """An activity for each cycle, as at most ``limit`` spans: (start, end, cycles by cause).

    If it changes more often, short neighbours become one span; their cycles stay apart, so that the
    sums are exact whatever the limit is.
    """
    changes = np.flatnonzero(np.diff(activity)) + 1
    starts = [0, *changes.tolist()]
    lengths = np.diff([*starts, len(activity)]).tolist()
    causes = activity[starts].tolist()
    width = 1
    while len(spans := _merge(starts, lengths, causes, width)) > limit:
        width *= 2
    return spans


def _merge(starts, lengths, causes, width):
    """Join neighbours shorter than ``width`` until they are as long together."""
    spans, joint = [], False  # whether the last span may still grow
    for start, length, cause in zip(starts, lengths, causes, strict=True):
        short = length < width
        if not (joint and short):
            spans.append([start, start, [0] * len(Account)])
        span = spans[-1]
        span[1] = start + length
        span[2][cause] += length
        joint = span[1] - span[0] < width
    return [(start, end, tuple(cycles)) for start, end, cycles in spans]
