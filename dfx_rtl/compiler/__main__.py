"""``python -m dfx_rtl.compiler``: compile a checkpoint, print the listing, write the images."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from ..config import load_config
from ..gpt2 import Checkpoint
from . import compile, compile_cluster
from .listing import listing, memory_map
from .shape import LAYERNORMS
from .sharding import RINGS

__all__ = ["main"]


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dfx_rtl.compiler",
                                     description="Compile a GPT-2 checkpoint for a core.")
    parser.add_argument("checkpoint", help="directory in Hugging Face's layout")
    parser.add_argument("--config", default="nano",
                        help="name of a configuration, or a TOML file (default: nano)")
    parser.add_argument("--positions", type=int, help="longest text in tokens (default: the "
                                                      "model's)")
    parser.add_argument("--layernorm", default="explicit", choices=LAYERNORMS,
                        help="an instruction, or a part of the weights behind it (default: "
                             "explicit)")
    parser.add_argument("--logits", action="store_true", help="write the logits to DDR")
    parser.add_argument("--cores", type=int, default=1, help="cores in the ring, 1 to 8 (default: "
                                                             "1)")
    parser.add_argument("--ring", default=RINGS[0], choices=RINGS,
                        help=f"the ways that chunks travel (default: {RINGS[0]})")
    parser.add_argument("--out", type=Path, help="directory for listing.txt, memory.txt, run.json, "
                                                 "hbm.npy (channels x bytes) and ddr.npy; with "
                                                 "several cores, one of each in core0, core1, ...")
    options = parser.parse_args(arguments)
    try:
        models, directories = _compile(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for compiled, directory in zip(models, directories, strict=True):
        if directory is None:
            _print(compiled)
        else:
            _write(compiled, directory)
    return 0


def _compile(options):
    """The cores' programs, and the directory of each or None."""
    common = {"logits": options.logits, "positions": options.positions,
              "layernorm": options.layernorm, "ring": options.ring}
    checkpoint, config = Checkpoint.load(options.checkpoint), load_config(options.config)
    if options.cores == 1:
        return [compile(checkpoint, config, directory=options.out, **common)], [options.out]
    models = compile_cluster(checkpoint, config, options.cores, directory=options.out, **common)
    return models, [options.out and options.out / f"core{core}" for core in range(options.cores)]


def _print(compiled):
    if compiled.run.core_count > 1:
        print(f"core {compiled.run.core_id} of {compiled.run.core_count}")
    print(memory_map(compiled))
    print(listing(compiled), end="")


def _write(compiled, directory):
    (directory / "listing.txt").write_text(listing(compiled))
    (directory / "memory.txt").write_text(memory_map(compiled))
    run = dataclasses.asdict(compiled.run)
    (directory / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    for image in (compiled.hbm, compiled.ddr):
        image.flush()
    print(f"{directory}: {len(compiled.instructions)} instructions, "
          f"{compiled.hbm.nbytes} bytes of HBM, {compiled.ddr.nbytes} bytes of DDR")


if __name__ == "__main__":
    sys.exit(main())
