"""Text from simulated cores: ``python -m sim.generate CHECKPOINT --prompt TEXT --tokens N``."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.cluster import cluster_roof, compile_cluster
from dfx_rtl.compiler.shape import LAYERNORMS
from dfx_rtl.compiler.sharding import MAX_CORES, RINGS
from dfx_rtl.config import CONFIGS, load_config
from dfx_rtl.gpt2 import Checkpoint, CheckpointError, TextStream, Tokenizer, TokenizerError
from dfx_rtl.host.driver import CoreError
from dfx_rtl.model import Machine
from dfx_rtl.model.cluster import Cluster

from .check import Check, Difference
from .engines.ring import Links
from .profile import Recording, Timeline
from .profile_page import ProfileFiles
from .simulation import ENGINES, LINKS, Simulation, check_link
from .waves import Waves

__all__ = ["main"]

#: Seconds between two progress lines.
PROGRESS = 0.5


class InputError(ValueError):
    """Something that the user gave cannot be used."""


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m sim.generate", description=__doc__)
    parser.add_argument("checkpoint", help="directory in the Hugging Face layout")
    parser.add_argument("--prompt", required=True, help="text to go on from")
    parser.add_argument("--tokens", type=int, required=True, metavar="N",
                        help="tokens to generate")
    parser.add_argument("--from-position", type=int, default=0, metavar="N",
                        help="have the numpy machine process the first N tokens of the prompt, "
                             "and the core the rest (default: 0)")
    parser.add_argument("--config", default="nano", metavar="NAME",
                        help=f"{', '.join(CONFIGS)}, or a .toml file (default: nano)")
    parser.add_argument("--cores", type=int, default=1, metavar="N",
                        help=f"cores in a ring, at most {MAX_CORES} (default: 1)")
    parser.add_argument("--ring", default=RINGS[0], choices=RINGS,
                        help=f"the ways round it that are used (default: {RINGS[0]})")
    parser.add_argument("--hop-latency", type=int, default=Links.hop_latency, metavar="C",
                        help="kernel cycles from a core to its neighbour "
                             f"(default: {Links.hop_latency})")
    parser.add_argument("--link", default=LINKS[0], choices=LINKS,
                        help="between cores: a delay, or the card's link layer (default: plain)")
    parser.add_argument("--bit-error-rate", type=float, default=0, metavar="R",
                        help="of the lines of the link aurora (default: 0)")
    parser.add_argument("--layernorm", default=LAYERNORMS[0], choices=LAYERNORMS,
                        help="an instruction, or folded into the weights (default: explicit)")
    parser.add_argument("--engine", default="auto", choices=[*sorted(ENGINES), "auto"],
                        help="what simulates (default: auto, the compiled one for more than nano)")
    parser.add_argument("--stalls", type=int, default=0, metavar="P",
                        help="chance in 1/256 that a memory withholds a handshake in a cycle")
    parser.add_argument("--seed", type=int, default=1, help="of the stalls (default: 1)")
    parser.add_argument("--check", action="store_true",
                        help="compare every write of every core with the numpy machine")
    parser.add_argument("--vcd", metavar="FILE", help="record waves, of the first core")
    parser.add_argument("--from-cycle", type=int, default=0, metavar="A",
                        help="first cycle of the waves and of the profile's picture")
    parser.add_argument("--to-cycle", type=int, metavar="B", help="last one")
    parser.add_argument("--json", metavar="FILE", help="write the result")
    parser.add_argument("--profile", metavar="NAME",
                        help="write where every cycle of the first core goes: NAME.json for "
                             "ui.perfetto.dev, NAME.html for a browser, NAME.svg")
    return parser


class Progress:
    """The text on standard output as it comes, and a line of progress on standard error."""

    def __init__(self, tokenizer, total, useful_tiles):
        self._stream = TextStream(tokenizer)
        self._total = total
        self._count = 0
        self._useful_tiles = useful_tiles
        self._token_cycle = None
        self._busy = ""
        self._last = (0.0, 0)
        self._line = ""
        self._live = sys.stderr.isatty()
        self.pieces = []

    def text(self, piece):
        """Show a piece of text."""
        self._erase()
        self.pieces.append(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()

    def token(self, token, cycle):
        """A token was generated, and seen at that cycle."""
        if self._token_cycle is not None and cycle > self._token_cycle:
            busy = self._useful_tiles(self._count) / (cycle - self._token_cycle)
            self._busy = f", busy {busy:.0%}"
        self._token_cycle = cycle
        self._count += 1
        self.text(self._stream.push(token))

    def wait(self, engine):
        """Show how far the simulation is, now and then."""
        now = time.perf_counter()
        since, cycles = self._last
        if now - since < PROGRESS or not self._live:
            return
        speed = (engine.cycle - cycles) / (now - since) if since else 0
        self._erase()
        self._line = (f"  [token {self._count + 1}/{self._total}, cycle {engine.cycle:,}, "
                      f"{speed:,.0f} cycles/s{self._busy}]")
        sys.stderr.write(self._line)
        sys.stderr.flush()
        self._last = (now, engine.cycle)

    def _erase(self):
        if self._line:
            sys.stderr.write("\b" * len(self._line) + " " * len(self._line)
                             + "\b" * len(self._line))
            sys.stderr.flush()
            self._line = ""

    def finish(self):
        """The end of the text."""
        self.text(self._stream.finish())


def _prepare(options, directory):
    """Everything that can be wrong with the input is found here, before anything is written."""
    config = load_config(options.config)
    checkpoint = Checkpoint.load(options.checkpoint)
    tokenizer = Tokenizer.load(options.checkpoint)
    prompt = tokenizer.encode(options.prompt)
    positions = checkpoint.config.positions
    if options.tokens < 1:
        raise InputError(f"--tokens must be at least 1, not {options.tokens}")
    if not 1 <= options.cores <= MAX_CORES:
        raise InputError(f"--cores must be in 1..{MAX_CORES}, not {options.cores}")
    Links(hop_latency=options.hop_latency)
    check_link(options.link, options.cores, options.bit_error_rate)
    if not 0 <= options.stalls < 256:
        raise InputError(f"--stalls must be in 0..255, not {options.stalls}")
    needed = len(prompt) + options.tokens - 1
    if needed > positions:
        raise InputError(f"prompt of {len(prompt)} tokens and {options.tokens} new ones need "
                         f"{needed} positions, the checkpoint has {positions}")
    if not 0 <= options.from_position < len(prompt):
        raise InputError(f"--from-position must be in 0..{len(prompt) - 1} for a prompt of "
                         f"{len(prompt)} tokens, not {options.from_position}")
    if options.json and not Path(options.json).resolve().parent.is_dir():
        raise InputError(f"JSON file {options.json} cannot be written: no such directory")
    waves = None
    if options.vcd:
        waves = Waves(options.vcd, options.from_cycle, options.to_cycle)
    profile = ProfileFiles(options.profile) if options.profile else None
    models = compile_cluster(checkpoint, config, options.cores, ring=options.ring,
                             directory=directory, layernorm=options.layernorm)
    return models, tokenizer, prompt, waves, profile


def _summary(result, models, prompt, options, engine, text):
    """What the JSON file holds.

    ``busy`` is: useful tiles over cycles, from the moment the first new token is
    known to the moment the last one is; with one token only, over the whole run. In a ring it is
    the mean of the cores'. ``counters`` are the first core's.
    """
    known = result.token_cycles
    last = len(prompt) + len(known) - 1
    if len(known) > 1:
        positions, cycles = range(len(prompt), last), known[-1] - known[0]
    else:
        positions, cycles = range(options.from_position, last), result.cycles
    useful = sum(cluster_roof(models, position, head=position >= len(prompt) - 1)
                 for position in positions)
    return {
        "tokens": result.tokens,
        "text": text,
        "prompt_tokens": prompt,
        "cycles": result.cycles,
        "cycles_per_token": cycles / max(1, len(positions)),
        "busy": useful / cycles,
        "counters": result.counters,
        "token_cycles": known,
        "overflow": result.overflow,
        "invalid": result.invalid,
        "config": models[0].config.name,
        "cores": options.cores,
        "ring": options.ring if options.cores > 1 else None,
        "hop_latency": options.hop_latency if options.cores > 1 else None,
        "link": options.link if options.cores > 1 else None,
        "line_errors": [core.line_error_count for core in result.cores],
        "core_counters": [core.counters for core in result.cores],
        "layernorm": options.layernorm,
        "engine": engine,
        "stalls": options.stalls,
        "seed": options.seed,
        "seconds": result.seconds,
    }


def _breakdown(counters):
    """The MPU's cycles by cause, in words; they add up to the whole."""
    total = counters["CYCLES"]
    causes = {name.removeprefix("MPU_").lower(): count for name, count in counters.items()
              if name != "CYCLES"}
    assert sum(causes.values()) == total
    return ", ".join(f"{name} {count / total:.1%}" for name, count in causes.items())


def run(options):
    """Generate, and print what comes; returns the summary."""
    # The images are files, mapped by all that use them: large models need them in memory once.
    with tempfile.TemporaryDirectory(prefix="dfx_rtl-", ignore_cleanup_errors=True) as directory:
        return _run(options, directory)


def _run(options, directory):
    models, tokenizer, prompt, waves, profile = _prepare(options, directory)
    simulation = Simulation(models, options.engine, stalls=options.stalls, seed=options.seed,
                            link=options.link, bit_error_rate=options.bit_error_rate,
                            hop_latency=options.hop_latency)
    simulation.engine.prepare(waves)
    progress = Progress(
        tokenizer, options.tokens,
        lambda count: cluster_roof(models, len(prompt) + count - 1))
    first, machine, check = options.from_position, None, None
    if options.check:
        check = Check(models, prompt, options.tokens, first_position=first)
        machine = check.machine
        simulation.engine.observe(check.observe)
    elif first:
        machine = Cluster(models) if len(models) > 1 else Machine(models[0])
        machine.run(prompt[:first], 0)
    if first:
        simulation.load_caches(machine)
    del machine  # of a large model, a gigabyte
    recording = None if profile is None else Recording()
    progress.text(options.prompt)
    progress.pieces.clear()
    result = simulation.generate(
        prompt, options.tokens, first_position=first,
        on_token=lambda token: progress.token(token, simulation.engine.cycle),
        on_wait=lambda: progress.wait(simulation.engine), waves=waves,
        recording=recording)
    progress.finish()
    if check is not None:
        check.finish(result)
    summary = _summary(result, models, prompt, options, simulation.engine.name,
                       "".join(progress.pieces))
    cores, of_core = summary["config"], ""
    if len(models) > 1:
        cores = (f"{len(models)} x {cores}, {options.ring} ring with hops of "
                 f"{options.hop_latency} cycles")
        of_core = " of core 0"
    print(f"\n\n{len(result.tokens)} tokens on {cores} ({summary['engine']} engine): "
          f"{summary['cycles']:,} cycles, {summary['cycles_per_token']:,.0f} a token, "
          f"busy {summary['busy']:.1%}, {result.seconds:.1f} s, "
          f"{result.cycles / result.seconds:,.0f} cycles/s\n"
          f"MPU{of_core}, whole run: {_breakdown(result.counters)}", file=sys.stderr)
    if check is not None:
        print(f"check: {check.count:,} writes equal the numpy machine's", file=sys.stderr)
        summary["checked_writes"] = check.count
    if options.json:
        Path(options.json).write_text(json.dumps(summary, indent=2) + "\n")
    if profile is not None:
        timeline = Timeline(models[0], len(prompt), recording, result, first_position=first)
        paths = profile.write(timeline, summary, options.from_cycle, options.to_cycle)
        print(f"profile: {', '.join(map(str, paths))}", file=sys.stderr)
    return summary


def main(arguments=None):
    """The command; returns the exit status: 2 for bad input, 1 for a core that failed."""
    options = _arguments().parse_args(arguments)
    try:
        run(options)
    except (InputError, CheckpointError, TokenizerError, CompileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (CoreError, Difference) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
