"""The register map: unique, complete, and the same in the document."""

import subprocess
import sys
from pathlib import Path

from dfx_rtl.control.activity import Account
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.registers import COUNTERS, REGISTERS

ROOT = Path(__file__).parents[2]


def test_every_cause_fits_and_is_documented():
    register = REGISTERS["ERROR"]
    field = next(field for field in register.fields if field.name == "cause")
    assert max(Cause) < 1 << field.width
    assert all(cause.name in field.doc for cause in Cause)


def test_every_account_has_a_counter():
    assert COUNTERS[0] == "CYCLES"
    assert set(COUNTERS[1:]) == {f"MPU_{account.name}" for account in Account}
    for name in COUNTERS:
        assert f"{name}_LOW" in REGISTERS and f"{name}_HIGH" in REGISTERS


def test_the_document_is_up_to_date():
    done = subprocess.run([sys.executable, "scripts/register_doc.py", "--check"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
