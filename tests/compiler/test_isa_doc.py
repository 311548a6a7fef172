"""The instruction set's page is that of the instruction set."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_up_to_date():
    script = runpy.run_path(str(ROOT / "scripts" / "isa_doc.py"))
    assert (ROOT / "docs" / "isa.md").read_text() == script["document"]()
