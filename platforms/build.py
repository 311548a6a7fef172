"""What the tools need for a board: ``python -m dfx_rtl.build --platform u280``.

Vivado for the cards; for the ULX3S see :mod:`.ulx3s.build`.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from dfx_rtl.build import TOP as CORE
from dfx_rtl.build import core_verilog
from dfx_rtl.config import CONFIGS, load_config
from dfx_rtl.verilog import merge_modules, repair_modules

from .alveo_u50 import AlveoU50Platform
from .alveo_u55c import AlveoU55CPlatform
from .alveo_u280 import AlveoU280Platform
from .card import Card, fit_config
from .ip.primitives import EMITTED
from .ulx3s import build as ulx3s

__all__ = ["PLATFORMS", "TOP", "build", "build_ulx3s", "main"]

#: The top module of a card, and the name of its files.
TOP = "dfx_card"

PLATFORMS = {
    "u280": AlveoU280Platform,
    "u55c": AlveoU55CPlatform,
    "u50": AlveoU50Platform,
}


def _config_toml(config):
    """The configuration as a file for the compiler."""
    return "".join(f"{name} = {json.dumps(value)}\n"
                   for name, value in dataclasses.asdict(config).items() if name != "name")


def _readme(platform_name, platform, config, cages):
    ips = [module for module in platform.vendor_modules if module.ip is not None]
    return "\n".join([
        f"# {TOP} for the Alveo {platform_name.upper()}", "",
        f"Configuration {config.name}, {cages} of {len(platform.qsfp_quads)} cages used. "
        f"Written by Amaranth {version('amaranth')}.", "",
        "| file | content |", "|---|---|",
        f"| `{TOP}.v` | the top: clocks, bridges, instances of the IPs and of the core |",
        f"| `{CORE}.v` | the core |",
        f"| `{TOP}.xdc` | pins and constraints |",
        f"| `{TOP}.tcl` | the whole flow: IPs, synthesis, placement, routing, bitstream |",
        f"| `build_{TOP}.sh` | runs it |",
        f"| `{config.name}.toml` | the configuration, for the compiler of models |",
        "| `stubs.v` | empty modules for the IPs and primitives, for a linter; not for Vivado |",
        "", "IPs: " + ", ".join(f"`{module.name}` ({module.ip})" for module in ips) + ".", "",
        "## Steps", "",
        f"1. `sh build_{TOP}.sh`, in this directory, with `vivado` on the PATH. It makes "
        f"`{TOP}.bit` and `{TOP}.bin`, and reports beside them.",
        f"2. Look at `{TOP}_timing.rpt` and `{TOP}_drc.rpt`.",
        "3. Go on with `docs/card.md` of the project.", "",
        "Nothing here has been through Vivado. What is to be confirmed there is marked in the "
        "sources of the project.", ""])


def _files(platform_name, platform, config, card, cages):
    """The files of a card, by name."""
    core, _ = core_verilog(config, platform=platform)
    platform.add_file(f"{CORE}.v", core)
    plan = platform.build(card, TOP, do_build=False, emit_src=False)
    files = {name: content for name, content in plan.files.items()
             if not name.endswith((".bat", ".debug.v"))}
    # As in the core: without Yosys's oddities, and each module once.
    files[f"{TOP}.v"] = merge_modules(repair_modules(files[f"{TOP}.v"]))
    files["stubs.v"] = "\n".join(module.stub() for module in (*platform.vendor_modules, *EMITTED)
                                 if module.name != CORE)
    files[f"{config.name}.toml"] = _config_toml(config)
    files["README.md"] = _readme(platform_name, platform, config, cages)
    return files


def build(platform_name, directory, *, do_build=False, config=None, cages=0):
    """Write everything that Vivado needs for a card, and perhaps run it.

    Parameters
    ----------
    platform_name : str
        One of :data:`PLATFORMS`.
    directory : Path
        Where the files go. It must not exist, or be one that this function made; it is complete
        or not there.
    do_build : bool
        Run Vivado, which takes hours.
    config : CoreConfig or None
        The core; the default is ``u280``. Its memories are made to fit the card.
    cages : int
        QSFP28 cages that are used; see :class:`~platforms.card.Card`.

    Returns
    -------
    CoreConfig
        What was built.

    Raises
    ------
    ValueError
        If the platform is unknown, or the card cannot have this core or so many cages.
    FileNotFoundError
        If Vivado is to run and there is none.
    FileExistsError
        If the directory holds something else.
    RuntimeError
        If Vivado fails.
    """
    if platform_name not in PLATFORMS:
        raise ValueError(f"platform {platform_name!r} is unknown: expected one of "
                         f"{', '.join(PLATFORMS)}")
    if do_build and shutil.which("vivado") is None:
        raise FileNotFoundError("vivado is not on the PATH: source the settings64.sh of its "
                                "installation, or build without --do-build")
    directory = Path(directory)
    if directory.exists() and not (directory / f"{TOP}.tcl").exists():
        raise FileExistsError(f"{directory} exists and is not a build of a card")
    platform = PLATFORMS[platform_name]()
    if not 0 <= cages <= len(platform.qsfp_quads):
        raise ValueError(f"platform {platform_name} has {len(platform.qsfp_quads)} QSFP28 cages, "
                         f"not {cages}")
    config = fit_config(config or CONFIGS["u280"], platform.hbm_address_width)
    card = Card(config, platform.hbm_address_width, cages=cages)
    # On a card, what only a simulation may choose is an error.
    card.hbm.module()
    files = _files(platform_name, platform, config, card, cages)
    _write(directory, files)
    if do_build:
        result = subprocess.run(["sh", f"build_{TOP}.sh"], cwd=directory, check=False)
        if result.returncode:
            raise RuntimeError(f"vivado failed with status {result.returncode}: "
                               f"see {directory / f'{TOP}.log'}")
    return config


def build_ulx3s(directory, checkpoint, *, do_build=False):
    """Write what the open tools need for a ULX3S with a model in it, and perhaps run them.

    Parameters
    ----------
    directory : Path
        As of :func:`build`.
    checkpoint : str or pathlib.Path
        The model.
    do_build : bool
        Run the tools.

    Returns
    -------
    str
        What came of it.

    Raises
    ------
    ValueError, FileNotFoundError, FileExistsError, RuntimeError
        As :func:`build`, and if the model cannot be used.
    """
    directory = Path(directory)
    if do_build:
        ulx3s.find_tools()
    if directory.exists() and not (directory / f"{ulx3s.NAME}.il").exists():
        raise FileExistsError(f"{directory} exists and is not a build of a ULX3S")
    _write(directory, ulx3s.plan_files(checkpoint))
    return ulx3s.run_tools(directory) if do_build else ""


def _write(directory, files):
    """Write all files beside the directory, then put them in its place at once."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".card-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (made / name).write_bytes(data)
        if directory.exists():
            os.replace(directory, Path(temporary) / "old")
        os.replace(made, directory)


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m platforms.build",
        description="Write what the tools need for a board; the same as "
                    "python -m dfx_rtl.build --platform PLATFORM.")
    parser.add_argument("platform", metavar="PLATFORM",
                        help=f"{', '.join(PLATFORMS)}, or ulx3s")
    parser.add_argument("--config", metavar="NAME",
                        help=f"of a card: {', '.join(CONFIGS)}, or a .toml file (default: u280)")
    parser.add_argument("--checkpoint", default="models/shakespeare", metavar="DIR",
                        help="of the ULX3S: the model in it (default: models/shakespeare)")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="directory of the files (default: build/card-PLATFORM)")
    parser.add_argument("--cages", type=int, default=0, metavar="N",
                        help="QSFP28 cages that are used, for a ring of cards (default: 0)")
    parser.add_argument("--do-build", action="store_true",
                        help="run Vivado, which takes hours; or YoWASP's tools")
    options = parser.parse_args(arguments)
    directory = options.out or Path("build") / f"card-{options.platform}"
    try:
        if options.platform == "ulx3s":
            if options.config or options.cages:
                parser.error("--config and --cages are of the cards, not of ulx3s")
            summary = build_ulx3s(directory, options.checkpoint, do_build=options.do_build)
            print(f"{directory / ulx3s.NAME}.{'bit' if summary else 'il'}: ULX3S; see "
                  f"{directory / 'README.md'}", summary, sep="\n\n" if summary else "")
            return 0
        if options.platform not in PLATFORMS:
            raise ValueError(f"platform {options.platform!r} is unknown: expected one of "
                             f"{', '.join(PLATFORMS)}, ulx3s")
        config = build(options.platform, directory, do_build=options.do_build,
                       config=load_config(options.config or "u280"), cages=options.cages)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    print(f"{directory / TOP}.tcl: Alveo {options.platform.upper()} with configuration "
          f"{config.name}; see {directory / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
