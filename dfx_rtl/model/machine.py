"""The machine: the loops over tokens and layers, the dma and router instructions."""

import numpy as np

from ..arith.formats import bits32, canonical16
from ..isa import INSTRUCTION_BITS, Index, Instruction, Opcode
from .matrix import MatrixUnit
from .memory import Ddr, Hbm
from .state import State
from .trace import CacheWrite, Flags, LogitsWrite, Tag, TokenWrite
from .vector import VectorUnit

__all__ = ["Machine", "NumericError", "RunError"]

_INSTRUCTION_BYTES = INSTRUCTION_BITS // 8


class RunError(ValueError):
    """A prompt or a count that the program cannot run."""


class NumericError(ArithmeticError):
    """Every logit of a position is a NaN: there is no next token."""


class Machine:
    """Executes a compiled program, one instruction after the other, bit for bit as the core does.

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
    flags : Flags
        The sticky flags of the run.
    """

    def __init__(self, compiled, *, on_write=None):
        self._config = config = compiled.config
        self._run = compiled.run
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
        """The machine's HBM."""
        return self._hbm

    def _decode(self):
        raw = self._ddr.read(self._run.program_base,
                             self._run.program_length * _INSTRUCTION_BYTES).tobytes()
        return [Instruction.decode(int.from_bytes(raw[start:start + _INSTRUCTION_BYTES], "little"))
                for start in range(0, len(raw), _INSTRUCTION_BYTES)]

    def run(self, prompt, output_count, *, first_position=0):
        """Generate tokens.

        Parameters
        ----------
        prompt : sequence of int
        output_count : int
            How many tokens to generate; 0 runs the prompt only.
        first_position : int
            Tokens of the prompt that this machine has processed in an earlier run.

        Returns
        -------
        list of int
            The generated ids, the end-of-text token included if it came.

        Raises
        ------
        RunError
            If the prompt is empty, has an id beyond the vocabulary, or is too long, or
            ``first_position`` is not one of it.
        NumericError
            If all logits are NaN.
        """
        return list(self.generate(prompt, output_count, first_position=first_position))

    def generate(self, prompt, output_count, *, first_position=0):
        """As :meth:`run`, but a generator: each id as soon as it is known."""
        prompt = self._check(prompt, output_count)
        if not 0 <= first_position < len(prompt):
            raise RunError(f"first_position must be in 0..{len(prompt) - 1}, "
                           f"not {first_position!r}")
        return self._tokens(prompt, output_count, first_position)

    def score(self, ids):
        """The logits behind every token of a text; nothing is generated.

        The LM head is executed at every position, which the hardware does not do in a prompt.

        Parameters
        ----------
        ids : sequence of int

        Returns
        -------
        numpy array of float32
            ``len(ids)`` rows of ``vocabulary`` logits.

        Raises
        ------
        RunError
            As :meth:`run`, or if the program does not write logits.
        """
        if not self._run.logits_stride:
            raise RunError("the program does not write logits: compile it with logits=True")
        ids = self._check(ids, 1)
        start = self._begin(ids)
        for position, token in enumerate(ids):
            self._token = token
            self._position(start, position, True)
        return np.stack([self.logits(index) for index in range(len(ids))])

    def logits(self, index):
        """The logits of the ``index``-th generated token, from DDR, if the program writes them."""
        address = self._run.logits_base + index * self._run.logits_stride
        return self._ddr.read(address, 4 * self._run.vocabulary).view("<f4")

    def _check(self, prompt, output_count):
        prompt, run = [int(token) for token in prompt], self._run
        if not prompt:
            raise RunError("the prompt is empty")
        for token in prompt:
            if not 0 <= token < run.vocabulary:
                raise RunError(f"token {token} of the prompt is not in 0..{run.vocabulary - 1}")
        if output_count < 0:
            raise RunError(f"output_count must not be negative, not {output_count}")
        needed = len(prompt) + max(output_count, 1) - 1
        if needed > run.positions:
            raise RunError(f"{len(prompt)} tokens of prompt and {output_count} to generate need "
                           f"{needed} positions, the program has {run.positions}")
        return prompt

    def _begin(self, prompt, first_position=0):
        """Start a run: setup; returns the address behind TOKEN."""
        self._state.flags = Flags()
        self._ddr.write(self._run.token_base, np.array(prompt, "<u4").view(np.uint8))
        self._token, self._output_index = None, 0
        self._found, self._token_tag = None, None
        return self._straight(0, Tag(first_position, 0, 0), 0) + 1

    def _tokens(self, prompt, output_count, first_position):
        """The run: setup, then the program between TOKEN and END once a position."""
        run = self._run
        start = self._begin(prompt, first_position)
        for position in range(first_position, len(prompt) + max(output_count, 1) - 1):
            if position < len(prompt):
                raw = self._ddr.read(run.token_base + 4 * position, 4)
                self._token = int(raw.view("<u4")[0])
            wanted = output_count > 0 and position >= len(prompt) - 1
            token = self._position(start, position, wanted)
            if wanted:
                yield token
                self._token = token
                if token == run.end_of_text:
                    return

    def _position(self, address, position, wanted):
        """One pass over the program; returns the token it makes."""
        run, layer, base = self._run, 0, 0
        while True:
            address = self._straight(address, Tag(position, layer, 0), base)
            opcode = self._program[address].opcode
            address += 1
            if opcode == Opcode.LAYER:
                first = address
            elif opcode == Opcode.NEXT_LAYER:
                layer, base = layer + 1, base + run.layer_stride
                if layer != run.layers:
                    address = first
            elif opcode == Opcode.LM_HEAD and not wanted:
                return None
            elif opcode == Opcode.END:
                if wanted:
                    self._emit(self._found, self._token_tag)
                return self._found

    def _emit(self, token, tag):
        if token < 0:
            raise NumericError(f"position {tag.position}: no logit is a number")
        self._ddr.write(self._run.output_base + 4 * self._output_index,
                        np.array([token], "<u4").view(np.uint8))
        self._output_index += 1
        if self._on_write:
            self._on_write(TokenWrite(tag, token))

    def _straight(self, address, tag, base):
        """Execute up to the next flow instruction; returns its address."""
        while self._program[address].format_name != "flow":
            self._execute(self._program[address], tag._replace(instruction=address), base)
            address += 1
        return address

    def _execute(self, instruction, tag, base):
        kind = instruction.format_name
        if kind == "matrix":
            logits, token = self._matrix.execute(instruction, tag, base)
            if logits is not None:
                self._write_logits(logits, tag)
            if token is not None:
                self._found, self._token_tag = token, tag
        elif kind == "vector":
            self._vector.execute(instruction, tag)
        elif kind == "dma":
            self._dma(instruction, tag, base)
        else:
            # With one core a synchronisation is a copy.
            values = self._state.read(instruction.source,
                                      instruction.chunks * self._config.tile)
            self._state.write(tag, instruction.destination, values)

    def _write_logits(self, logits, tag):
        bits = bits32(logits)
        address = self._run.logits_base + self._output_index * self._run.logits_stride
        self._ddr.write(address, bits.astype("<u4").view(np.uint8))
        if self._on_write:
            self._on_write(LogitsWrite(tag, bits))

    def _dma(self, instruction, tag, base):
        opcode, state, config = instruction.opcode, self._state, self._config
        if opcode in (Opcode.STORE_KEY, Opcode.STORE_VALUE):
            self._store_cache(instruction, tag, base)
            return
        index = {Index.NONE: 0, Index.TOKEN: self._token, Index.POSITION: tag.position,
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
