"""Cycles a second of both engines: ``python scripts/bench.py [CONFIG ...]``.

For each configuration: the size of the Verilog, the time to build the compiled engine from an empty
cache, and the cycles a second of each engine on the shipped model. Amaranth's simulator is left out
where it would take minutes. Prints a table for ``docs/performance.md``. Run it on an idle machine.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from dfx_rtl.compiler import compile
from dfx_rtl.config import load_config
from dfx_rtl.gpt2 import Checkpoint, Tokenizer
from sim.engines.verilate import Toolchain, build
from sim.simulation import Simulation
from sim.system import System

MODEL = Path(__file__).resolve().parent.parent / "models" / "shakespeare"
CONFIGS = ("nano", "small", "small8", "tall", "u280")
#: Configurations that Amaranth's simulator takes.
PYTHON = ("nano", "small")


def speed(compiled, engine, tokens):
    """Cycles, and cycles a second, of a run; building is not counted."""
    simulation = Simulation(compiled, engine)
    simulation.engine.prepare()
    prompt = Tokenizer.load(MODEL).encode("ROMEO:")
    started = time.perf_counter()
    result = simulation.generate(prompt, tokens)
    return result.cycles, result.cycles / (time.perf_counter() - started)


def measure(name):
    """One row of the table."""
    config = load_config(name)
    compiled = compile(Checkpoint.load(MODEL), config)
    row = [name, f"({config.tile}, {config.lanes})"]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        started = time.perf_counter()
        build(System(config))
        row.append(f"{time.perf_counter() - started:,.0f} s")
        cycles, rate = speed(compiled, "compiled", 32)
        row += [f"{cycles:,}", f"{rate:,.0f}"]
    row.append(f"{speed(compiled, 'amaranth', 2)[1]:,.0f}" if name in PYTHON else "-")
    return row


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS, metavar="CONFIG")
    names = parser.parse_args().configs
    Toolchain()  # its absence is one clear message, before anything is measured
    print("| configuration | (d, l) | build | cycles of 32 tokens | compiled, cycles/s | "
          "Amaranth, cycles/s |\n|---|---|---|---|---|---|")
    for name in names:
        print("| " + " | ".join(measure(name)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
