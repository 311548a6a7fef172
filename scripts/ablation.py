"""What each mechanism earns: ``python scripts/ablation.py [--config u280] [VARIANT ...]``.

Runs one token of a GPT-2 at a context of 128 on a core from which one mechanism has been taken
away, and prints how busy the MPU is. The weights and caches are random; cycles do not depend on
them. Each variant is run with 2 and with 3 layers: what the third one adds is what any other layer
adds, and so the whole model follows. ``--whole`` runs all layers instead. Simulated cycles.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from dataclasses import dataclass, field

from make_checkpoint import POSITIONS, SHAPES
from measuring import extrapolate, one_token, synthetic

from dfx_rtl.compiler import compile
from dfx_rtl.compiler.images import program_words
from dfx_rtl.config import load_config
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.isa import Instruction, Opcode, Unit
from sim.handicap import HandicappedSystem

__all__ = ["VARIANTS", "Variant", "measure"]


@dataclass(frozen=True)
class Variant:
    """A core, a memory or a program with one thing changed.

    Members
    -------
    doc : str
        What is changed.
    config, handicap, timing : dict
        Changed fields of CoreConfig, of HandicapLayout and of the HBM's Timing.
    layernorm : str
        Option of the compiler.
    rewrite : callable or None
        Changes the program: a list of instructions, and a scalar register that is free.
    """

    doc: str
    config: dict = field(default_factory=dict)
    handicap: dict = field(default_factory=dict)
    timing: dict = field(default_factory=dict)
    layernorm: str = "explicit"
    rewrite: object = None


def _two_passes(program, scalar):
    """The sum of x in a pass of its own, before LAYERNORM makes its own pass for the squares."""
    result = []
    for entry in program:
        if entry.opcode == Opcode.LAYERNORM:
            result.append(Instruction(Opcode.ACCUM, source1=entry.source1, length=entry.length,
                                      scalar_destination=scalar))
        result.append(entry)
    return result


def _head_by_head(program, scalar):
    """Attention in the order of its definition: Q of two heads, then for each of them scores,
    softmax and context."""
    first = next(at for at, entry in enumerate(program) if entry.opcode == Opcode.STORE_KEY) + 1
    last = max(at for at, entry in enumerate(program)
               if entry.opcode == Opcode.MM and entry.key_value)
    part = program[first:last + 1]
    queries = [entry for entry in part if entry.opcode == Opcode.CONV1D]
    scores = [entry for entry in part if entry.opcode in (Opcode.MASKED_MM, Opcode.SOFTMAX)]
    contexts = [entry for entry in part if entry.opcode == Opcode.MM]
    others = [entry for entry in part if entry.unit in (Unit.LOAD, Unit.STORE)]
    each = len(contexts) // (len(scores) // 2)
    heads = [[*scores[2 * head:2 * head + 2], *contexts[each * head:each * (head + 1)]]
             for head in range(len(scores) // 2)]
    ordered = []
    for number, query in enumerate(queries):
        ordered.append(query)
        ordered += others if number == 0 else []
        for head in heads[2 * number:2 * number + 2]:
            ordered += head
    assert len(ordered) == len(part)
    return [*program[:first], *ordered, *program[last + 1:]]


VARIANTS = {
    "all": Variant("nothing"),
    "latency": Variant("results 50 cycles later, as from adder trees of 70 cycles",
                       handicap={"result_delay": 50}),
    "chaining": Variant("a product waits for its whole input vector",
                        handicap={"whole_vectors": 1}),
    "dead": Variant("16 dead cycles between matrix instructions", handicap={"dead_cycles": 16}),
    "rate": Variant("memory at 1 tile a cycle, not 1.125",
                    config={"kernel_period": 20, "hbm_period": 10}),
    "order": Variant("attention head by head", rewrite=_head_by_head),
    "passes": Variant("LayerNorm's statistics in two passes", rewrite=_two_passes),
    "ahead": Variant("the DMA runs 128 tiles ahead, not 512", config={"weight_tiles": 128}),
    "folded": Variant("LayerNorm behind the product", layernorm="folded"),
    "latency200": Variant("HBM latency of 200 kernel cycles", timing={"latency": 450,
                                                                     "write_latency": 450}),
    "latency300": Variant("HBM latency of 300 kernel cycles", timing={"latency": 675,
                                                                     "write_latency": 675}),
}

def _rewritten(compiled, rewrite):
    program = rewrite(list(compiled.instructions), len(compiled.registers.scalars))
    ddr = compiled.ddr.copy()
    words = program_words(program)
    start = compiled.layout["program"].start
    ddr[start:start + len(words)] = words
    return dataclasses.replace(
        compiled, instructions=tuple(program), ddr=ddr,
        run=dataclasses.replace(compiled.run, program_length=len(program)))


def measure(checkpoint, variant, *, config="u280", context=128):
    """Cycles and useful tiles of one token.

    Parameters
    ----------
    checkpoint : str or pathlib.Path
        The model.
    variant : Variant
        What is changed.
    config : str
        Name of the configuration.
    context : int
        As of :func:`measuring.one_token`.

    Returns
    -------
    (int, int)
        Cycles from the token before to this one, and the roof.
    """
    config = dataclasses.replace(load_config(config), **variant.config)
    with tempfile.TemporaryDirectory() as directory:
        compiled = compile(Checkpoint.load(checkpoint), config, directory=directory,
                           layernorm=variant.layernorm)
        if variant.rewrite is not None:
            compiled = _rewritten(compiled, variant.rewrite)
        token = one_token([compiled], context, timing=variant.timing,
                          system=HandicappedSystem(config), handicap=variant.handicap)
    return token.cycles, token.roof


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT",
                        help=f"{', '.join(VARIANTS)} (default: all of them)")
    parser.add_argument("--shape", default="gpt2-medium", choices=SHAPES)
    parser.add_argument("--config", default="u280", metavar="NAME")
    parser.add_argument("--context", type=int, default=128, metavar="N")
    parser.add_argument("--whole", action="store_true", help="run every layer, do not extrapolate")
    options = parser.parse_args(arguments)
    for name in options.variants:
        if name not in VARIANTS:
            parser.error(f"variant {name!r} is unknown: expected one of {', '.join(VARIANTS)}")
    if not 2 <= options.context <= POSITIONS:
        parser.error(f"--context must be in 2..{POSITIONS}, not {options.context}")
    try:
        load_config(options.config)
    except ValueError as error:
        parser.error(str(error))
    total = SHAPES[options.shape][1]
    layers = [total] if options.whole else [2, 3]
    print(f"{options.shape}, {options.config}, context {options.context}, "
          + (f"all {total} layers" if options.whole
             else f"{total} layers from runs of {layers[0]} and {layers[1]}"))
    print("| taken away or changed | cycles a token | ms at 200 MHz | busy | points |\n"
          "|---|---|---|---|---|")
    base = None
    with tempfile.TemporaryDirectory(prefix="dfx_rtl-") as directory:
        models = list(synthetic(options.shape, layers, directory))
        for name in options.variants or VARIANTS:
            variant, started = VARIANTS[name], time.perf_counter()
            runs = [measure(model, variant, config=options.config, context=options.context)
                    for model in models]
            cycles, roof = (extrapolate(values, layers, total)
                            for values in zip(*runs, strict=True))
            busy = 100 * roof / cycles
            base = busy if base is None else base
            print(f"| {variant.doc} | {cycles:,} | {cycles / 2e5:.3f} | {busy:.2f} % | "
                  f"{busy - base:+.2f} |", flush=True)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
