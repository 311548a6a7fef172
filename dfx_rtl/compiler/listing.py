"""A program as text that a person can read: registers and memory by name."""

from ..arith.formats import float32_from_bits
from ..isa import Index, Opcode
from .operands import operands_of

__all__ = ["listing", "memory_map"]

_ARITHMETIC = {Opcode.ADD: "+", Opcode.SUB: "-", Opcode.MUL: "*",
               Opcode.SCALAR_ADD: "+", Opcode.SCALAR_SUB: "-", Opcode.SCALAR_MUL: "*"}


class _Names:
    def __init__(self, compiled):
        self._compiled = compiled
        self._config = compiled.config

    def vector(self, first, count):
        """``name[a..b]``, or ``name`` for all of it."""
        vector = self._compiled.registers.find_chunk(first)
        if vector is None:
            return f"chunk[{first}..{first + count - 1}]"
        start = first - vector.first
        if start + count > vector.count:
            last = self._compiled.registers.find_chunk(first + count - 1)
            return f"{vector.name}..{last.name if last else first + count - 1}"
        if (start, count) == (0, vector.count):
            return vector.name
        return f"{vector.name}[{start}..{start + count - 1}]" if count > 1 \
            else f"{vector.name}[{start}]"

    def scalar(self, number):
        scalar = self._compiled.registers.find_scalar(number)
        return scalar.name if scalar else f"scalar[{number}]"

    def tiles(self, tile, layer_relative):
        region = self._compiled.layout.find_tile(tile, layer_relative)
        prefix = "layer." if layer_relative else ""
        if region is None:
            return f"{prefix}tile[{tile}]"
        offset = f"+{tile - region.start}" if tile != region.start else ""
        return f"{prefix}{region.name}{offset}"

    def address(self, address, stride, index):
        region = self._compiled.layout.find_address(address)
        if region is None:
            text = f"ddr[{address:#x}]"
        else:
            offset = address - region.start
            text = f"{region.name}+{offset:#x}" if offset else region.name
        return text if index == Index.NONE else f"{text}[{Index(index).name.lower()}]"


def _matrix(entry, names, operands):
    chunk = {operand.field: names.vector(operand.first, operand.count)
             for operand in (*operands.chunk_reads, *operands.chunk_writes)}
    rows = "position+1" if entry.rows_from_position else entry.rows
    columns = "position+1" if entry.columns_from_position else entry.columns
    step = "/step" if entry.rows_from_position or entry.columns_from_position else ""
    results = []
    if entry.write:
        results.append(chunk["destination"])
    if entry.maximum_enable:
        results.append(f"max {names.scalar(entry.maximum)}")
    results += [name for name in ("arg_max", "logits") if getattr(entry, name)]
    text = f"{', '.join(results) or 'accumulators'} = {chunk['source']} x " \
           f"{names.tiles(entry.tile, entry.layer_relative)}"
    if not entry.first:
        text += " + accumulators"
    if entry.scale_enable:
        text += f" * {names.scalar(entry.scale)}"
    for name in ("bias", "residual"):
        if name in chunk:
            text += f" + {chunk[name]}"
    notes = [f"{rows} x {columns}", f"block {entry.block}", f"{entry.tiles} tiles{step}"]
    notes += [name for name in ("gelu", "mask", "transposed", "key_value") if getattr(entry, name)]
    if entry.arg_max_base:
        notes.append(f"arg_max from {entry.arg_max_base}")
    return f"{text}  ; {', '.join(notes)}"


def _vector(entry, names, operands):
    opcode = entry.opcode
    results = [names.vector(operand.first, operand.count) for operand in operands.chunk_writes]
    results += [names.scalar(operand.first) for operand in operands.scalar_writes]
    sources = [names.vector(operand.first, operand.count) for operand in operands.chunk_reads]
    sources += [names.scalar(operand.first) for operand in operands.scalar_reads]
    if entry.immediate_enable:
        sources.append(f"{float32_from_bits(entry.immediate0):.9g}")
    joint = f" {_ARITHMETIC[opcode]} " if opcode in _ARITHMETIC else ", "
    text = f"{', '.join(results)} = {joint.join(sources)}"
    length = "position+1" if entry.length_from_position else entry.length
    return f"{text}  ; length {length}" if entry.length or entry.length_from_position else text


def _dma(entry, names, operands):
    opcode = entry.opcode
    if opcode == Opcode.COPY:
        return f"{names.tiles(entry.tile, entry.layer_relative)} = " \
               f"{names.address(entry.address, entry.stride, entry.index)}  ; {entry.tiles} tiles"
    if opcode in (Opcode.LOAD, Opcode.STORE):
        vector = names.vector(entry.chunk, entry.chunks)
        memory = names.address(entry.address, entry.stride, entry.index)
        sides = (vector, memory) if opcode == Opcode.LOAD else (memory, vector)
        return f"{sides[0]} = {sides[1]}  ; {entry.chunks} chunks"
    vector = names.vector(entry.chunk, entry.chunks * entry.heads)
    groups = f", {entry.groups} groups" if entry.groups else ""
    return f"{names.tiles(entry.tile, entry.layer_relative)}[position] = {vector}  ; " \
           f"{entry.heads} heads of {entry.chunks} chunks{groups}, {entry.tiles} tiles apart"


def _router(entry, names):
    if entry.opcode == Opcode.ARG_MAX:
        return "token = the best of all cores"
    own = names.vector(entry.source, entry.chunks) if entry.chunks else "nothing"
    return f"{names.vector(entry.destination, entry.total)} = {own} and the others' shares"


def listing(compiled):
    """The program of a :class:`.CompiledModel`, a line an instruction.

    A name with ``layer.`` counts from the base of the layer. ``; `` starts what is not named:
    sizes and flags.
    """
    names, lines = _Names(compiled), []
    for number, entry in enumerate(compiled.instructions):
        operands = operands_of(entry, compiled.config, compiled.run.positions)
        if entry.format_name == "matrix":
            text = _matrix(entry, names, operands)
        elif entry.format_name == "vector":
            text = _vector(entry, names, operands)
        elif entry.format_name == "dma":
            text = _dma(entry, names, operands)
        elif entry.format_name == "router":
            text = _router(entry, names)
        else:
            text = ""
        lines.append(f"{number:4}  {entry.opcode.name.lower():<12} {text}".rstrip())
    return "\n".join(lines) + "\n"


def memory_map(compiled):
    """Where everything stands, as text: HBM, DDR, registers."""
    config, layout, lines = compiled.config, compiled.layout, []

    def table(title, regions, pattern):
        lines.append(title)
        lines.extend(f"  {pattern.format(region.start, region.size)}  {region.name}"
                     for region in regions)

    tile_bytes = config.tile_bits // 8
    lines.append(f"HBM: {layout.hbm_tiles} of {config.hbm_tiles} tiles of {tile_bytes} bytes")
    table(f"layer, {layout.layers} times, every {layout.layer_stride} tiles: first tile, tiles",
          layout.layer, "{:10} {:9}")
    table("behind the layers: first tile, tiles", layout.fixed, "{:10} {:9}")
    lines.append(f"DDR: {layout.ddr_bytes} of {config.ddr_bytes} bytes")
    table("first byte, bytes", layout.ddr, "{:#12x} {:11}")
    registers = compiled.registers
    lines.append(f"vector registers: {registers.chunks_used} of {config.vector_chunks} chunks; "
                 f"first chunk, chunks")
    lines.extend(f"  {entry.first:10} {entry.count:9}  {entry.name}"
                 for entry in registers.vectors.values())
    lines.append(f"scalar registers: {len(registers.scalars)} of {config.scalars}")
    lines.extend(f"  {entry.first:10}            {entry.name}"
                 for entry in registers.scalars.values())
    return "\n".join(lines) + "\n"
