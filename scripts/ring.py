"""A token of a GPT-2 on a ring of cores: ``python scripts/ring.py --shape gpt2-xl --cores 4``.

Prints cycles, milliseconds at 200 MHz and how busy the MPUs are, for each number of cores, each way
round the ring and each hop latency that is asked for. The weights and caches are random; cycles do
not depend on them. Each ring runs with 2 and with 3 layers: what the third one adds is what any
other layer adds, and so the whole model follows. ``--whole`` runs all layers. Simulated cycles.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

from make_checkpoint import POSITIONS, SHAPES
from measuring import extrapolate, one_token, synthetic

from dfx_rtl.compiler import CompileError, compile_cluster
from dfx_rtl.compiler.shape import LAYERNORMS
from dfx_rtl.compiler.sharding import RINGS
from dfx_rtl.config import load_config
from dfx_rtl.gpt2 import Checkpoint

__all__ = ["measure"]


def measure(checkpoint, cores, *, ring, layernorm, hop_latency, config="u280", context=128):
    """One token on a ring.

    Parameters
    ----------
    checkpoint : str or pathlib.Path
        The model.
    cores : int
        Of the ring.
    ring, layernorm, config
        As of ``compile_cluster``.
    hop_latency : int
        Kernel cycles from a core to its neighbour.
    context : int
        As of :func:`measuring.one_token`.

    Returns
    -------
    Token
    """
    with tempfile.TemporaryDirectory() as directory:
        models = compile_cluster(Checkpoint.load(checkpoint), load_config(config), cores,
                                 ring=ring, directory=directory, layernorm=layernorm)
        return one_token(models, context, hop_latency=hop_latency)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="gpt2-xl", choices=SHAPES)
    parser.add_argument("--config", default="u280", metavar="NAME")
    parser.add_argument("--context", type=int, default=128, metavar="N")
    parser.add_argument("--cores", type=int, nargs="+", default=[4], metavar="N")
    parser.add_argument("--ring", nargs="+", default=RINGS[:1], choices=RINGS)
    parser.add_argument("--layernorm", nargs="+", default=list(LAYERNORMS), choices=LAYERNORMS)
    parser.add_argument("--hop-latency", type=int, nargs="+", default=[90], metavar="C")
    parser.add_argument("--layers", type=int, nargs=2, default=[2, 3], metavar=("A", "B"),
                        help="of the two runs (default: 2 3)")
    parser.add_argument("--whole", action="store_true", help="run every layer, do not extrapolate")
    return parser


def main(arguments=None):
    """Print the table."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    if not 2 <= options.context <= POSITIONS:
        parser.error(f"--context must be in 2..{POSITIONS}, not {options.context}")
    if not 0 < options.layers[0] < options.layers[1]:
        parser.error(f"--layers must be two numbers, the larger one behind, not {options.layers}")
    total = SHAPES[options.shape][1]
    layers = [total] if options.whole else options.layers
    print(f"{options.shape}, {options.config}, context {options.context}, {total} layers"
          + ("" if options.whole else f" from runs of {layers[0]} and {layers[1]}"))
    print("| cores | ring | hop | LayerNorm | cycles a token | ms at 200 MHz | busy |\n"
          "|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dfx_rtl-") as directory:
        checkpoints = list(synthetic(options.shape, layers, Path(directory)))
        for cores, ring, layernorm, hop in itertools.product(
                options.cores, options.ring, options.layernorm, options.hop_latency):
            started = time.perf_counter()
            try:
                runs = [measure(checkpoint, cores, ring=ring, layernorm=layernorm,
                                hop_latency=hop, config=options.config, context=options.context)
                        for checkpoint in checkpoints]
            except (CompileError, ValueError) as error:
                parser.error(str(error))
            cycles = extrapolate([run.cycles for run in runs], layers, total)
            roof = extrapolate([run.roof for run in runs], layers, total)
            print(f"| {cores} | {ring} | {hop} | {layernorm} | {cycles:,.0f} | "
                  f"{cycles / 2e5:.3f} | {100 * roof / cycles:.2f} % |", flush=True)
            print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
