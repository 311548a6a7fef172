"""The command: what it prints, what it writes, and how it refuses bad input."""

import json
import re
from pathlib import Path

import pytest

from dfx_rtl.gpt2 import Checkpoint, Reference, Tokenizer
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from sim.generate import main

SIZES = {"emb": 16, "layers": 1, "heads": 2, "vocabulary": 20, "positions": 12, "seed": 5}


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny model whose letters are those of its tokenizer."""
    path = tmp_path / "model"
    write_random_checkpoint(path, **SIZES)
    return path


def letters(path, count):
    """A prompt of the model's own first tokens."""
    return Tokenizer.load(path).decode(range(5, 5 + count))


def test_text_json_waves_and_check(checkpoint, tmp_path, capsys):
    prompt = letters(checkpoint, 2)
    vcd, result = tmp_path / "core.vcd", tmp_path / "result.json"
    status = main([str(checkpoint), "--prompt", prompt, "--tokens", "3", "--check",
                   "--json", str(result), "--vcd", str(vcd),
                   "--from-cycle", "1500", "--to-cycle", "1530"])
    output = capsys.readouterr()
    assert status == 0, output.err
    summary = json.loads(result.read_text())
    expected = Reference(Checkpoint.load(checkpoint)).generate(
        Tokenizer.load(checkpoint).encode(prompt), 3)
    assert summary["tokens"] == expected
    assert output.out.startswith(prompt + summary["text"])
    assert summary["config"] == "nano" and summary["engine"] == "amaranth"
    assert summary["cycles"] > summary["cycles_per_token"] > 100
    assert 0 < summary["busy"] < 1
    assert summary["checked_writes"] > 100
    assert (summary["cores"], summary["ring"], summary["hop_latency"]) == (1, None, None)
    assert re.search(r"check: [\d,]+ writes equal", output.err)

    waves = vcd.read_text()
    times = [int(line[1:]) for line in waves.splitlines() if re.fullmatch(r"#\d+", line)]
    cycle = 18_000_000  # femtoseconds
    assert 1490 * cycle < min(time for time in times if time) < max(times) < 1540 * cycle
    groups = vcd.with_suffix(".gtkw").read_text()
    for unit in ("control", "mpu", "vpu", "dma", "router", "vector_registers", "hbm"):
        assert f"-{unit}\n" in groups


def test_a_ring(tmp_path, capsys):
    """The same text as of one core; the summary is the first core's."""
    checkpoint = tmp_path / "model"
    write_random_checkpoint(checkpoint, **{**SIZES, "heads": 1})
    prompt, result = letters(checkpoint, 1), tmp_path / "result.json"
    status = main([str(checkpoint), "--prompt", prompt, "--tokens", "2", "--check", "--cores", "2",
                   "--ring", "unidirectional", "--hop-latency", "12", "--json", str(result)])
    output = capsys.readouterr()
    assert status == 0, output.err
    summary = json.loads(result.read_text())
    expected = Reference(Checkpoint.load(checkpoint)).generate(
        Tokenizer.load(checkpoint).encode(prompt), 2)
    assert summary["tokens"] == expected
    assert (summary["cores"], summary["ring"], summary["hop_latency"]) == (2, "unidirectional", 12)
    assert summary["link"] == "plain" and summary["line_errors"] == [None, None]
    assert len(summary["core_counters"]) == 2
    assert summary["counters"] == summary["core_counters"][0]
    assert 0 < summary["busy"] < 1
    assert "2 tokens on 2 x nano, unidirectional ring with hops of 12 cycles" in output.err
    assert "MPU of core 0, whole run: busy " in output.err


def refuse(capsys, arguments, message):
    status = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    lines = output.err.splitlines()
    assert len(lines) == 1 and re.fullmatch(f"error: {message}", lines[0]), lines


@pytest.mark.parametrize("options,message", [
    (["--prompt", "", "--tokens", 1],
     "the prompt is empty, expected at least one character"),
    (["--prompt", "PROMPT", "--tokens", 12],
     "prompt of 2 tokens and 12 new ones need 13 positions, the checkpoint has 12"),
    (["--prompt", "PROMPT", "--tokens", 0], "--tokens must be at least 1, not 0"),
    (["--prompt", "PROMPT", "--tokens", 1, "--config", "huge"],
     "configuration 'huge' is unknown: expected one of nano, small, small8, tall, u280 "
     "or a .toml file"),
    (["--prompt", "PROMPT", "--tokens", 1, "--vcd", "/nowhere/core.vcd"],
     "VCD file /nowhere/core.vcd cannot be written: No such file or directory"),
    (["--prompt", "PROMPT", "--tokens", 1, "--vcd", "core.vcd", "--from-cycle", 9,
      "--to-cycle", 9],
     r"cycles 9\.\.9 cannot be recorded: expected a first cycle of at least 0 and a greater last "
     "one"),
    (["--prompt", "PROMPT", "--tokens", 1, "--json", "/nowhere/result.json"],
     "JSON file /nowhere/result.json cannot be written: no such directory"),
    (["--prompt", "PROMPT", "--tokens", 1, "--stalls", 256],
     r"--stalls must be in 0\.\.255, not 256"),
    (["--prompt", "PROMPT", "--tokens", 1, "--from-position", 2],
     r"--from-position must be in 0\.\.1 for a prompt of 2 tokens, not 2"),
    (["--prompt", "PROMPT", "--tokens", 1, "--cores", 9], r"--cores must be in 1\.\.8, not 9"),
    (["--prompt", "PROMPT", "--tokens", 1, "--cores", 4],
     "core_count must be at most 3, the chunks of the vocabulary, not 4"),
    (["--prompt", "PROMPT", "--tokens", 1, "--link", "aurora"],
     "link aurora is for at least 2 cores: one core has no links"),
    (["--prompt", "PROMPT", "--tokens", 1, "--hop-latency", 2],
     r"hop latency must be in 3\.\.1000, not 2"),
    (["--prompt", "\u00e9", "--tokens", 1], "character '\u00e9' at index 0 .*"),
])
def test_bad_input(checkpoint, capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    prompt = letters(checkpoint, 2)
    refuse(capsys, [checkpoint, *(prompt if option == "PROMPT" else option
                                  for option in options)], message)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize("key,value,message", [
    ("activation_function", "relu", ".*activation_function.*relu.*gelu_new.*"),
    ("scale_attn_weights", False, ".*scale_attn_weights.*"),
    ("scale_attn_by_inverse_layer_idx", True, ".*scale_attn_by_inverse_layer_idx.*"),
    ("n_embd", 17, ".*"),
    ("n_layer", 2, ".*h.1.*"),
])
def test_checkpoints_that_are_not_gpt2(checkpoint, capsys, key, value, message):
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    refuse(capsys, [checkpoint, "--prompt", "a", "--tokens", 1], message)


def test_a_checkpoint_that_is_cut_off(checkpoint, capsys):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    refuse(capsys, [checkpoint, "--prompt", "a", "--tokens", 1], ".*model.safetensors.*")


def test_no_checkpoint(tmp_path, capsys):
    refuse(capsys, [tmp_path / "nothing", "--prompt", "a", "--tokens", 1], ".*nothing.*")


def test_a_model_that_does_not_fit(checkpoint, capsys, tmp_path):
    config = tmp_path / "tight.toml"
    config.write_text('base = "nano"\nchannel_bytes = 1024\n')
    refuse(capsys, [checkpoint, "--prompt", letters(checkpoint, 1), "--tokens", 1,
                    "--config", config], "HBM of configuration 'tight' .*")


def test_the_shipped_checkpoints_load():
    for path in Path("models").iterdir():
        assert Checkpoint.load(path).config.vocabulary >= Tokenizer.load(path).vocabulary
        assert sum(file.stat().st_size for file in path.iterdir()) < 1 << 20
