"""A checkpoint of one of GPT-2's shapes with random weights, for those without a download.

    python scripts/make_checkpoint.py --shape gpt2-medium --out build/gpt2-medium --outliers 3000

The result is a directory in Hugging Face's layout, with a tokenizer: text goes in and comes out,
but it makes no sense. Weights are distributed as in a GPT-2 before training. The directory appears
when it is complete, and not before.
"""

import argparse
import math
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from dfx_rtl.gpt2.config import Gpt2Config
from dfx_rtl.gpt2.writer import write_byte_pair_tokenizer, write_config, write_weight_stream

__all__ = ["SHAPES", "main", "weight_pieces"]

#: emb, layers and heads of the four published models.
SHAPES = {"gpt2": (768, 12, 12), "gpt2-medium": (1024, 24, 16), "gpt2-large": (1280, 36, 20),
          "gpt2-xl": (1600, 48, 25)}
VOCABULARY, POSITIONS = 50257, 1024

#: Elements of a tensor that are made at a time.
PIECE = 1 << 22
#: Seconds between two lines of progress.
PROGRESS = 2.0


class InputError(ValueError):
    """Something that the user gave cannot be used."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}\n")


def _arguments():
    parser = _Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", required=True, choices=SHAPES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="directory to write; must not exist")
    parser.add_argument("--layers", type=int, metavar="N", help="fewer layers than the shape has")
    parser.add_argument("--outliers", type=float, default=0.0, metavar="SIZE",
                        help="plant outliers, so that residuals reach SIZE")
    parser.add_argument("--outlier-positions", type=int, default=1, metavar="N",
                        help="first positions that have them (default: 1, as in trained models)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"])
    return parser


def _distribution(config, name):
    """Mean and deviation of a tensor's values."""
    if name.endswith("bias"):
        return 0.0, 0.02
    if ".ln_" in name or name.startswith("ln_f"):
        return 1.0, 0.1
    if name == "wpe":
        return 0.0, 0.01
    if name.endswith("c_proj.weight"):  # what adds to the residual
        return 0.0, 0.02 / math.sqrt(2 * config.layers)
    return 0.0, 0.02


def _plant(values, size, positions):
    """Write outliers into the first rows of WPE: they stay in the residual through all layers."""
    emb = values.shape[1]
    values[:positions, emb // 3] = size
    values[:positions, emb // 2] = -size / 2


def weight_pieces(config, *, seed=0, outliers=0.0, outlier_positions=1, piece=PIECE):
    """All values of all tensors in the order of :meth:`.Gpt2Config.shapes`, piece by piece.

    Parameters
    ----------
    config : Gpt2Config
    seed : int
    outliers : float
        0 plants none. Otherwise one element of the residual has this size, and another one minus
        half of it, from the embedding on.
    outlier_positions : int
        How many positions have outliers, from the first one on.
    piece : int
        Elements of a piece, at least one row. The values do not depend on it.

    Yields
    ------
    (str, numpy array of float32)
        The tensor's name and its next rows.
    """
    random = np.random.default_rng(seed)
    for name, shape in config.shapes().items():
        mean, deviation = _distribution(config, name)
        columns = shape[-1]
        rows, step = math.prod(shape) // columns, max(1, piece // columns)
        for first in range(0, rows, step):
            values = random.standard_normal((min(step, rows - first), columns), np.float32)
            values *= np.float32(deviation)
            values += np.float32(mean)
            if outliers and name == "wpe":
                _plant(values, outliers, max(0, outlier_positions - first))
            yield name, values


def _with_progress(pieces, config):
    """The values alone; what has been made is shown now and then."""
    total, made, shown = config.parameters, 0, time.monotonic()
    for name, values in pieces:
        yield values
        made += values.size
        if time.monotonic() - shown >= PROGRESS:
            shown = time.monotonic()
            print(f"{made / 1e6:,.0f} of {total / 1e6:,.0f} M weights ({name})", file=sys.stderr,
                  flush=True)


def _check(options):
    """The model's sizes."""
    emb, layers, heads = SHAPES[options.shape]
    if options.layers is not None:
        if options.layers < 1:
            raise InputError(f"--layers must be at least 1, not {options.layers}")
        layers = options.layers
    if not 0 <= options.outliers <= 65504:
        raise InputError(f"--outliers must be in 0..65504, which binary16 can hold, "
                         f"not {options.outliers:g}")
    if not 1 <= options.outlier_positions <= POSITIONS:
        raise InputError(f"--outlier-positions must be in 1..{POSITIONS}, "
                         f"not {options.outlier_positions}")
    if options.seed < 0:
        raise InputError(f"--seed must not be negative, not {options.seed}")
    if options.out.exists() or options.out.is_symlink():
        raise InputError(f"{options.out} exists, expected a new directory")
    return Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=VOCABULARY,
                      positions=POSITIONS, end_of_text=VOCABULARY - 1)


def _write(path, config, options):
    """Write all files into the directory ``path``."""
    needed = config.parameters * np.dtype(options.dtype).itemsize
    free = shutil.disk_usage(path).free
    if free < needed:
        raise InputError(f"{options.out} needs {needed / 1e9:.1f} GB, "
                         f"{free / 1e9:.1f} GB are free")
    write_config(path, emb=config.emb, layers=config.layers, heads=config.heads,
                 vocabulary=config.vocabulary, positions=config.positions,
                 end_of_text=config.end_of_text, dtype=options.dtype)
    write_byte_pair_tokenizer(path, config.vocabulary)
    shapes = {f"{name}.weight" if name in ("wte", "wpe") else name: shape
              for name, shape in config.shapes().items()}
    pieces = weight_pieces(config, seed=options.seed, outliers=options.outliers,
                           outlier_positions=options.outlier_positions)
    write_weight_stream(path / "model.safetensors", shapes, _with_progress(pieces, config),
                        dtype=options.dtype)


def run(options):
    """Write the checkpoint that the options ask for."""
    config = _check(options)
    out = options.out.absolute()
    # Beside the final name, so that the last step is a rename.
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    begin = time.monotonic()
    partial.mkdir(parents=True)
    try:
        _write(partial, config, options)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    size = (out / "model.safetensors").stat().st_size
    print(f"{options.out}: {config.parameters / 1e6:,.0f} M weights in {options.dtype}, "
          f"{size / 1e6:,.0f} MB, {time.monotonic() - begin:.1f} s")


def main(arguments=None):
    """Run the command; returns its exit status."""
    options = _arguments().parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"error: {options.out}: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
