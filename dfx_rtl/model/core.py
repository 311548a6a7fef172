"""One core: its memories and units, and the flow of its program through a position."""

from typing import NamedTuple

import numpy as np

from ..arith.formats import bits32, canonical16
from ..isa import INSTRUCTION_BITS, Index, Instruction, Opcode
from .matrix import MatrixUnit
from .memory import Ddr, Hbm
from .state import State
from .trace import CacheWrite, Flags, LogitsWrite, Tag, TokenWrite
from .vector import VectorUnit

__all__ = ["Core", "NumericError", "Request"]

_INSTRUCTION_BYTES = INSTRUCTION_BITS // 8


class NumericError(ArithmeticError):
    """Every logit of a position is a NaN: there is no next token."""


class Request(NamedTuple):
    """What a core wants of the ring: one of its router instructions, and its tag."""

    instruction: Instruction
    tag: Tag


class Core:
    """Executes a compiled program up to where it needs the other cores.

    It reads the encoded program from its DDR, keeps its own copy of all memories, and knows
    nothing of GPT-2. Registers and caches are garbage until they are written.

    Parameters
    ----------
    compiled : CompiledModel
        Left as it is.
    on_write : callable or None
        Called with each record of :mod:`.trace`, in program order.

    Members
    -------
    run : RunParameters
    token : int
        The token at the position that comes next.
    candidate : Candidate
        The best token of the core's share; behind ARG_MAX that of all cores.
    """

    def __init__(self, compiled, on_write):
        self._config = config = compiled.config
        self.run = compiled.run
        self._on_write = on_write
        self._hbm = Hbm(compiled.hbm, config, compiled.caches)
        self._ddr = Ddr(compiled.ddr, compiled.ddr_bytes)
        self._state = State(config, on_write)
        self._matrix = MatrixUnit(self._state, self._hbm)
        self._vector = VectorUnit(self._state)
        self._program = self._decode()

    @property
    def flags(self):
        """The sticky flags of the run."""
        return self._state.flags

    @property
    def hbm(self):
        """The core's HBM."""
        return self._hbm

    def _decode(self):
        raw = self._ddr.read(self.run.program_base,
                             self.run.program_length * _INSTRUCTION_BYTES).tobytes()
        return [Instruction.decode(int.from_bytes(raw[start:start + _INSTRUCTION_BYTES], "little"))
                for start in range(0, len(raw), _INSTRUCTION_BYTES)]

    def logits(self, index):
        """The core's logits of the ``index``-th generated token, from DDR, if it writes them."""
        count = sum(entry.columns for entry in self._program
                    if entry.format_name == "matrix" and entry.logits)
        address = self.run.logits_base + index * self.run.logits_stride
        return self._ddr.read(address, 4 * count).view("<f4")

    def prompt_token(self, position):
        """A token of the prompt."""
        return int(self._ddr.read(self.run.token_base + 4 * position, 4).view("<u4")[0])

    def begin(self, prompt, first_position=0):
        """Start a run: setup. A generator, as :meth:`position`; ends with the address behind
        TOKEN."""
        self._state.flags = Flags()
        self._ddr.write(self.run.token_base, np.array(prompt, "<u4").view(np.uint8))
        self.token, self._output_index = None, 0
        self.candidate, self._token_tag = None, None
        return (yield from self._straight(0, Tag(first_position, 0, 0), 0)) + 1

    def position(self, address, position, wanted):
        """One pass over the program, from behind TOKEN.

        A generator: each :class:`Request` must be served before it goes on. It ends with the token
        that the pass makes, or None if none is ``wanted``.
        """
        layer, base = 0, 0
        while True:
            address = yield from self._straight(address, Tag(position, layer, 0), base)
            opcode = self._program[address].opcode
            address += 1
            if opcode == Opcode.LAYER:
                first = address
            elif opcode == Opcode.NEXT_LAYER:
                layer, base = layer + 1, base + self.run.layer_stride
                if layer != self.run.layers:
                    address = first
            elif opcode == Opcode.LM_HEAD and not wanted:
                return None
            elif opcode == Opcode.END:
                return self._emit() if wanted else None

    def read_share(self, request):
        """The chunks that a SYNC sends: a row a chunk."""
        tile, instruction = self._config.tile, request.instruction
        values = self._state.read(instruction.source, instruction.chunks * tile)
        return values.reshape(-1, tile)

    def write_share(self, request, chunk, values):
        """Write the chunks that a SYNC brings, from register ``chunk`` on."""
        self._state.write(request.tag, chunk, values.reshape(-1))

    def set_candidate(self, request, candidate):
        """The result of an ARG_MAX."""
        self.candidate, self._token_tag = candidate, request.tag

    def _emit(self):
        token, tag = self.candidate.token, self._token_tag
        if token < 0:
            raise NumericError(f"position {tag.position}: no logit is a number")
        self._ddr.write(self.run.output_base + 4 * self._output_index,
                        np.array([token], "<u4").view(np.uint8))
        self._output_index += 1
        if self._on_write:
            self._on_write(TokenWrite(tag, token))
        return token

    def _straight(self, address, tag, base):
        """Execute up to the next flow instruction; ends with its address."""
        while (kind := self._program[address].format_name) != "flow":
            instruction, place = self._program[address], tag._replace(instruction=address)
            if kind == "router":
                yield Request(instruction, place)
            else:
                self._execute(kind, instruction, place, base)
            address += 1
        return address

    def _execute(self, kind, instruction, tag, base):
        if kind == "matrix":
            logits, candidate = self._matrix.execute(instruction, tag, base)
            if logits is not None:
                self._write_logits(logits, tag)
            if candidate is not None:
                self.candidate, self._token_tag = candidate, tag
        elif kind == "vector":
            self._vector.execute(instruction, tag)
        else:
            self._dma(instruction, tag, base)

    def _write_logits(self, logits, tag):
        bits = bits32(logits)
        address = self.run.logits_base + self._output_index * self.run.logits_stride
        self._ddr.write(address, bits.astype("<u4").view(np.uint8))
        if self._on_write:
            self._on_write(LogitsWrite(tag, bits))

    def _dma(self, instruction, tag, base):
        opcode, state, config = instruction.opcode, self._state, self._config
        if opcode in (Opcode.STORE_KEY, Opcode.STORE_VALUE):
            self._store_cache(instruction, tag, base)
            return
        index = {Index.NONE: 0, Index.TOKEN: self.token, Index.POSITION: tag.position,
                 Index.LAYER: tag.layer}[instruction.index]
        address = instruction.address + instruction.stride * index
        if opcode == Opcode.COPY:
            size = instruction.tiles * config.tile_bits // 8
            tile = instruction.tile + (base if instruction.layer_relative else 0)
            self._hbm.write_tiles(tile, self._ddr.read(address, size).view("<u2").reshape(
                instruction.tiles, -1))
            self._matrix.forget()
        elif opcode == Opcode.LOAD:
            values = self._ddr.read(address, instruction.chunks * config.chunk_bytes)
            state.write(tag, instruction.chunk, canonical16(values.view("<f2")))
        else:
            values = state.read(instruction.chunk, instruction.chunks * config.tile)
            self._ddr.write(address, values.astype("<f2").view(np.uint8))

    def _store_cache(self, instruction, tag, base):
        """K: a position's values side by side, one lane; V: l of them, one row."""
        config, position = self._config, tag.position
        d, lanes = config.tile, config.lanes
        region = instruction.tile + (base if instruction.layer_relative else 0)
        for head in range(instruction.heads):
            source = instruction.chunk + head * instruction.chunks
            first = region + head * instruction.tiles
            if instruction.opcode == Opcode.STORE_KEY:
                parts, size = instruction.chunks, d
                first += position // lanes * parts
                element = position % lanes * d
            else:
                parts, size = instruction.groups, lanes
                first += position // d * parts
                element = position % d * lanes
            values = self._state.read(source, parts * size).view(np.uint16)
            for part in range(parts):
                run = values[part * size:(part + 1) * size]
                self._hbm.write(first + part, element, run)
                if self._on_write:
                    self._on_write(CacheWrite(tag, first + part, element, run.copy()))
