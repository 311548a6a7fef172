"""Modules with many instances stay one class of C++."""

import subprocess

import pytest

from sim.engines.sharing import SHARING_FLAGS, share_modules
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
