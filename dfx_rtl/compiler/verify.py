"""The assembler's check: what a program must keep to, or the core would hang or compute nonsense.

The decoder in the core checks single instructions; this checks how they fit together.
"""

from ..isa import LENGTH, Opcode
from .errors import CompileError
from .operands import groups_of, operands_of

__all__ = ["verify"]

# What a segment that is not the last must not have: all of it follows the sum.
_OUTPUT = ("write", "arg_max", "logits", "maximum_enable", "scale_enable", "bias_enable",
           "residual_enable", "gelu", "mask")
_FLOW = (Opcode.TOKEN, Opcode.LAYER, Opcode.NEXT_LAYER, Opcode.LM_HEAD, Opcode.END)


def verify(instructions, config, *, positions, layers, layer_stride, core_count=1):
    """Check a program.

    Parameters
    ----------
    instructions : sequence of Instruction
    config : CoreConfig
    positions : int
        Longest text in tokens.
    layers, layer_stride : int
        Layers, and tiles from one layer's block to the next.
    core_count : int
        Cores in the ring.

    Raises
    ------
    CompileError
        With the number of the instruction and the field.
    """
    _check_flow(instructions)
    checker = _Checker(config, positions, layers, layer_stride, core_count)
    for number, instruction in enumerate(instructions):
        checker.check(number, instruction)


def _check_flow(instructions):
    flow = [entry.opcode for entry in instructions if entry.format_name == "flow"]
    if tuple(flow) != _FLOW or instructions[-1].opcode != Opcode.END:
        raise CompileError(
            f"the program's flow must be {', '.join(opcode.name for opcode in _FLOW)}, the last "
            f"instruction, not {', '.join(opcode.name for opcode in flow) or 'nothing'}")


class _Checker:
    def __init__(self, config, positions, layers, layer_stride, core_count):
        self._config = config
        self._positions = positions
        self._layers = layers
        self._layer_stride = layer_stride
        self._core_count = core_count
        self._written_chunks = set()
        self._written_scalars = set()
        self._layer_chunks = set()
        self._stored = []
        self._partial = 0  # columns whose sums wait in the accumulators
        self._candidate = False  # an arg max waits for ARG_MAX

    def check(self, number, instruction):
        if instruction.opcode in (Opcode.LAYER, Opcode.NEXT_LAYER):
            self._layer_chunks, self._stored = set(), []

        def fail(field, message):
            raise CompileError(
                f"instruction {number} ({instruction.opcode.name}), {field}: {message}")

        if instruction.format_name == "flow":
            self._check_open(fail)
        elif instruction.format_name == "router":
            self._check_router(instruction, fail)
        operands = operands_of(instruction, self._config, self._positions)
        if instruction.format_name == "matrix":
            self._check_matrix(instruction, fail)
        elif instruction.format_name == "vector":
            self._check_vector(instruction, operands, fail)
        elif instruction.format_name == "dma":
            self._check_dma(instruction, fail)
        self._check_ranges(operands, fail)
        self._check_tiles(instruction, operands, fail)
        self._check_registers(instruction, operands, fail)

    def _check_open(self, fail):
        """What a part of the program must not leave behind."""
        if self._partial:
            fail("opcode", "the sums of the segment before have not left the accumulators")
        if self._candidate:
            fail("opcode", "the arg max before has not gone round the ring")

    def _check_router(self, instruction, fail):
        if self._core_count == 1:
            fail("opcode", "a single core has no ring")
        if instruction.opcode == Opcode.ARG_MAX:
            if not self._candidate:
                fail("opcode", "no arg max stands before")
            self._candidate = False
            return
        own_end = instruction.source + instruction.chunks
        end = instruction.destination + instruction.total
        if not instruction.total:
            fail("total", "must be at least 1, not 0")
        if not instruction.destination <= instruction.source <= own_end <= end:
            fail("source", f"the own share {instruction.source}..{own_end - 1} must be in the "
                           f"vector {instruction.destination}..{end - 1}")
        for chunk in range(instruction.source, own_end):
            if chunk not in self._layer_chunks:
                fail("source", f"chunk {chunk} is sent before this layer has written it")

    def _check_matrix(self, instruction, fail):
        config = self._config
        chunks, groups = groups_of(instruction, config, self._positions)
        for field in ("rows", "columns"):
            if not getattr(instruction, f"{field}_from_position") \
                    and not getattr(instruction, field):
                fail(field, "must be at least 1, not 0")
        if instruction.token_rows != 1:
            fail("token_rows", f"must be 1, not {instruction.token_rows}")
        if not 1 <= instruction.block <= config.max_block:
            fail("block", f"must be in 1..{config.max_block}, not {instruction.block}")
        if instruction.rows_from_position and instruction.columns_from_position:
            fail("columns_from_position", "rows follow the position already")
        if instruction.rows_from_position:
            if groups > instruction.block:
                fail("block", f"{groups} column groups must fit one block where the rows follow "
                              f"the position, not {instruction.block}")
            expected = groups
        elif instruction.columns_from_position:
            if instruction.block != 1:
                fail("block", f"must be 1 where the columns follow the position, "
                              f"not {instruction.block}")
            expected = chunks
        else:
            expected = chunks * groups
        if instruction.tiles != expected:
            fail("tiles", f"must be {expected}, not {instruction.tiles}")
        if not (instruction.first and instruction.last) and groups > instruction.block:
            fail("block", f"{groups} column groups of a segment must fit one block, "
                          f"not {instruction.block}")
        if instruction.first and self._partial:
            fail("first", "the sums of the segment before have not left the accumulators")
        columns = self._positions if instruction.columns_from_position else instruction.columns
        if not instruction.first and self._partial != columns:
            fail("first", f"the segment before has {self._partial} columns, this one {columns}")
        self._partial = 0 if instruction.last else columns
        self._check_arg_max(instruction, fail)
        if not instruction.last:
            for field in _OUTPUT:
                if getattr(instruction, field):
                    fail(field, "nothing leaves a segment that is not the last")
        elif not (instruction.write or instruction.arg_max or instruction.logits
                  or instruction.maximum_enable):
            fail("write", "the result goes nowhere")

    def _check_arg_max(self, instruction, fail):
        end = instruction.arg_max_base + instruction.columns
        if not instruction.arg_max:
            if instruction.arg_max_base:
                fail("arg_max_base", f"must be 0 without arg_max, not {instruction.arg_max_base}")
        elif end >= 1 << LENGTH:
            fail("arg_max_base", f"the last index must be at most {(1 << LENGTH) - 2}, "
                                 f"not {end - 1}")
        elif self._core_count > 1:
            if self._candidate:
                fail("arg_max", "the one before has not gone round the ring")
            self._candidate = True

    def _check_vector(self, instruction, operands, fail):
        if (operands.chunk_reads or operands.chunk_writes) \
                and not (instruction.length or instruction.length_from_position):
            fail("length", "must be at least 1, not 0")

    def _check_dma(self, instruction, fail):
        config, opcode = self._config, instruction.opcode
        store = opcode in (Opcode.STORE_KEY, Opcode.STORE_VALUE)
        needed = {Opcode.COPY: ("tiles",), Opcode.STORE_KEY: ("chunks", "heads"),
                  Opcode.STORE_VALUE: ("chunks", "heads", "groups")}.get(opcode, ("chunks",))
        for field in needed:
            if not getattr(instruction, field):
                fail(field, "must be at least 1, not 0")
        if not store:
            alignment = config.chunk_bytes
            for field in ("address", "stride"):
                if getattr(instruction, field) % alignment:
                    fail(field, f"must be a multiple of {alignment}, "
                                f"not {getattr(instruction, field)}")
            size = instruction.tiles * config.tile_bits // 8 if opcode == Opcode.COPY \
                else instruction.chunks * config.chunk_bytes
            if instruction.address + size > config.ddr_bytes:
                fail("address", f"DDR ends at {config.ddr_bytes}, not "
                                f"{instruction.address + size}")

    def _check_ranges(self, operands, fail):
        for entries, limit, what in (
                ((*operands.chunk_reads, *operands.chunk_writes), self._config.vector_chunks,
                 "chunks"),
                ((*operands.scalar_reads, *operands.scalar_writes), self._config.scalars,
                 "scalars")):
            for entry in entries:
                if entry.first + entry.count > limit:
                    fail(entry.field, f"the register file holds {limit} {what}, not "
                                      f"{entry.first + entry.count}")

    def _check_tiles(self, instruction, operands, fail):
        reads, writes = operands.tile_reads, operands.tile_writes
        if not reads and not writes:
            return
        base = (self._layers - 1) * self._layer_stride if instruction.layer_relative else 0
        for entry in (*reads, *writes):
            if base + entry.first + entry.count > self._config.hbm_tiles:
                fail(entry.field, f"HBM holds {self._config.hbm_tiles} tiles, not "
                                  f"{base + entry.first + entry.count}")
            if instruction.layer_relative and entry.first + entry.count > self._layer_stride:
                fail(entry.field, f"a layer's block holds {self._layer_stride} tiles, not "
                                  f"{entry.first + entry.count}")
        if instruction.opcode in (Opcode.STORE_KEY, Opcode.STORE_VALUE):
            self._stored += [(entry.places, instruction.opcode) for entry in writes]
            for entry in operands.chunk_reads:
                for chunk in entry.places:
                    if chunk not in self._layer_chunks:
                        fail("chunk", f"chunk {chunk} is stored before this layer has written it")
        for entry in reads:
            overlapping = [(places, opcode) for places, opcode in self._stored
                           if places.start < entry.places.stop
                           and entry.places.start < places.stop]
            if instruction.key_value:
                # A fetch waits for the stores of its kind that stand before it, and only for those.
                kind = Opcode.STORE_VALUE if instruction.transposed else Opcode.STORE_KEY
                if not any(entry.first in places and entry.places[-1] in places and opcode == kind
                           for places, opcode in overlapping):
                    fail("tile", "K or V is fetched, but no store of this layer stands before")
            elif overlapping:
                fail("key_value", "K or V is fetched without waiting for its store")

    def _check_registers(self, instruction, operands, fail):
        for reads, writes, written, what in (
                (operands.chunk_reads, operands.chunk_writes, self._written_chunks, "chunk"),
                (operands.scalar_reads, operands.scalar_writes, self._written_scalars,
                 "scalar")):
            for entry in reads:
                for place in entry.places:
                    if place not in written:
                        fail(entry.field, f"{what} {place} is read before it is written")
            for entry in writes:
                for other in reads:
                    if entry.first < other.places.stop and other.first < entry.places.stop:
                        fail(entry.field, f"overlaps {other.field}: the claim would wait for its "
                                          f"own reader")
                written.update(entry.places)
                if what == "chunk":
                    self._layer_chunks.update(entry.places)
