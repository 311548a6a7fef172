"""Verilog is rewritten so that it means the same, and less C++ comes of it."""

import subprocess

import pytest

from sim.engines.rewriting import (
    SHARING_FLAGS,
    set_constants,
    share_modules,
    skip_inputs,
    split_concatenations,
)
from sim.engines.verilate import Toolchain

LEAF = """
module \\Top.leaf (a, \\port$$1 , clk, hbm_clk, x);
  input [7:0] a;
  wire [7:0] a;
  input \\port$$1 ;
  input clk;
  input hbm_clk;
  output [7:0] x;
  reg [7:0] x = 0;
  always @(posedge clk)
    x <= x ^ (a + \\port$$1 );
endmodule
"""


def design(instances):
    lines = ["module Top (a, clk, x);", "  input [7:0] a;", "  input clk;",
             f"  output [{8 * instances - 1}:0] x;"]
    for index in range(instances):
        lines += [f"  \\Top.leaf  leaf{index} (", f"    .a(a ^ 8'h{index + 1:02x}),",
                  f"    .\\port$$1 (a[{index % 8}]),", "    .clk(clk),", "    .hbm_clk(clk),",
                  f"    .x(x[{8 * index + 7}:{8 * index}])", "  );"]
    return "\n".join([*lines, "endmodule"]) + "\n" + LEAF


def test_few_instances_are_left_alone():
    text = design(7)
    assert share_modules(text) == (text, False)


def test_many_instances_are_marked():
    text, shared = share_modules(design(8))
    assert shared
    assert text.count("no_inline_module") == 1
    assert "x);\n  /*verilator no_inline_module*/\n  input [7:0] a /*verilator" in text
    assert "  input \\port$$1  /*verilator public_flat_rw*/;\n" in text
    # Clocks, outputs, and the ports of the parent are as they were.
    assert text.count("public_flat_rw") == 2


@pytest.mark.parametrize("instances", [8, 24])
def test_the_code_does_not_grow_with_the_instances(tmp_path, instances):
    text, _ = share_modules(design(instances))
    source = tmp_path / "Top.v"
    source.write_text(text)
    tools = Toolchain()
    subprocess.run([tools.verilator / "bin" / "verilator_bin", "--cc", "--top-module", "Top",
                    "--Mdir", tmp_path, "--prefix", "VTop", "-O3", "-Wno-fatal", "-Wno-lint",
                    *SHARING_FLAGS, source], check=True, capture_output=True,
                   env={"VERILATOR_ROOT": str(tools.verilator)})
    code = "".join(path.read_text() for path in tmp_path.glob("VTop_Top__02eleaf__*.cpp")
                   if "Slow" not in path.name)
    assert code.count("\nvoid VTop_Top__02eleaf___nba_sequent") == 1


def test_constants_are_set_at_the_start():
    process = "  always @*\n    value[22:21] = 2'h3;\n"
    other = "  always @*\n    value[20:0] = x;\n  always @* begin\n    y = 1'h0;\n  end\n"
    assert set_constants(process + other) == "  initial\n    value[22:21] = 2'h3;\n" + other


def test_long_concatenations_are_split():
    pieces = [f"\\x$1 [{63 * index + 62}:{63 * index}], y[{index}]" for index in range(32)]
    text = f"  assign \\z$2  = {{ 3'h5, {', '.join(pieces)} }} & {{ mask, 1'h1 }};\n"
    lines = split_concatenations(text).splitlines()
    assert len(lines) == 1 + 65 + 1
    assert lines[0] == "  wire [2050:0] \\concatenation$1 ;"
    assert lines[1] == "  assign \\concatenation$1 [0:0] = y[31];"
    assert lines[2] == "  assign \\concatenation$1 [63:1] = \\x$1 [2015:1953];"
    assert lines[-2] == "  assign \\concatenation$1 [2050:2048] = 3'h5;"
    assert lines[-1] == "  assign \\z$2  = \\concatenation$1  & { mask, 1'h1 };"
    twice = split_concatenations(text + text)
    assert twice.count("wire [2050:0] \\concatenation$2 ;") == 1


@pytest.mark.parametrize("pieces", [["x[0]"] * 2047, ["x[1999:0]", "x[99:0]", "y"]])
def test_other_concatenations_are_left_alone(pieces):
    text = f"  assign z = {{ {', '.join(pieces)} }};\n"
    assert split_concatenations(text) == text


def test_the_evaluation_of_inputs_is_skipped():
    head = "void VTop___024root___eval_ico(VTop___024root* vlSelf) {\n"
    other = "void VTop___024root___eval_act(VTop___024root* vlSelf) {\n    x();\n}\n"
    assert skip_inputs(f"{head}    x();\n}}\n{other}") == \
        f"{head}    return;\n    x();\n}}\n{other}"
