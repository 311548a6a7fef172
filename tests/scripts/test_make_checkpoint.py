"""The synthetic checkpoints: what they hold, how they are written, and what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dfx_rtl.gpt2 import Checkpoint, CheckpointError, Gpt2Config, Reference, Tokenizer
from dfx_rtl.gpt2.writer import (
    byte_spelling,
    write_byte_pair_tokenizer,
    write_config,
    write_weight_stream,
)
from scripts import make_checkpoint
from scripts.make_checkpoint import SHAPES, main, weight_pieces

SMALL = Gpt2Config(emb=48, layers=3, heads=2, vocabulary=500, positions=40)


@pytest.fixture
def tiny(monkeypatch):
    """The shape of gpt2, so small that a test takes no time; the vocabulary is GPT-2's size."""
    monkeypatch.setitem(SHAPES, "gpt2", (8, 2, 2))
    monkeypatch.setattr(make_checkpoint, "POSITIONS", 16)


def tensors(**options):
    """All tensors, in one piece each."""
    found = {}
    for name, values in weight_pieces(SMALL, **options):
        found.setdefault(name, []).append(values)
    return {name: np.concatenate(found[name]).reshape(shape)
            for name, shape in SMALL.shapes().items()}


def test_the_shapes_are_the_published_ones():
    millions = {}
    for name, (emb, layers, heads) in SHAPES.items():
        config = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257, positions=1024)
        assert config.head_dim == 64
        millions[name] = config.parameters // 1_000_000
    assert millions == {"gpt2": 124, "gpt2-medium": 354, "gpt2-large": 774, "gpt2-xl": 1557}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_checkpoint(tiny, tmp_path, capsys, dtype):
    out = tmp_path / "deep" / "model"
    assert main(["--shape", "gpt2", "--out", str(out), "--layers", "1", "--outliers", "3000",
                 "--dtype", dtype]) == 0
    size = {"float16": 1, "float32": 2}[dtype]
    assert re.fullmatch(rf"{re.escape(str(out))}: 0 M weights in {dtype}, {size} MB, [\d.]+ s\n",
                        capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "merges.txt", "model.safetensors", "vocab.json"]
    assert list(out.parent.iterdir()) == [out]
    checkpoint = Checkpoint.load(out)
    assert checkpoint.config == Gpt2Config(emb=8, layers=1, heads=2, vocabulary=50257,
                                           positions=16, end_of_text=50256)
    stored = load_file(out / "model.safetensors")
    assert "wte.weight" in stored and "h.0.attn.c_attn.weight" in stored
    for name, values in weight_pieces(checkpoint.config, outliers=3000.0):
        assert checkpoint.tensor(name).dtype == dtype
        assert np.array_equal(checkpoint.tensor(name).ravel(), values.astype(dtype).ravel())
    tokenizer = Tokenizer.load(out)
    text = "The rain in Spain <|endoftext|> ä\n"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and max(ids) == 50256
    assert np.isfinite(Reference(checkpoint).logits(ids[:4])).all()


def test_distribution():
    found = tensors()
    for name, deviation in (("wte", 0.02), ("wpe", 0.01), ("h.1.attn.c_attn.weight", 0.02),
                            ("h.2.mlp.c_fc.weight", 0.02), ("h.0.mlp.c_proj.weight", 0.02 / 6**.5),
                            ("h.1.attn.c_proj.weight", 0.02 / 6**.5), ("h.0.mlp.c_fc.bias", 0.02)):
        assert found[name].dtype == np.float32
        assert found[name].std() == pytest.approx(deviation, rel=0.15), name
        assert abs(found[name].mean()) < deviation / 3, name
    for name in ("h.0.ln_1.weight", "h.2.ln_2.weight", "ln_f.weight"):
        assert found[name].mean() == pytest.approx(1, abs=0.06)
        assert found[name].std() == pytest.approx(0.1, rel=0.3)


def test_the_seed_and_not_the_piece_decides():
    first = tensors(seed=1)
    for piece in (1, 100, 1000):
        again = tensors(seed=1, piece=piece, outliers=0.0)
        assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["wte"], tensors(seed=2)["wte"])


@pytest.mark.parametrize("piece", [48 * 3, 1 << 20])
def test_outliers(piece):
    plain = tensors()
    for positions in (1, 4, 40):
        found = tensors(outliers=3000.0, outlier_positions=positions, piece=piece)
        assert (found["wpe"][:positions, 16] == 3000).all()
        assert (found["wpe"][:positions, 24] == -1500).all()
        expected = plain["wpe"].copy()
        expected[:positions, [16, 24]] = 3000, -1500
        assert np.array_equal(found.pop("wpe"), expected)
        assert all(np.array_equal(found[name], plain[name]) for name in found)


def test_progress(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_checkpoint, "PROGRESS", 0)
    assert main(["--shape", "gpt2", "--out", str(tmp_path / "a")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 28 and lines[0] == "0 of 0 M weights (wte)"
    assert lines[-1] == "0 of 0 M weights (ln_f.bias)"


def test_nothing_half_written(tiny, tmp_path, capsys, monkeypatch):
    out = tmp_path / "a"

    def broken(error):
        def pieces(config, **options):
            yield "wte", np.zeros((3, 8), np.float32)
            raise error
        return pieces

    arguments = ["--shape", "gpt2", "--out", str(out)]
    for error, status, message in (
            (OSError(28, "No space left on device"), 2, "No space left on device"),
            (KeyboardInterrupt(), 130, "interrupted, nothing was written")):
        monkeypatch.setattr(make_checkpoint, "weight_pieces", broken(error))
        assert main(arguments) == status
        assert capsys.readouterr().err == f"error: {out}: {message}\n"
        assert not list(tmp_path.iterdir())


def test_no_room(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_checkpoint.shutil, "disk_usage",
                        lambda path: make_checkpoint.shutil._ntuple_diskusage(0, 0, 100_000_000))
    monkeypatch.setitem(SHAPES, "gpt2", (1024, 1, 2))
    out = tmp_path / "a"
    assert main(["--shape", "gpt2", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"error: {out} needs 0.1 GB, 0.1 GB are free\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, message", [
    (["--layers", "0"], "--layers must be at least 1, not 0"),
    (["--outliers", "70000"], "--outliers must be in 0..65504, which binary16 can hold, not 70000"),
    (["--outliers", "-1"], "--outliers must be in 0..65504, which binary16 can hold, not -1"),
    (["--outliers", "nan"], "--outliers must be in 0..65504, which binary16 can hold, not nan"),
    (["--outlier-positions", "0"], "--outlier-positions must be in 1..1024, not 0"),
    (["--outlier-positions", "1025"], "--outlier-positions must be in 1..1024, not 1025"),
    (["--seed", "-1"], "--seed must not be negative, not -1"),
    (["--out", "{there}"], "{there} exists, expected a new directory"),
    (["--out", "{file}/a"], "{file}/a: Not a directory"),
])
def test_refused(tmp_path, capsys, arguments, message):
    places = {"there": tmp_path / "there", "file": tmp_path / "file"}
    places["there"].mkdir()
    places["file"].write_text("")
    base = ["--shape", "gpt2", "--out", str(tmp_path / "a")]
    assert main(base + [argument.format(**places) for argument in arguments]) == 2
    assert capsys.readouterr().err == f"error: {message.format(**places)}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


@pytest.mark.parametrize("arguments, message", [
    ([], "the following arguments are required: --shape, --out"),
    (["--shape", "gpt2", "--out", "a", "--layers", "x"],
     "argument --layers: invalid int value: 'x'"),
])
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_it_runs_as_a_script(tmp_path):
    script = Path(make_checkpoint.__file__)
    result = subprocess.run([sys.executable, script, "--shape", "gpt2", "--out", tmp_path],
                            capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path} exists, expected a new directory\n"


def test_byte_pair_tokenizer(tmp_path):
    write_byte_pair_tokenizer(tmp_path, 50257)
    tokens = json.loads((tmp_path / "vocab.json").read_text())
    assert list(tokens.values()) == list(range(50257))
    assert list(tokens)[:256] == sorted(byte_spelling()) and tokens["<|endoftext|>"] == 50256
    merges = (tmp_path / "merges.txt").read_text().splitlines()
    assert merges[0] == "#version: 0.2" and len(merges) == 50001
    known = set(byte_spelling())
    for merge in merges[1:]:
        first, second = merge.split(" ")
        assert {first, second} <= known and first + second not in known
        known.add(first + second)
    assert known | {"<|endoftext|>"} == set(tokens)
    write_config(tmp_path, emb=4, layers=1, heads=1, vocabulary=50257, positions=4)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("!<|endoftext|>") == [0, 50256]
    assert tokenizer.decode(tokenizer.encode(" then")) == " then"
    assert len(tokenizer.encode(" then")) == 1


@pytest.mark.parametrize("vocabulary", [256, 2_000_000])
def test_byte_pair_vocabulary_range(tmp_path, vocabulary):
    limit = 257 + 26**2 + 26 + 26**2 + 2 * 26**4
    message = f"vocabulary must be in 257..{limit}, not {vocabulary}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_byte_pair_tokenizer(tmp_path, vocabulary)
    assert not list(tmp_path.iterdir())


def test_weight_stream_checks_the_count(tmp_path):
    with pytest.raises(ValueError, match=r"^pieces must have 12 bytes, not 8$"):
        write_weight_stream(tmp_path / "a", {"a": (3, 2)}, [np.zeros((2, 2))])


def test_a_file_that_is_cut_after_it_was_opened(tiny, tmp_path):
    out = tmp_path / "a"
    assert main(["--shape", "gpt2", "--out", str(out)]) == 0
    checkpoint, file = Checkpoint.load(out), out / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(size - 6)
    message = (f"{file}: tensor 'ln_f.bias' has 10 bytes, expected 16: "
               f"the file was cut after it was opened")
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint.tensor("ln_f.bias")
    file.unlink()
    message = f"{file}: cannot be read: No such file or directory"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint.tensor("ln_f.bias")
