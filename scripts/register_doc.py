"""Writes ``docs/registers.md`` from the declaration of the registers; ``--check`` compares."""

import sys
from pathlib import Path

from dfx_rtl.control.registers import REGISTERS

PATH = Path(__file__).parent.parent / "docs" / "registers.md"
HEADER = """# Registers of the core

AXI4-Lite, 32 bits a register. Made by `python scripts/register_doc.py` from
`dfx_rtl/control/registers.py`, which the hardware and the driver are made from too. An address
without a register answers DECERR.

"""


def main():
    """Write or compare the document; returns the exit status."""
    text = HEADER + REGISTERS.markdown()
    if "--check" in sys.argv[1:]:
        if not PATH.exists() or PATH.read_text() != text:
            print(f"{PATH.name} differs from the declaration: run scripts/register_doc.py",
                  file=sys.stderr)
            return 1
        return 0
    PATH.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
