import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl import build
from dfx_rtl.config import CONFIGS
from dfx_rtl.verilog import parse_modules

ROOT = Path(__file__).parent.parent
FILES = ["dfx_core.v", "summary.json", "summary.md"]


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """The directory that a build of nano wrote."""
    directory = tmp_path_factory.mktemp("build") / "deep" / "nano"
    assert build.main(["--config", "nano", "--out", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def script():
    """The lint script, as a module."""
    spec = importlib.util.spec_from_file_location("lint_verilog", ROOT / "scripts/lint_verilog.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Small(wiring.Component):
    """In place of a core, where the core does not matter."""

    i: In(3)
    o: Out(3)

    def __init__(self, config):
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        hbm = Signal(3)
        m.d.hbm += hbm.eq(self.i)
        m.d.sync += self.o.eq(hbm)
        return m


@pytest.fixture
def small(monkeypatch):
    """Build something small."""
    monkeypatch.setattr(build, "Core", Small)
    monkeypatch.setattr(build, "core_ports", lambda core, config: {
        "i": (core.i, "input"), "o": (core.o, "output")})


def test_files(nano):
    assert sorted(file.name for file in nano.iterdir()) == FILES
    data = json.loads((nano / "summary.json").read_text())
    assert data["files"] == {"dfx_core.v": (nano / "dfx_core.v").stat().st_size}
    assert list(data["seconds"]) == ["elaborating", "converting", "counting", "writing"]
    assert data["configuration"]["tile"] == CONFIGS["nano"].tile
    text = (nano / "dfx_core.v").read_text()
    assert str(ROOT) not in text and "(* src" not in text and "\nmodule dfx_core (" in text


def test_ports(nano):
    data = json.loads((nano / "summary.json").read_text())
    ports = {item["name"]: (item["direction"], item["width"]) for item in data["ports"]}
    for name, port in {
        "clk": ("input", 1), "rst": ("input", 1), "hbm_clk": ("input", 1), "hbm_rst": ("input", 1),
        "interrupt": ("output", 1),
        "m_axi_hbm_00_araddr": ("output", 24), "m_axi_hbm_01_rdata": ("input", 64),
        "m_axi_hbm_01_arlen": ("output", 4), "m_axi_ddr_awaddr": ("output", 24),
        "m_axi_ddr_awlen": ("output", 8), "m_axi_ddr_wstrb": ("output", 16),
        "s_axi_host_awaddr": ("input", 9), "s_axi_host_rdata": ("output", 32),
        "m_axis_link_next_tdata": ("output", 150), "m_axis_link_next_tvalid": ("output", 1),
        "m_axis_link_previous_tready": ("input", 1), "s_axis_link_next_tdata": ("input", 150),
        "s_axis_link_next_tvalid": ("input", 1), "s_axis_link_previous_tready": ("output", 1),
        "link_error_next": ("input", 8), "link_error_previous": ("input", 8),
    }.items():
        assert ports[name] == port
    # Nothing else: 5 AXI channels of 29 signals a memory port, 17 of AXI4-Lite, 3 a link each way
    # and its error, 5 more.
    assert len(ports) == 3 * 29 + 17 + 4 * 3 + 2 + 5
    assert not [name for name in ports if "trace" in name or "__" in name]


def test_one_multiplier_a_mac(nano):
    config = CONFIGS["nano"]
    data = json.loads((nano / "summary.json").read_text())
    assert data["multipliers_per_mac"] == 1
    assert data["macs"] == data["multipliers_in_lanes"] == config.tile * config.lanes
    lanes, = (item for item in data["multipliers"] if item["place"] == "function.dot_product.lane*")
    assert (lanes["unit"], lanes["size"]) == ("mpu", "12s x 11u")
    assert lanes["count"] == lanes["dsp48e2"] == config.tile * config.lanes
    for module in parse_modules((nano / "dfx_core.v").read_text()):
        if re.search(r"dot_product\.lane\d", module.name):
            assert len(re.findall(r" \* ", re.sub(r"@\*", "", str(module)))) == config.tile


def test_memories(nano):
    config = CONFIGS["nano"]
    data = json.loads((nano / "summary.json").read_text())
    memories = {(item["unit"], item["place"], item["name"]): item for item in data["memories"]}
    vectors = memories["vector_registers", "", "storage"]
    assert (vectors["depth"], vectors["width"]) == (config.vector_chunks, config.chunk_bits)
    words = memories["dma", "port*.word_fifo", "storage"]
    assert words["count"] == config.channels
    assert data["memory_bits"] == sum(item["bits"] for item in data["memories"])
    assert not memories["mpu", "output.gelu", "pieces*"]["written"]
    assert memories["control", "", "instructions"]["written"]


def test_summary_for_people(nano):
    text = (nano / "summary.md").read_text()
    assert "Multipliers a MAC: 1. The lanes of the dot product have 16 for 16 MACs." in text
    assert "| mpu | function.dot_product.lane* | 12s x 11u | 16 | 16 |" in text
    assert "| vector_registers |  | storage | 1 | 1024 x 128 | 131,072 | RAM |" in text
    assert "| `m_axi_hbm_00_araddr` | output | 24 |" in text


def test_lint(nano, script, capsys):
    assert script.main([str(nano / "dfx_core.v")]) == 0
    assert capsys.readouterr().out == f"{nano / 'dfx_core.v'}: clean\n"


def test_lint_finds(nano, script, tmp_path, capsys):
    broken = tmp_path / "dfx_core.v"
    broken.write_text((nano / "dfx_core.v").read_text().replace(".clk(clk)", ".clock(clk)", 1))
    assert script.main([str(broken)]) == 1
    assert "%Error-PINNOTFOUND" in capsys.readouterr().out


def test_every_waiver_is_needed_and_explained(nano, script):
    waived = re.findall(r"lint_off -rule (\w+)", (ROOT / "scripts/verilator.vlt").read_text())
    found = set(re.findall(r"%Warning-(\w+)", script.lint(nano / "dfx_core.v", waivers=None)))
    assert sorted(waived) == sorted(found)
    explained = re.findall(r"(?m)^\| `([A-Z]+)` \|", (ROOT / "docs/verilog.md").read_text())
    assert sorted(waived) == sorted(explained)


def test_lint_without_anything_to_lint(script, capsys):
    with pytest.raises(SystemExit) as exit:
        script.main([])
    assert exit.value.code == 2
    assert script.main(["--config", "huge"]) == 2
    assert capsys.readouterr().err.endswith(
        "error: configuration 'huge' is unknown: expected one of "
        "nano, small, small8, tall, u280 or a .toml file\n")


def test_configuration_that_does_not_exist(tmp_path, capsys):
    assert build.main(["--config", "huge", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == ("", "error: configuration 'huge' is unknown: expected one of "
                                       "nano, small, small8, tall, u280 or a .toml file\n")
    assert not (tmp_path / "out").exists()


def test_bad_configuration_file(tmp_path, capsys):
    file = tmp_path / "odd.toml"
    file.write_text('base = "nano"\ntile = 7\n')
    assert build.main(["--config", str(file)]) == 2
    assert capsys.readouterr() == (
        "", "error: CoreConfig.tile must be a power of two, not 7\n")


def test_directory_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert build.main(["--config", "nano", "--out", str(tmp_path / "file" / "out")]) == 2
    assert capsys.readouterr() == (
        "", f"error: [Errno 20] Not a directory: '{tmp_path / 'file' / 'out'}'\n")


def test_progress_and_result(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert build.main([]) == 0
    out, err = capsys.readouterr()
    assert err == ("small: elaborating\nsmall: converting\nsmall: counting\n"
                   "small: writing\n")
    assert re.fullmatch(r"build/small/dfx_core\.v: [\d,]+ bytes, 1 modules, 0 multipliers a MAC; "
                        r"see build/small/summary\.md\n", out)
    assert sorted(file.name for file in (tmp_path / "build/small").iterdir()) == FILES


def test_other_files_stay_and_old_ones_are_replaced(small, tmp_path):
    for name in ("notes.txt", "dfx_core.v"):
        (tmp_path / name).write_text("mine")
    assert build.main(["--config", "nano", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "dfx_core.v").read_text() != "mine"


@pytest.mark.parametrize("error, status, message", [
    (OSError("disk full"), 2, "error: disk full"),
    (KeyboardInterrupt(), 130, "error: interrupted"),
])
def test_nothing_is_left_half_written(small, tmp_path, monkeypatch, capsys, error, status, message):
    (tmp_path / "dfx_core.v").write_text("old")

    def fail(data):
        raise error

    monkeypatch.setattr(build, "_markdown", fail)
    assert build.main(["--config", "nano", "--out", str(tmp_path)]) == status
    assert capsys.readouterr().err.splitlines()[-1] == message
    assert [file.name for file in tmp_path.iterdir()] == ["dfx_core.v"]
    assert (tmp_path / "dfx_core.v").read_text() == "old"


def test_an_output_that_nothing_drives(small, monkeypatch):
    monkeypatch.setattr(build, "core_ports", lambda core, config: {
        "i": (core.i, "input"), "o": (core.o, "output"), "idle": (Signal(2), "output")})
    with pytest.raises(RuntimeError, match=r"^port idle is \('input', 2\) in the Verilog, "
                                           r"not \('output', 2\)$"):
        build.core_verilog(CONFIGS["nano"])


@pytest.mark.slow
def test_the_card(script, tmp_path):
    assert build.main(["--config", "u280", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "summary.json").read_text())
    assert data["macs"] == data["multipliers_in_lanes"] == 1024
    assert sum(data["seconds"].values()) < 300
    assert data["files"]["dfx_core.v"] < 25e6
    assert script.lint(tmp_path / "dfx_core.v") == ""


@pytest.mark.parametrize(("arguments", "handed_over"), [
    (["--platform", "u280"], ["u280", "--cages", "0"]),
    (["--platform", "u50", "--config", "small", "--out", "card", "--cages", "1", "--do-build"],
     ["u50", "--cages", "1", "--config", "small", "--out", "card", "--do-build"]),
])
def test_a_card_is_built_by_its_package(monkeypatch, arguments, handed_over):
    calls = []
    monkeypatch.setattr("platforms.build.main", lambda arguments: calls.append(arguments) or 3)
    assert build.main(arguments) == 3
    assert calls == [handed_over]


@pytest.mark.parametrize("name", ["u999", ""])
def test_no_such_card(tmp_path, capsys, name):
    assert build.main(["--platform", name, "--out", str(tmp_path / "card")]) == 2
    assert capsys.readouterr() == (
        "", f"error: platform '{name}' is unknown: expected one of u280, u55c, u50, ulx3s\n")
    assert not (tmp_path / "card").exists()


def test_a_card_without_the_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "platforms.build", None)
    assert build.main(["--platform", "u280"]) == 2
    assert capsys.readouterr() == (
        "", "error: --platform needs the package platforms beside dfx_rtl: "
            "import of platforms.build halted; None in sys.modules\n")


def test_the_hardware_does_not_know_the_cards():
    """Only the command looks for their package, and only if it is told to."""
    subprocess.run([sys.executable, "-c", "import sys, dfx_rtl.build; "
                    "assert not [name for name in sys.modules if name.startswith('platforms')]"],
                   check=True, cwd=ROOT)


@pytest.mark.parametrize("arguments", [["--cages", "1"], ["--do-build"]])
def test_options_of_a_card_without_a_card(capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        build.main(arguments)
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: --cages, --checkpoint and --do-build need --platform\n")
