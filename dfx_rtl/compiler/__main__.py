"""``python -m dfx_rtl.compiler``: compile a checkpoint, print the listing, write the images."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from ..config import load_config
from ..gpt2 import Checkpoint
from . import compile
from .listing import listing, memory_map
from .shape import LAYERNORMS

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
    parser.add_argument("--out", type=Path, help="directory for listing.txt, memory.txt, run.json, "
                                                 "hbm.npy (channels x bytes) and ddr.npy")
    options = parser.parse_args(arguments)
    try:
        compiled = compile(Checkpoint.load(options.checkpoint), load_config(options.config),
                           logits=options.logits, positions=options.positions,
                           directory=options.out, layernorm=options.layernorm)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.out is None:
        print(memory_map(compiled))
        print(listing(compiled), end="")
        return 0
    (options.out / "listing.txt").write_text(listing(compiled))
    (options.out / "memory.txt").write_text(memory_map(compiled))
    run = dataclasses.asdict(compiled.run)
    (options.out / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    for image in (compiled.hbm, compiled.ddr):
        image.flush()
    print(f"{options.out}: {len(compiled.instructions)} instructions, "
          f"{compiled.hbm.nbytes} bytes of HBM, {compiled.ddr.nbytes} bytes of DDR")
    return 0


if __name__ == "__main__":
    sys.exit(main())
