"""The accuracy report: what it prints, and that it takes both forms of LayerNorm."""

import re

import pytest

from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from scripts.accuracy import main


@pytest.mark.parametrize("source", [["--random", "8"], ["--ids", "1", "7", "3"]])
def test_both_forms_of_layernorm(tmp_path, capsys, source):
    path = write_random_checkpoint(tmp_path / "model", layers=2)
    errors = []
    for layernorm in ("explicit", "folded"):
        assert main([str(path), *source, "--config", "nano", "--layernorm", layernorm]) == 0
        found = re.match(r"[38] tokens: rms logit error (\d\.\d{5}), relative .*"
                         r"overflow False, invalid False\n$", capsys.readouterr().out)
        errors.append(float(found[1]))
    assert errors[0] != errors[1] and max(errors) < 0.02


def test_text(tmp_path, capsys):
    path = write_random_checkpoint(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text("eat a tea " * 100)
    options = [str(path), "--text", str(text), "--tokens", "20", "--config", "nano"]
    assert main(options) == 0
    assert capsys.readouterr().out.startswith("20 tokens: rms logit error 0.0")
