"""What the open tools get; that they make a bitstream of it is a slow test."""

import os
import shutil

import pytest

from platforms.build import main
from platforms.ulx3s import build as ulx3s

LOG = """
Info:     Total LUT4s:     47476/83640    56%
Info:         logic LUTs:  37434/83640    44%
Info: Device utilisation:
Info: \t          TRELLIS_IO:       3/    365     0%
Info: \t              DP16KD:     197/    208    94%
Info: \t             EHXPLLL:       0/      4     0%
Info: \t        TRELLIS_COMB:   71701/  83640    85%

Info: Max frequency for clock '$glbnet$cd_sync.clk': 20.02 MHz (FAIL at 25.00 MHz)
Info: Max frequency for clock '$glbnet$cd_sync.clk': 27.31 MHz (PASS at 25.00 MHz)
"""


def test_the_files(tmp_path, capsys):
    environment = dict(os.environ)
    directory = tmp_path / "board"
    assert main(["ulx3s", "--out", str(directory)]) == 0
    assert capsys.readouterr().out == \
        f"{directory}/dfx_ulx3s.il: ULX3S; see {directory}/README.md\n"
    assert dict(os.environ) == environment
    assert sorted(file.name for file in directory.iterdir()) == [
        "README.md", "build_dfx_ulx3s.sh", "dfx_ulx3s.il", "dfx_ulx3s.lpf", "dfx_ulx3s.ys"]
    pins = (directory / "dfx_ulx3s.lpf").read_text()
    for name, pin in (("clk25_0__io", "G2"), ("uart_0__rx__io", "M1"), ("uart_0__tx__io", "L4")):
        assert f'LOCATE COMP "{name}" SITE "{pin}";' in pins
    # Again over what is there; not over what is something else.
    assert main(["ulx3s", "--out", str(directory)]) == 0
    (directory / "dfx_ulx3s.il").unlink()
    assert main(["ulx3s", "--out", str(directory)]) == 2
    assert capsys.readouterr().err == \
        f"error: {directory} exists and is not a build of a ULX3S\n"


def test_what_nextpnr_says():
    assert ulx3s.summarise(LOG, 711.4) == """\
27.31 MHz, 25 needed; 711 s of synthesis, placement and routing

| cells | used | of | |
|---|---|---|---|
| TRELLIS_IO | 3 | 365 | 1% |
| DP16KD | 197 | 208 | 95% |
| TRELLIS_COMB | 71701 | 83640 | 86% |
"""


def test_no_tools(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ulx3s.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["ulx3s", "--out", str(tmp_path / "board"), "--do-build"]) == 2
    assert capsys.readouterr().err == (
        "error: yosys is not installed: pip install 'dfx_rtl[ecp5]', or build without "
        "--do-build\n")
    assert not (tmp_path / "board").exists()


def test_tools_that_fail(tmp_path, monkeypatch):
    (tmp_path / "build_dfx_ulx3s.sh").write_text("exit 3\n")
    monkeypatch.setattr(ulx3s, "find_tools", dict)
    with pytest.raises(RuntimeError) as caught:
        ulx3s.run_tools(tmp_path)
    assert str(caught.value) == (f"the tools failed with status 3: see {tmp_path}/dfx_ulx3s.rpt "
                                 f"and {tmp_path}/dfx_ulx3s.tim")


def test_options_of_the_cards(capsys):
    with pytest.raises(SystemExit):
        main(["ulx3s", "--cages", "1"])
    assert "--config and --cages are of the cards, not of ulx3s" in capsys.readouterr().err
