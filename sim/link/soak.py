"""Millions of packets over a link with errors, in a compiled simulation.

    python -m sim.link.soak --lanes 4 --rate 1e-4 --packets 1000000
"""

import argparse
import ctypes
import re
import sys
import tempfile
import time
from pathlib import Path

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

import dfx_rtl.verilog
from sim.engines.verilate import EngineError, Toolchain

from .bench import PAIR_CLOCKS, LineParameters, SoakBench
from .channel import error_threshold

__all__ = ["CompiledBench", "main"]

#: Time units of a period of the first clock.
_PERIOD = 100_000

_HARNESS = """
#include "VSystem.h"
#include "verilated.h"
static VerilatedContext context;
static VSystem *top;
extern "C" {
__attribute__((visibility("default"))) void start() { top = new VSystem(&context); }
@PORTS@
// Until so many packets have been received, so many cycles of a have passed, or one is wrong.
__attribute__((visibility("default")))
uint64_t run(uint64_t cycles, uint64_t packets, uint64_t period_a, uint64_t period_b) {
    static uint64_t next_a = 0, next_b = 0;
    uint64_t passed = 0;
    while (passed < cycles) {
        const uint64_t now = next_a < next_b ? next_a : next_b;
        const bool tick_a = next_a == now, tick_b = next_b == now;
        if (tick_a) { top->clk_a = 1; next_a += period_a; ++passed; }
        if (tick_b) { top->clk_b = 1; next_b += period_b; }
        top->eval();
        if (tick_a) top->clk_a = 0;
        if (tick_b) top->clk_b = 0;
        top->eval();
        if (top->wrong || top->failed || top->received_count >= packets) break;
    }
    return passed;
}
}
"""


class _System(wiring.Component):
    """A bench with its clocks as ports."""

    def __init__(self, bench):
        self._bench = bench
        super().__init__({"clk_a": In(1), "clk_b": In(1), **bench.signature.members})

    def elaborate(self, platform):
        m = Module()
        for clock, domains in PAIR_CLOCKS.items():
            for domain in domains:
                m.domains += ClockDomain(domain)
                m.d.comb += ClockSignal(domain).eq(getattr(self, f"clk_{clock}"))
        m.submodules.bench = bench = self._bench
        for name, member in bench.signature.members.items():
            inner, outer = Value.cast(getattr(bench, name)), Value.cast(getattr(self, name))
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


class CompiledBench:
    """A :class:`SoakBench`, compiled by Verilator and the machine's C++ compiler.

    Parameters
    ----------
    bench : :class:`SoakBench`
        What is simulated.
    ppm : :class:`float`
        By how much the clock of end b is slower.

    Raises
    ------
    :exc:`sim.engines.verilate.EngineError`
        If a tool is missing or fails.
    """

    def __init__(self, bench, *, ppm=0.0):
        toolchain = Toolchain()
        self._periods = _PERIOD, round(_PERIOD * (1 + ppm * 1e-6))
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            source = directory / "System.v"
            source.write_text(dfx_rtl.verilog.convert(_System(bench), "System", assertions=True))
            toolchain.translate(source, directory, [])
            header = (directory / "VSystem.h").read_text()
            ports = re.findall(r"VL_(IN|OUT)\w*\(&(\w+),", header)
            (directory / "harness.cpp").write_text(_HARNESS.replace("@PORTS@", "\n".join(
                f'__attribute__((visibility("default"))) uint64_t {"set" if way == "IN" else "get"}'
                f'_{name}(uint64_t value) {{ '
                + (f"return top->{name} = value; }}" if way == "IN" else f"return top->{name}; }}")
                for way, name in ports)))
            include = toolchain.verilator / "include"
            objects = []
            for path in [*directory.glob("*.cpp"), include / "verilated.cpp",
                         include / "verilated_threads.cpp"]:
                objects.append(directory / f"{path.stem}.o")
                toolchain.compile(path, objects[-1], False)
            library = directory / "soak.so"
            toolchain.link(objects, library)
            self._library = ctypes.CDLL(str(library))
        self._library.start()

    def _call(self, name, *arguments):
        function = getattr(self._library, name)
        function.restype = ctypes.c_uint64
        return function(*map(ctypes.c_uint64, arguments))

    def set(self, port, value):
        """Drive an input."""
        self._call(f"set_{port}", value)

    def get(self, port):
        """Read an output."""
        return self._call(f"get_{port}", 0)

    def run(self, cycles, packets=(1 << 32) - 1):
        """Run for a number of cycles, or until so many packets are received or one is wrong.

        Returns
        -------
        int
            Cycles of the clock of end a.
        """
        return self._call("run", cycles, packets, *self._periods)


def main(arguments=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m sim.link.soak", description=__doc__)
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="errors a bit")
    parser.add_argument("--burst", type=int, default=1, help="bits inverted by an error")
    parser.add_argument("--packets", type=int, default=1_000_000, help="in both directions")
    parser.add_argument("--longest", type=int, default=32, help="words of the longest packet")
    parser.add_argument("--fixed", action="store_true", help="all packets are of that length")
    parser.add_argument("--one-way", action="store_true", help="no packets from end b")
    parser.add_argument("--latency", type=int, default=40, help="cycles on the line")
    parser.add_argument("--pause", type=int, default=0, help="the gearbox pauses every so many")
    parser.add_argument("--ppm", type=float, default=0.0, help="end b is slower by so much")
    parser.add_argument("--stall", type=int, default=0, help="of 256 cycles, on all sides")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    line = LineParameters(latency=options.latency, skews=(2, 0, 5, 3), alignments=(7, 41, 0, 65),
                          pause=options.pause, seed=options.seed)
    bench = SoakBench(options.lanes, line, longest=options.longest, fixed=options.fixed)
    started = time.perf_counter()
    try:
        compiled = CompiledBench(bench, ppm=options.ppm)
    except EngineError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    print(f"built in {time.perf_counter() - started:.1f} s", flush=True)
    for port, value in (("one_way", options.one_way), ("stop", 1)):
        compiled.set(port, value)
    up_cycles = 0
    while not compiled.get("up") and not compiled.get("failed"):
        up_cycles += compiled.run(100)
    compiled.set("error", error_threshold(options.rate) | options.burst << 32)
    compiled.set("send_stall", options.stall)
    compiled.set("receive_stall", options.stall)
    compiled.set("stop", 0)
    started = time.perf_counter()
    cycles = compiled.run(1 << 40, options.packets)
    words = compiled.get("word_count")
    compiled.set("stop", 1)
    while compiled.get("received_count") != compiled.get("sent_count") \
            and not compiled.get("failed") and not compiled.get("wrong"):
        compiled.run(100)
    seconds = time.perf_counter() - started
    counts = {name: compiled.get(name) for name in (
        "sent_count", "received_count", "errors", "header_errors", "crc_errors", "retries")}
    offered = cycles * (1 if not options.pause else (options.pause - 1) / options.pause)
    print(f"up after about {up_cycles} cycles; {cycles} cycles in {seconds:.1f} s")
    print(", ".join(f"{name} {value}" for name, value in counts.items()))
    print(f"end b received {words} words: {words / offered:.4f} of the blocks offered to it")
    right = counts["sent_count"] == counts["received_count"] and not compiled.get("wrong") \
        and not compiled.get("failed")
    print("every packet arrived once, in order and right" if right else "WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
