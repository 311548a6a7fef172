"""Talk to the netlist of a ULX3S after synthesis, and compare its text with the numpy machine's.

    python -m dfx_rtl.build --platform ulx3s --out build/ulx3s --do-build
    python scripts/netlist.py build/ulx3s --prompt RO --characters 4

What is simulated are the cells that go to placement: LUTs, flip-flops, carry chains by Yosys's own
models, block RAMs and multipliers by those of this file, since Yosys has none. Verilator compiles
it. The clock is the board's, and so is the serial line: 217 cycles a bit.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dfx_rtl.gpt2 import Checkpoint, Tokenizer
from dfx_rtl.model import Machine
from platforms.ulx3s.build import NAME, find_tools
from platforms.ulx3s.design import DIVISOR, compile_model
from sim.engines.verilate import EngineError, Toolchain

__all__ = ["Netlist", "cell_models", "main"]

_BLOCKS = 64
#: Bits of a port of block RAM that has a model.
_WIDTHS = {1, 2, 4, 18, 36}
_CYCLES_A_CHARACTER = 200_000

#: A LUT as a cell of Yosys's own, which it writes as a constant that is shifted.
_LUTS = """\
module LUT4 (input A, B, C, D, output Z);
    parameter [15:0] INIT = 16'h0000;
    \\$lut #(.WIDTH(4), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({D, C, B, A}), .Y(Z));
endmodule
"""
#: Yosys joins the cells' models with the netlist into one module.
_JOIN = """\
read_json {netlist}
delete =A:blackbox
chtype -set INPUT_PIN t:TRELLIS_IO r:DIR=INPUT %i
chtype -set OUTPUT_PIN t:TRELLIS_IO r:DIR=OUTPUT %i
read_verilog -overwrite +/ecp5/cells_sim.v cells.v
techmap -map luts.v
hierarchy -top {top}
proc
setattr -mod -unset whitebox -unset lib_whitebox =*
flatten -wb
rename -hide w:* x:* %d
opt_expr
opt_mem
opt_clean -purge
rename {top} System
cd System
rename clk25_0__io clock
rename uart_0__rx__io receive
rename uart_0__tx__io transmit
cd ..
write_verilog -noattr System.v
"""

_HARNESS = r"""
#include "VSystem.h"
#include "verilated.h"
#include <cstdint>
#include <cstring>
static VSystem *top;
static void cycle() {
    top->clock = 0; top->eval();
    top->clock = 1; top->eval();
}
extern "C" __attribute__((visibility("default")))
int64_t converse(const char *typed, int divisor, int64_t limit, int wanted, char *shown) {
    if (!top) { top = new VSystem; top->receive = 1; for (int i = 0; i < 100; i++) cycle(); }
    int64_t now = 0, next = 0, sample = -1;
    int bit = 0, count = 0, taken = 0, byte = 0, length = strlen(typed);
    for (; now < limit && count < wanted; now++) {
        // A character every 24 bits: the console echoes each before it takes the next.
        int place = now / divisor, at = place / 24, inside = place % 24;
        top->receive = at >= length || inside > 8 ? 1
            : inside == 0 ? 0 : (typed[at] >> (inside - 1)) & 1;
        cycle();
        if (sample < 0) {
            if (!top->transmit) { sample = now + divisor / 2 + divisor; taken = byte = 0; }
        } else if (now == sample) {
            if (taken < 8) { byte |= top->transmit << taken; taken++; sample += divisor; }
            else { shown[count++] = byte; sample = -1; }
        }
    }
    shown[count] = 0;
    return now;
}
"""


def _ports(letter):
    """The ports of one side of a block RAM."""
    return [*(f"AD{letter}{bit}" for bit in range(14)), *(f"DI{letter}{bit}" for bit in range(18)),
            *(f"{name}{letter}" for name in ("CE", "OCE", "CLK", "WE", "RST")),
            *(f"CS{letter}{bit}" for bit in range(3))]


def _bus(name, width):
    """Ports that are called by their number, as one value."""
    return "{" + ", ".join(f"{name}{bit}" for bit in reversed(range(width))) + "}"


def cell_models():
    """Verilog of block RAM, multiplier, pins and global reset, as far as the synthesis uses them.

    Source: Lattice FPGA-TN-02204 (memory) and FPGA-TN-02205 (DSP). A block RAM of two ports with 18
    bits or with 1, 2 or 4, where the port that writes reads what was there before, or of one that
    writes and one that reads 36; no output registers; a multiplier without registers.
    """
    blocks = range(_BLOCKS)
    inputs = ", ".join(f"input {port}" for side in "AB" for port in _ports(side))
    outputs = ", ".join(f"output DO{side}{bit}" for side in "AB" for bit in range(18))
    parameters = ", ".join([
        *(f"parameter [319:0] INITVAL_{block:02X} = 320'd0" for block in blocks),
        "parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18",
        *(f'parameter {name} = ""' for name in (
            "REGMODE_A", "REGMODE_B", "RESETMODE", "ASYNC_RESET_RELEASE", "CSDECODE_A",
            "CSDECODE_B", "CLKAMUX", "CLKBMUX", "WRITEMODE_A", "WRITEMODE_B", "GSR"))])
    start = "\n".join(
        f"        words[{16 * block + word}] = INITVAL_{block:02X}[{20 * word} +: 18];"
        for block in blocks for word in range(16))

    def side(letter):
        return f"""
    wire [13:0] ad{letter} = {_bus("AD" + letter, 14)};
    wire [17:0] di{letter} = {_bus("DI" + letter, 18)};
    reg [17:0] do{letter};
    assign {_bus("DO" + letter, 18)} = do{letter};
    if (DATA_WIDTH_{letter} == 18) begin
        always @(posedge CLK{letter}) if (CE{letter}) do{letter} <= words[ad{letter}[13:4]];
        always @(posedge CLK{letter}) begin
            if (CE{letter} & WE{letter} & ad{letter}[0])
                words[ad{letter}[13:4]][8:0] <= di{letter}[8:0];
            if (CE{letter} & WE{letter} & ad{letter}[1])
                words[ad{letter}[13:4]][17:9] <= di{letter}[17:9];
        end
    end""" + "".join(narrow(letter, width) for width in (1, 2, 4))

    def narrow(letter, width):
        # Of each nine bits the last is not used.
        lowest = width.bit_length() - 1
        parts = [(number, 9 * (number * width // 8) + number * width % 8)
                 for number in range(16 // width)]
        word = f"words[ad{letter}[13:4]]"
        reads = "\n".join(f"            {number}: do{letter} <= {word}[{place} +: {width}];"
                          for number, place in parts)
        writes = "\n".join(
            f"            if (CE{letter} & WE{letter} & ad{letter}[3:{lowest}] == {number})\n"
            f"                {word}[{place} +: {width}] <= di{letter}[{width - 1}:0];"
            for number, place in parts)
        return f"""
    if (DATA_WIDTH_{letter} == {width}) begin
        always @(posedge CLK{letter}) if (CE{letter}) case (ad{letter}[3:{lowest}])
{reads}
        endcase
        always @(posedge CLK{letter}) begin
{writes}
        end
    end"""

    wide = """
    if (DATA_WIDTH_A == 36) begin
        always @(posedge CLKA) if (CEA & WEA) begin
            if (adA[0]) words[{adA[13:5], 1'b0}][8:0] <= diA[8:0];
            if (adA[1]) words[{adA[13:5], 1'b0}][17:9] <= diA[17:9];
            if (adA[2]) words[{adA[13:5], 1'b1}][8:0] <= diB[8:0];
            if (adA[3]) words[{adA[13:5], 1'b1}][17:9] <= diB[17:9];
        end
    end
    if (DATA_WIDTH_B == 36) begin
        always @(posedge CLKB) if (CEB) begin
            doA <= words[{adB[13:5], 1'b0}];
            doB <= words[{adB[13:5], 1'b1}];
        end
    end"""
    operands = ", ".join(f"input {name}{bit}" for name in "ABC" for bit in range(18))
    product = ", ".join(f"output P{bit}" for bit in range(36))
    return f"""\
module DP16KD #({parameters}) ({inputs}, {outputs});
    reg [17:0] words [0:1023];
    initial begin
{start}
    end{side("A")}{side("B")}{wide}
endmodule
module MULT18X18D ({operands}, input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, {product});
    wire signed [18:0] a = {{SIGNEDA & A17, {_bus("A", 18)}}};
    wire signed [18:0] b = {{SIGNEDB & B17, {_bus("B", 18)}}};
    wire signed [37:0] p = a * b;
    assign {_bus("P", 36)} = p[35:0];
endmodule
module INPUT_PIN #(parameter DIR = "") (input B, input I, input T, output O);
    assign O = B;
endmodule
module SGSR (input CLK, input GSR);
endmodule
module OUTPUT_PIN #(parameter DIR = "") (output B, input I, input T, output O);
    assign B = I;
endmodule
"""


def _check_widths(netlist):
    """Raise ``EngineError`` for a block RAM in a mode that has no model."""
    for name, cell in netlist["modules"][NAME]["cells"].items():
        if cell["type"] == "DP16KD":
            widths = [int(cell["parameters"][f"DATA_WIDTH_{letter}"], 2) for letter in "AB"]
            if not set(widths) <= _WIDTHS:
                raise EngineError(f"block RAM {name} has ports of {widths} bits: there are models "
                                  f"of {sorted(_WIDTHS)}")


class Netlist:
    """A synthesised board, compiled.

    Parameters
    ----------
    file : pathlib.Path
        The netlist, as Yosys writes it for nextpnr.
    progress : callable
        Is told the name of each step as it begins.

    Raises
    ------
    EngineError
        If a tool is missing or fails.
    """

    def __init__(self, file, progress=lambda step: None):
        toolchain = Toolchain()
        # Not in the system's directory for temporary files: YoWASP's programs have one of their
        # own in its place.
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".netlist-") as directory:
            directory = Path(directory).resolve()
            progress("joining the netlist with the models of its cells")
            content = file.read_bytes()
            _check_widths(json.loads(content))
            (directory / "netlist.json").write_bytes(content)
            (directory / "cells.v").write_text(cell_models())
            (directory / "luts.v").write_text(_LUTS)
            (directory / "join.ys").write_text(_JOIN.format(netlist="netlist.json", top=NAME))
            done = subprocess.run([find_tools()["YOSYS"], "-q", "-s", "join.ys"], cwd=directory,
                                  capture_output=True, text=True, check=False)
            if done.returncode:
                raise EngineError(f"Yosys failed with status {done.returncode}: {done.stderr}")
            progress("translating to C++")
            toolchain.translate(directory / "System.v", directory, ["-Wno-fatal", "-Wno-lint"])
            (directory / "harness.cpp").write_text(_HARNESS)
            include = toolchain.verilator / "include"
            sources = [*directory.glob("*.cpp"), include / "verilated.cpp",
                       include / "verilated_threads.cpp"]
            objects = [directory / f"{path.stem}.o" for path in sources]
            progress(f"compiling {len(sources)} files")
            # A run is short, and the compiler's work long: nothing is optimised.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda path, target: toolchain.compile(
                    path, target, False, optimise=False), sources, objects))
            toolchain.link(objects, directory / "netlist.so")
            self._library = ctypes.CDLL(str(directory / "netlist.so"))
        self._library.converse.restype = ctypes.c_int64

    def converse(self, typed, wanted, divisor=DIVISOR):
        """Type a text, and wait for what comes.

        Parameters
        ----------
        typed : str
        wanted : int
            Characters to wait for, the echo among them.
        divisor : int
            Cycles a bit.

        Returns
        -------
        str
            What came.
        int
            Cycles.
        """
        shown = ctypes.create_string_buffer(wanted + 1)
        limit = (len(typed) + wanted) * _CYCLES_A_CHARACTER
        cycles = self._library.converse(typed.encode("latin-1"), divisor, ctypes.c_int64(limit),
                                        wanted, shown)
        return shown.value.decode("latin-1"), cycles


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="of the build")
    parser.add_argument("--prompt", default="RO", metavar="TEXT")
    parser.add_argument("--characters", type=int, default=4, metavar="N")
    parser.add_argument("--checkpoint", default="models/shakespeare", metavar="DIR",
                        help="the model that is in the bitstream")
    options = parser.parse_args(arguments)
    started = time.perf_counter()

    def progress(step):
        print(f"{time.perf_counter() - started:.0f} s: {step}", file=sys.stderr)

    try:
        tokenizer = Tokenizer.load(options.checkpoint)
        compiled = compile_model(Checkpoint.load(options.checkpoint))
        prompt = tokenizer.encode(options.prompt)
        expected = options.prompt + tokenizer.decode(
            Machine(compiled).run(prompt, options.characters))
        netlist = Netlist(options.directory / f"{NAME}.json", progress)
        progress("talking to it")
        found, cycles = netlist.converse(f"{options.prompt}\r", len(expected))
    except (OSError, ValueError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress(f"{cycles:,} cycles")
    same = found == expected
    print(f"the netlist: {found!r}\nthe numpy machine: {expected!r}\n"
          + ("the same" if same else "NOT the same"))
    return not same


if __name__ == "__main__":
    sys.exit(main())
