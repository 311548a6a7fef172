"""A bitstream for the ULX3S: ``python -m dfx_rtl.build --platform ulx3s --do-build``.

The tools are free, and come from pip: Yosys, nextpnr and ecppack, compiled by YoWASP.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from amaranth import *
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from dfx_rtl.gpt2 import Checkpoint, Tokenizer

from .design import CLOCK_HZ, CONFIG, Ulx3sDesign, compile_model

__all__ = ["NAME", "TOOLS", "Ulx3sBoard", "find_tools", "plan_files", "run_tools",
           "summarise"]

#: The name of the files.
NAME = "dfx_ulx3s"
#: The second router takes turns with wires that several nets want. With which seed of the placement
#: it comes to its end cannot be foreseen.
_NEXTPNR = "--timing-allow-fail --router router2 --seed 2"
#: Programs by the names of the variables with which the build script is told of them.
TOOLS = {"YOSYS": "yosys", "NEXTPNR_ECP5": "nextpnr-ecp5", "ECPPACK": "ecppack"}


class Ulx3sBoard(Elaboratable):
    """The design, on the pins of the board: the serial line of its USB converter.

    Parameters
    ----------
    design : Ulx3sDesign
    """

    def __init__(self, design):
        self._design = design

    def elaborate(self, platform):
        m = Module()
        m.submodules.design = design = self._design
        pins = platform.request("uart", 0, dir={
            pin.name: "-" for pin in platform.lookup("uart", 0).ios})
        m.submodules.receive = receive = io.Buffer("i", pins.rx)
        m.submodules.transmit = transmit = io.Buffer("o", pins.tx)
        m.d.comb += [design.receive.eq(receive.i), transmit.o.eq(design.transmit)]
        return m


def find_tools():
    """The programs, those of YoWASP first: a dict of environment variables.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    found = {}
    for variable, tool in TOOLS.items():
        beside = Path(sys.executable).with_name(f"yowasp-{tool}")
        program = str(beside) if beside.exists() else \
            shutil.which(f"yowasp-{tool}") or shutil.which(tool)
        if program is None:
            raise FileNotFoundError(f"{tool} is not installed: pip install 'dfx_rtl[ecp5]', or "
                                    f"build without --do-build")
        found[variable] = program
    return found


def plan_files(checkpoint):
    """The files of a build with a model in it, by name.

    Parameters
    ----------
    checkpoint : str or pathlib.Path
        The model; its tokens are single characters.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError, TokenizerError, CompileError, ValueError
        If the model cannot be read, does not fit, or has tokens of several characters.
    """
    compiled = compile_model(Checkpoint.load(checkpoint))
    tokenizer = Tokenizer.load(checkpoint)
    vocabulary = [tokenizer.decode([token]) for token in range(compiled.run.vocabulary)]
    platform = ULX3S_85F_Platform()
    tools = {variable: os.environ.get(variable) for variable in (*TOOLS, "OPENFPGALOADER")}
    try:
        # Amaranth looks for the tools even if it only writes the script that calls them.
        os.environ.update(dict.fromkeys(tools, sys.executable))
        plan = platform.build(Ulx3sBoard(Ulx3sDesign(compiled, vocabulary)), NAME,
                              do_build=False, debug_verilog=False,
                              nextpnr_opts=_NEXTPNR)
    finally:
        for variable, value in tools.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value
    files = {name: content for name, content in plan.files.items()
             if not name.endswith((".bat", ".debug.v", ".json"))}
    files["README.md"] = _readme(checkpoint)
    return files


def _readme(checkpoint):
    return "\n".join([
        f"# {NAME} for the ULX3S-85F", "",
        f"Configuration {CONFIG.name}, model {checkpoint}, {CLOCK_HZ / 1e6:g} MHz, in block RAM.",
        "", "| file | content |", "|---|---|",
        f"| `{NAME}.il` | the design, for Yosys |",
        f"| `{NAME}.lpf` | pins and the clock |",
        f"| `build_{NAME}.sh` | synthesis, placement, routing, bitstream: `{NAME}.bit` |",
        "", "Go on with `docs/ulx3s.md` of the project.", ""])


def run_tools(directory):
    """Make the bitstream; nextpnr's progress is in ``dfx_ulx3s.tim``.

    Parameters
    ----------
    directory : pathlib.Path
        Of the files.

    Returns
    -------
    str
        What came of it; also in ``summary.md``.

    Raises
    ------
    FileNotFoundError
        If a tool is missing.
    RuntimeError
        If one fails.
    """
    started = time.perf_counter()
    environment = {**os.environ, **find_tools()}
    result = subprocess.run(["sh", f"build_{NAME}.sh"], cwd=directory, env=environment,
                            check=False)
    bitstream = directory / f"{NAME}.bit"
    if result.returncode or not bitstream.exists():
        raise RuntimeError(f"the tools failed with status {result.returncode}: see "
                           f"{directory / NAME}.rpt and {directory / NAME}.tim")
    text = summarise((directory / f"{NAME}.tim").read_text(), time.perf_counter() - started)
    (directory / "summary.md").write_text(text)
    return text


def summarise(log, seconds):
    """Utilisation and clock, from nextpnr's log.

    Parameters
    ----------
    log : str
    seconds : float
        Of the whole build.

    Returns
    -------
    str
        Markdown.
    """
    used = re.findall(r"^Info:\s+(\w+): +(\d+)/ *(\d+) +\d+%", log, re.MULTILINE)
    clock = re.findall(r"Max frequency for clock +'[^']*': ([\d.]+) MHz", log)[-1]
    rows = [f"| {kind} | {count} | {total} | {int(count) / int(total):.0%} |"
            for kind, count, total in used if int(count)]
    return "\n".join([
        f"{clock} MHz, {CLOCK_HZ / 1e6:g} needed; {seconds:.0f} s of synthesis, placement and "
        f"routing", "", "| cells | used | of | |", "|---|---|---|---|", *rows, ""])
