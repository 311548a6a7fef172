"""The compiler: a checkpoint and a core's parameters make a program and the memories' contents."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ..config import CoreConfig
from ..isa import Instruction, Opcode
from .errors import CompileError
from .images import fill_ddr, fill_hbm, new_image, program_words, reopened
from .layout import INSTRUCTION_BYTES, LOGIT_BYTES, MemoryLayout, Region, logits_stride, plan_layout
from .program import assemble
from .registers import RegisterMap, plan_registers
from .shape import Shape
from .verify import verify

__all__ = ["CompiledModel", "RunParameters", "compile", "compile_copy"]


@dataclass(frozen=True, kw_only=True)
class RunParameters:
    """What the host writes into the controller's registers, whatever the prompt is.

    Members
    -------
    program_base : int
        DDR byte address of the program.
    program_length : int
        Instructions.
    token_base, output_base : int
        DDR byte addresses of the prompt's and the generated token ids, 32 bits each.
    logits_base, logits_stride : int
        DDR byte address of the first generated token's logits, and bytes to the next one's. In a
        ring every core writes its share in its place: this is where the core's own begins.
    layer_stride : int
        Tiles of HBM from one layer's block to the next.
    layers, heads, emb, vocabulary, positions : int
        The model; ``positions`` is the longest text, prompt and answer.
    end_of_text : int or None
        The token that ends a run early.
    core_id, core_count : int
        The core's place in the ring.
    bidirectional : bool
        Chunks travel both ways round the ring.
    """

    program_base: int
    program_length: int
    token_base: int
    output_base: int
    logits_base: int
    logits_stride: int
    layer_stride: int
    layers: int
    heads: int
    emb: int
    vocabulary: int
    positions: int
    end_of_text: int | None
    core_id: int = 0
    core_count: int = 1
    bidirectional: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModel:
    """A program with everything that it needs.

    Members
    -------
    config : CoreConfig
    instructions : tuple of Instruction
    layout : MemoryLayout
    registers : RegisterMap
    hbm : numpy array of uint8, (channels, bytes)
        What each channel holds from its address 0 on. The caches are 0 in it.
    ddr : numpy array of uint8
        What DDR holds from address 0 on; the buffers for tokens and logits lie behind it.
    run : RunParameters
    shape : Shape or None
        The model's sizes; None if the program is not a model's.
    """

    config: CoreConfig
    instructions: tuple
    layout: MemoryLayout
    registers: RegisterMap
    hbm: np.ndarray = field(repr=False)
    ddr: np.ndarray = field(repr=False)
    run: RunParameters
    shape: Shape | None = None

    @property
    def words(self):
        """The encoded instructions, as integers of 256 bits."""
        return [instruction.encode() for instruction in self.instructions]

    @property
    def caches(self):
        """K and V in HBM, all layers: (first tile, tiles). Unwritten before a run."""
        return self.layout.caches

    @property
    def ddr_bytes(self):
        """Bytes of DDR in use, buffers included."""
        return self.layout.ddr_bytes


def compile(checkpoint, config, *, logits=False, positions=None, directory=None,
            layernorm="explicit", core_id=0, core_count=1, ring="bidirectional"):
    """Compile a GPT-2 for a core, or a core's share of it.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : CoreConfig
    logits : bool
        Have the core write the logits of each generated token to DDR.
    positions : int or None
        Longest text, prompt and answer, in tokens: the size of the caches. None is the model's.
    directory : str, pathlib.Path or None
        Keep the images in files there, ``hbm.npy`` and ``ddr.npy``, and map them: for models
        that are large. None keeps them in memory.
    layernorm : str
        ``explicit``: each LayerNorm is an instruction, and the products behind it wait for it.
        ``folded``: ln_1 and ln_2 are in the weights and biases of the products behind them, which
        start on the residual itself and need its standard deviation only as their sums leave.
    core_id, core_count : int
        The core's place in the ring, and how many cores it has, 1 to 8. See also
        :func:`.compile_cluster`.
    ring : str
        ``bidirectional`` or ``unidirectional``: the ways that chunks travel. Without others it has
        no meaning.

    Returns
    -------
    CompiledModel

    Raises
    ------
    CompileError
        If the model does not fit the core, ``layernorm`` or ``ring`` is unknown, there is no such
        core, or a folded weight is beyond binary16.
    CheckpointError
        If a weight is not finite in binary16.
    """
    model = checkpoint.config
    shape = Shape(config, model, model.positions if positions is None else positions,
                  layernorm, core_id, core_count, ring)
    layout = plan_layout(shape, logits=logits)
    registers, lag = plan_registers(shape)
    instructions = assemble(shape, layout, registers, lag, logits=logits)
    verify(instructions, config, positions=shape.positions, layers=model.layers,
           layer_stride=layout.layer_stride, core_count=core_count)
    paths = (None, None)
    if directory is not None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        paths = (directory / "hbm.npy", directory / "ddr.npy")
    hbm = new_image((config.channels, layout.hbm_tiles * config.word_bytes), paths[0])
    ddr = new_image((layout.image_bytes,), paths[1])
    fill_hbm(hbm, checkpoint, shape, layout)
    hbm = reopened(hbm)
    fill_ddr(ddr, checkpoint, shape, layout, instructions)
    ddr = reopened(ddr)
    return CompiledModel(
        config=config, instructions=tuple(instructions), layout=layout, registers=registers,
        hbm=hbm, ddr=ddr, shape=shape,
        run=RunParameters(
            program_base=layout["program"].start, program_length=len(instructions),
            token_base=layout["prompt"].start, output_base=layout["output"].start,
            logits_base=layout["logits"].start + shape.first_token * LOGIT_BYTES if logits else 0,
            logits_stride=logits_stride(shape) if logits else 0,
            layer_stride=layout.layer_stride, layers=model.layers, heads=model.heads,
            emb=model.emb, vocabulary=model.vocabulary, positions=shape.positions,
            end_of_text=model.end_of_text, core_id=core_id, core_count=core_count,
            bidirectional=ring == "bidirectional"))


def compile_copy(compiled, *, parts=1):
    """A program that brings the weights of a compiled model from DDR to HBM, and nothing else.

    It is run once, with a prompt of one token and nothing to generate, before the model's own
    program; on a core of a ring, too, as if it were alone. The staged weights stand behind the
    copy's program in DDR; the model's DDR image is written afterwards.

    Parameters
    ----------
    compiled : CompiledModel
    parts : int
        Instructions that each run of weights is cut into.

    Returns
    -------
    CompiledModel
        Its ``hbm`` is all zero: what is to be copied is in its ``ddr``.

    Raises
    ------
    CompileError
        If the weights do not fit DDR beside the program, or the program the instruction memory.
    """
    config, tile_bytes = compiled.config, compiled.config.tile_bits // 8
    if not isinstance(parts, int) or parts < 1:
        raise CompileError(f"parts must be a positive integer, not {parts!r}")
    program = Region("program", 0, config.instructions * INSTRUCTION_BYTES, "program")
    alignment = config.chunk_bytes
    address = -(-program.end // alignment) * alignment
    instructions, regions = [], [program]
    for start, count in _weight_runs(compiled):
        step = -(-count // parts)
        for first in range(0, count, step):
            tiles = min(step, count - first)
            instructions.append(Instruction(Opcode.COPY, address=address, tile=start + first,
                                            tiles=tiles))
            regions.append(Region(f"staged.{start + first}", address, tiles * tile_bytes,
                                  "constant"))
            address += tiles * tile_bytes
    instructions += [Instruction(opcode) for opcode in (
        Opcode.TOKEN, Opcode.LAYER, Opcode.NEXT_LAYER, Opcode.LM_HEAD, Opcode.END)]
    prompt = Region("prompt", address, alignment, "buffer")
    output = Region("output", prompt.end, alignment, "buffer")
    if output.end > config.ddr_bytes:
        raise CompileError(f"DDR of configuration {config.name!r} holds {config.ddr_bytes} bytes, "
                           f"the staged weights need {output.end}")
    if len(instructions) > config.instructions:
        raise CompileError(f"instruction memory of configuration {config.name!r} holds "
                           f"{config.instructions} instructions, the program has "
                           f"{len(instructions)}")
    ddr = np.zeros(address, np.uint8)
    words = program_words(instructions)
    ddr[:len(words)] = words
    for entry, region in zip(instructions, regions[1:], strict=False):
        part = compiled.hbm[:, entry.tile * config.word_bytes:][:, :entry.tiles
                                                               * config.word_bytes]
        part = part.reshape(config.channels, entry.tiles, config.word_bytes)
        ddr[region.start:region.end] = part.transpose(1, 0, 2).reshape(-1)
    run = {entry.name: getattr(compiled.run, entry.name) for entry in fields(RunParameters)}
    run |= {"program_base": 0, "program_length": len(instructions), "token_base": prompt.start,
            "output_base": output.start, "logits_base": 0, "logits_stride": 0, "layers": 1,
            "positions": 1, "end_of_text": None, "core_id": 0, "core_count": 1}
    layout = MemoryLayout((), compiled.layout.fixed, (*regions, prompt, output), 1,
                          compiled.layout.layer_stride, 0)
    verify(instructions, config, positions=1, layers=1, layer_stride=layout.layer_stride)
    return CompiledModel(config=config, instructions=tuple(instructions), layout=layout,
                         registers=RegisterMap(config), hbm=np.zeros_like(compiled.hbm), ddr=ddr,
                         run=RunParameters(**run))


def _weight_runs(compiled):
    """Runs of tiles without a cache in them: (first, tiles), absolute."""
    layout, runs, start = compiled.layout, [], 0
    for first, count in layout.caches:
        if first > start:
            runs.append((start, first - start))
        start = first + count
    if layout.hbm_tiles > start:
        runs.append((start, layout.hbm_tiles - start))
    return runs
