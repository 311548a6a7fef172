"""How far the hardware's arithmetic is from GPT-2: the bit-exact machine against float64.

    python scripts/accuracy.py CHECKPOINT --text FILE --tokens 512
    python scripts/accuracy.py CHECKPOINT --random 16

The text is cut into windows of the model's positions, from the start of its last tenth; or the
tokens are random, for models that have no text. Reported are the root mean square error of the
logits, alone and relative to the logits' own root mean square, and, if the checkpoint has a
``golden.json``, how many of its greedy tokens the machine gives where the two best logits are
further apart than 0.05.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dfx_rtl.compiler import compile
from dfx_rtl.compiler.shape import LAYERNORMS
from dfx_rtl.config import load_config
from dfx_rtl.gpt2 import Checkpoint, Reference, Tokenizer
from dfx_rtl.model import Machine

NEAR_TIE = 0.05


def logit_error(machine, reference, ids, window):
    """Root mean square error of the logits, the same relative to theirs, the largest error, and
    the share of equal arg max."""
    squares, size, largest, equal = 0.0, 0.0, 0.0, 0
    for start in range(0, len(ids), window):
        part = ids[start:start + window]
        found, truth = machine.score(part), reference.logits(part)
        error = found.astype(np.float64) - truth
        squares += (error**2).sum()
        size += (truth**2).sum()
        largest = max(largest, np.abs(error).max())
        equal += (found.argmax(axis=1) == truth.argmax(axis=1)).sum()
    count = len(ids) * reference.config.vocabulary
    return np.sqrt(squares / count), np.sqrt(squares / size), largest, equal / len(ids)


def greedy_agreement(machine, prompts):
    """(equal, compared): greedy tokens after the same text, near ties left out."""
    equal = compared = 0
    for entry in prompts:
        ids, gaps = entry["greedy_ids"], entry["top2_gap"]
        # The text is the golden one, so that one difference does not make all that follow differ.
        text = entry["prompt_ids"] + ids
        best = machine.score(text).argmax(axis=1)[len(entry["prompt_ids"]) - 1:]
        for found, token, gap in zip(best, ids, gaps, strict=False):
            if gap > NEAR_TIE:
                compared += 1
                equal += int(found == token)
    return equal, compared


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", type=Path)
    source.add_argument("--random", type=int, metavar="N", help="N random tokens")
    source.add_argument("--ids", type=int, nargs="+", metavar="ID", help="these tokens")
    parser.add_argument("--tokens", type=int, default=512, help="of the text")
    parser.add_argument("--seed", type=int, default=0, help="of the random tokens")
    parser.add_argument("--weights", default="stored", choices=["stored", "binary16"],
                        help="what float64 computes with; they differ if the file has float32")
    parser.add_argument("--layernorm", default="explicit", choices=LAYERNORMS,
                        help="an instruction, or a part of the weights behind it")
    parser.add_argument("--config", default="u280", help="the figures are the same on every one")
    options = parser.parse_args(arguments)
    checkpoint = Checkpoint.load(options.checkpoint)
    ids = token_ids(options, checkpoint)
    # In files, since the images of a large model are as large as it is.
    with tempfile.TemporaryDirectory() as directory:
        compiled = compile(checkpoint, load_config(options.config), logits=True,
                           layernorm=options.layernorm, directory=directory)
        report(options, checkpoint, Machine(compiled), ids)
    return 0


def token_ids(options, checkpoint):
    """The tokens that the options ask for."""
    if options.ids is not None:
        return options.ids
    if options.random is not None:
        random = np.random.default_rng(options.seed)
        return random.integers(checkpoint.config.vocabulary, size=options.random).tolist()
    text = options.text.read_text(encoding="utf-8")
    # Encoding is not linear in the length; this many characters are enough for the tokens.
    part = text[len(text) * 9 // 10:][:16 * options.tokens]
    return Tokenizer.load(options.checkpoint).encode(part)[:options.tokens]


def report(options, checkpoint, machine, ids):
    """Measure and print."""
    begin = time.monotonic()
    error, relative, largest, equal = logit_error(
        machine, Reference(checkpoint, options.weights), ids, checkpoint.config.positions)
    seconds = (time.monotonic() - begin) / len(ids)
    print(f"{len(ids)} tokens: rms logit error {error:.5f}, relative {relative:.2e}, "
          f"largest {largest:.4f}, arg max equal {100 * equal:.1f} %, {seconds:.4f} s a token, "
          f"overflow {machine.flags.overflow}, invalid {machine.flags.invalid}")
    golden = options.checkpoint / "golden.json"
    if golden.exists():
        equal, compared = greedy_agreement(machine, json.loads(golden.read_text()))
        print(f"greedy: {equal} of {compared} tokens with a gap above {NEAR_TIE} agree")


if __name__ == "__main__":
    sys.exit(main())
