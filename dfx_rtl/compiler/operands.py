"""Which registers and memory an instruction touches, in its own words: field by field."""

from dataclasses import dataclass, field

from ..isa import Opcode

__all__ = ["Operand", "Operands", "groups_of", "operands_of"]

_ELEMENTWISE = (Opcode.ADD, Opcode.SUB, Opcode.MUL)
_SCALAR_PAIRS = (Opcode.SCALAR_ADD, Opcode.SCALAR_SUB, Opcode.SCALAR_MUL)


@dataclass(frozen=True)
class Operand:
    """A run of registers or tiles.

    Members
    -------
    field : str
        The field that names it.
    first, count : int
    """

    field: str
    first: int
    count: int

    @property
    def places(self):
        """All of them, as a range."""
        return range(self.first, self.first + self.count)


@dataclass
class Operands:
    """What an instruction reads and writes, at the longest text.

    Members
    -------
    chunk_reads, chunk_writes, scalar_reads, scalar_writes : list of Operand
    tile_reads, tile_writes : list of Operand
        From the layer's base if the instruction is ``layer_relative``.
    """

    chunk_reads: list = field(default_factory=list)
    chunk_writes: list = field(default_factory=list)
    scalar_reads: list = field(default_factory=list)
    scalar_writes: list = field(default_factory=list)
    tile_reads: list = field(default_factory=list)
    tile_writes: list = field(default_factory=list)


def groups_of(instruction, config, positions):
    """(row chunks, column groups) of a matrix instruction at the longest text."""
    rows = positions if instruction.rows_from_position else instruction.rows
    columns = positions if instruction.columns_from_position else instruction.columns
    return config.chunks(rows), config.groups(columns)


def operands_of(instruction, config, positions):
    """What an instruction touches.

    Parameters
    ----------
    instruction : Instruction
    config : CoreConfig
    positions : int
        Longest text in tokens.

    Returns
    -------
    Operands
    """
    operands = Operands()
    kind = instruction.format_name
    if kind == "matrix":
        _matrix(operands, instruction, config, positions)
    elif kind == "vector":
        _vector(operands, instruction, config, positions)
    elif kind == "dma":
        _dma(operands, instruction, config, positions)
    elif kind == "router":
        _router(operands, instruction)
    return operands


def _router(operands, instruction):
    """SYNC reads its own share, and writes what stands before and behind it."""
    own = Operand("source", instruction.source, instruction.chunks)
    end = instruction.destination + instruction.total
    before = Operand("destination", instruction.destination, own.first - instruction.destination)
    behind = Operand("destination", own.places.stop, end - own.places.stop)
    operands.chunk_reads += [entry for entry in (own,) if entry.count > 0]
    operands.chunk_writes += [entry for entry in (before, behind) if entry.count > 0]


def _matrix(operands, instruction, config, positions):
    chunks, groups = groups_of(instruction, config, positions)
    wide = -(-groups * config.lanes // config.tile)
    tiles = instruction.tiles
    if instruction.rows_from_position:
        tiles *= chunks
    elif instruction.columns_from_position:
        tiles *= groups
    operands.tile_reads.append(Operand("tile", instruction.tile, tiles))
    operands.chunk_reads.append(Operand("source", instruction.source, chunks))
    if instruction.bias_enable:
        operands.chunk_reads.append(Operand("bias", instruction.bias, wide))
    if instruction.residual_enable:
        operands.chunk_reads.append(Operand("residual", instruction.residual, wide))
    if instruction.scale_enable:
        operands.scalar_reads.append(Operand("scale", instruction.scale, 1))
    if instruction.write:
        operands.chunk_writes.append(Operand("destination", instruction.destination, wide))
    if instruction.maximum_enable:
        operands.scalar_writes.append(Operand("maximum", instruction.maximum, 1))


def _vector(operands, instruction, config, positions):
    opcode = instruction.opcode
    length = positions if instruction.length_from_position else instruction.length
    chunks = config.chunks(length)

    def read(*names):
        operands.chunk_reads.extend(
            Operand(name, getattr(instruction, name), chunks) for name in names)

    def read_scalar(*names):
        operands.scalar_reads.extend(
            Operand(name, getattr(instruction, name), 1) for name in names)

    if opcode in (*_ELEMENTWISE, Opcode.EXP, Opcode.MOVE, Opcode.LAYERNORM, Opcode.SOFTMAX):
        operands.chunk_writes.append(Operand("destination", instruction.destination, chunks))
        read("source1")
    elif opcode in (Opcode.ACCUM, Opcode.RSTD):
        read("source1")
    if opcode == Opcode.LAYERNORM:
        read("source2", "source3")
    if opcode in _ELEMENTWISE and not instruction.immediate_enable:
        if instruction.scalar_enable:
            read_scalar("scalar_source2")
        else:
            read("source2")
    if opcode in (Opcode.ACCUM, Opcode.SCALAR_MOVE, *_SCALAR_PAIRS, Opcode.RECIP,
                  Opcode.RECIP_SQRT, Opcode.SOFTMAX, Opcode.RSTD):
        operands.scalar_writes.append(
            Operand("scalar_destination", instruction.scalar_destination, 1))
    if opcode in (*_SCALAR_PAIRS, Opcode.RECIP, Opcode.RECIP_SQRT, Opcode.SOFTMAX) or (
            opcode == Opcode.SCALAR_MOVE and not instruction.immediate_enable):
        read_scalar("scalar_source1")
    if opcode in _SCALAR_PAIRS and not instruction.immediate_enable:
        read_scalar("scalar_source2")


def _dma(operands, instruction, config, positions):
    opcode, chunk, chunks = instruction.opcode, instruction.chunk, instruction.chunks
    if opcode == Opcode.LOAD:
        operands.chunk_writes.append(Operand("chunk", chunk, chunks))
    elif opcode == Opcode.STORE:
        operands.chunk_reads.append(Operand("chunk", chunk, chunks))
    elif opcode == Opcode.COPY:
        operands.tile_writes.append(Operand("tile", instruction.tile, instruction.tiles))
    else:
        if opcode == Opcode.STORE_KEY:
            used, tiles = chunks, config.groups(positions) * chunks
        else:
            used = -(-instruction.groups * config.lanes // config.tile)
            tiles = config.chunks(positions) * instruction.groups
        for head in range(instruction.heads):
            operands.chunk_reads.append(Operand("chunk", chunk + head * chunks, used))
            operands.tile_writes.append(
                Operand("tile", instruction.tile + head * instruction.tiles, tiles))
