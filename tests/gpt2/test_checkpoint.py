import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dfx_rtl.gpt2 import Checkpoint, CheckpointError
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.gpt2.weight_file import read_weight_file
from dfx_rtl.gpt2.writer import write_weights

FIRST = "h.0.attn.c_attn.weight"


def refuses(path, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        Checkpoint.load(path)


def change_config(path, **entries):
    file = path / "config.json"
    old = json.loads(file.read_text())
    file.write_text(json.dumps({**old, **entries}))


def change_weights(path, change):
    """Rewrite the weights, with the safetensors library, after ``change(tensors)``."""
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def change_header(path, change):
    file = path / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.fixture
def path(tmp_path):
    return write_random_checkpoint(tmp_path / "tiny", dtype="float32", prefix="")


def test_config(tmp_path):
    config = Checkpoint.load(write_random_checkpoint(
        tmp_path, emb=12, layers=3, heads=3, vocabulary=40, positions=9, inner=20, end_of_text=7
    )).config
    assert (config.emb, config.layers, config.heads, config.vocabulary) == (12, 3, 3, 40)
    assert (config.positions, config.inner, config.end_of_text) == (9, 20, 7)
    assert config.head_dim == 4 and config.layer_norm_epsilon == 1e-5
    # As many weights as the two embeddings, the layers and the last LayerNorm have.
    layer = 4 * 12 + 12 * 36 + 36 + 12 * 12 + 12 + 12 * 20 + 20 + 20 * 12 + 12
    assert config.parameters == 40 * 12 + 9 * 12 + 3 * layer + 24


def test_config_defaults(path):
    file = path / "config.json"
    optional = ("n_inner", "eos_token_id", "layer_norm_epsilon", "activation_function",
                "scale_attn_weights", "tie_word_embeddings")
    file.write_text(json.dumps(
        {k: v for k, v in json.loads(file.read_text()).items() if k not in optional}))
    config = Checkpoint.load(path).config
    assert config.inner == 64 and config.end_of_text is None and config.layer_norm_epsilon == 1e-5
    change_config(path, eos_token_id=50256)
    assert Checkpoint.load(path).config.end_of_text is None


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values(tmp_path, dtype, extra, shards, prefix):
    plain = write_random_checkpoint(tmp_path / "plain", dtype="float32", prefix="")
    path = write_random_checkpoint(
        tmp_path / "other", dtype=dtype, prefix=prefix, shards=shards, masks=extra, head=extra)
    checkpoint, exact = Checkpoint.load(path), load_file(plain / "model.safetensors")
    for name, shape in checkpoint.config.shapes().items():
        values = checkpoint.tensor(name)
        expected = exact[name + ".weight" if name in ("wte", "wpe") else name]
        assert values.shape == shape == expected.shape
        if dtype == "bfloat16":
            assert values.dtype == np.float32 and not np.any(values.view(np.uint32) & 0xFFFF)
            # The nearest: no other bfloat16 value is nearer.
            error = np.abs(values.astype(np.float64) - expected)
            for step in (-0x10000, 0x10000):
                other = (values.view(np.int32) + step).view(np.float32).astype(np.float64)
                assert np.all(error <= np.abs(other - expected))
        else:
            assert values.dtype == np.dtype(dtype)
            assert np.array_equal(values, expected.astype(dtype))
        rounded = checkpoint.tensor16(name)
        assert rounded.dtype == np.float16
        assert np.array_equal(rounded, values.astype(np.float16))


def test_safetensors_library_reads_what_we_write(tmp_path):
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.full((2, 0), 1.0), "c": np.array(5.0)}
    write_weights(tmp_path / "x", tensors, dtype="float16")
    read = load_file(tmp_path / "x")
    assert all(np.array_equal(read[k], v) and read[k].shape == v.shape
               for k, v in tensors.items())


def test_bfloat16_rounds_ties_to_even(tmp_path):
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000], np.uint32)
    write_weights(tmp_path / "x", {"a": bits.view(np.float32)}, dtype="bfloat16")
    tensor = read_weight_file(tmp_path / "x")["a"]
    expected = np.array([0x3F800000, 0x3F820000, 0x3F810000, 0x3F800000, 0xBF820000], np.uint32)
    assert np.array_equal(tensor.values().view(np.uint32), expected)


@pytest.mark.parametrize("name", ["a", "bb", "ccc", "dddddddd"])
def test_written_tensors_are_aligned(tmp_path, name):
    write_weights(tmp_path / "x", {name: np.ones(1)})
    assert int.from_bytes((tmp_path / "x").read_bytes()[:8], "little") % 8 == 0


def test_values_cannot_be_written(path):
    with pytest.raises(ValueError):
        Checkpoint.load(path).tensor("wte")[0, 0] = 1


@pytest.mark.parametrize("entries, message", [
    ({"model_type": "bert"}, "model_type is 'bert', expected 'gpt2'"),
    ({"model_type": None}, "model_type is None, expected 'gpt2'"),
    ({"activation_function": "gelu"}, "activation_function is 'gelu', expected 'gelu_new'"),
    ({"scale_attn_weights": False}, "scale_attn_weights is False, expected True"),
    ({"scale_attn_by_inverse_layer_idx": True},
     "scale_attn_by_inverse_layer_idx is True, expected False"),
    ({"add_cross_attention": True}, "add_cross_attention is True, expected False"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings is False, expected True"),
    ({"n_embd": 0}, "n_embd is 0, expected a positive integer"),
    ({"n_layer": True}, "n_layer is True, expected a positive integer"),
    ({"vocab_size": "many"}, "vocab_size is 'many', expected a positive integer"),
    ({"n_head": 3}, "n_embd is 16, expected a multiple of n_head, which is 3"),
    ({"n_inner": -1}, "n_inner is -1, expected a positive integer or null"),
    ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0, expected a number between 0 and 1"),
    ({"eos_token_id": [3]}, "eos_token_id is [3], expected an integer or null"),
])
def test_config_errors(path, entries, message):
    change_config(path, **entries)
    refuses(path, f"{path}/config.json: {message}")


def test_missing_entry(path):
    (path / "config.json").write_text('{"model_type": "gpt2"}')
    refuses(path, f"{path}/config.json: n_embd is missing, expected a positive integer")


@pytest.mark.parametrize("content, message", [
    (b"{\n  oops", "line 2, column 3 is not JSON"),
    (b"\xff", "byte 0 is not UTF-8, expected JSON"),
    (b"[1]", "holds a JSON list, expected an object"),
    (b"[" * 100_000, "nested too deeply, expected a JSON object"),
])
def test_unreadable_config(path, content, message):
    (path / "config.json").write_bytes(content)
    refuses(path, f"{path}/config.json: {message}")


def test_missing_files(path):
    refuses(path / "nowhere", f"{path}/nowhere: no such directory")
    file = path / "model.safetensors"
    file.unlink()
    refuses(path, f"{file}: no such file")
    file.mkdir()
    refuses(path, f"{file}: cannot be read: Is a directory")
    (path / "config.json").unlink()
    refuses(path, f"{path}/config.json: no such file")
    (path / "config.json").mkdir()
    refuses(path, f"{path}/config.json: cannot be read: Is a directory")


def test_tensor_errors(path):
    file = path / "model.safetensors"

    change_weights(path, lambda t: t.update({FIRST: np.ascontiguousarray(t[FIRST].T)}))
    refuses(path, f"{file}: tensor '{FIRST}' has shape (48, 16), expected (16, 48)")
    change_weights(path, lambda t: t.update({FIRST: np.zeros((16, 48), np.int32)}))
    refuses(path, f"{file}: tensor '{FIRST}' has type I32, expected F32, F16 or BF16")
    change_weights(path, lambda t: t.pop(FIRST))
    refuses(path, f"{file}: tensor '{FIRST}' is missing")
    change_weights(path, lambda t: t.pop("wte.weight"))
    refuses(path, f"{file}: tensor 'wte.weight' is missing")


@pytest.mark.parametrize("name", ["h.1.ln_1.weight", "h.0.attn.masked", "score.weight"])
def test_unknown_tensor(path, name):
    change_weights(path, lambda t: t.update({name: t["ln_f.bias"].copy()}))
    refuses(path, f"{path}/model.safetensors: tensor '{name}' is not one of GPT-2's "
                  f"with 1 layers")


def test_tensor_twice(path):
    change_weights(path, lambda t: t.update({"transformer.ln_f.bias": t["ln_f.bias"].copy()}))
    refuses(path, f"{path}/model.safetensors: tensor 'transformer.ln_f.bias' is stored again as "
                  f"'ln_f.bias', expected one of them")


def test_other_head(path):
    change_weights(path, lambda t: t.update({"lm_head.weight": t["wte.weight"] * 2}))
    refuses(path, f"{path}/model.safetensors: tensor 'lm_head.weight' differs from "
                  f"'wte.weight', expected the same values")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(path, value):
    def change(tensors):
        tensors[FIRST][3, 5] = value

    change_weights(path, change)
    message = (f"{path}/model.safetensors: tensor '{FIRST}' is {float(value)!r} at [3, 5], "
               f"expected a finite number")
    for read in (Checkpoint.load(path).tensor, Checkpoint.load(path).tensor16):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            read(FIRST)


def test_too_large_for_binary16(path):
    def change(tensors):
        tensors["ln_f.bias"][:2] = 65519, -65520

    change_weights(path, change)
    checkpoint = Checkpoint.load(path)
    assert checkpoint.tensor("ln_f.bias")[1] == -65520
    message = (f"{path}/model.safetensors: tensor 'ln_f.bias' is -65520.0 at [1], "
               f"expected a number that binary16 can hold, at most 65504")
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint.tensor16("ln_f.bias")


def test_damaged_file(path):
    file = path / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    size = len(content) - 8 - length

    file.write_bytes(b"")
    refuses(path, f"{file}: size is 0 bytes, expected at least 8")
    file.write_bytes(content[:100])
    refuses(path, f"{file}: header is {length} bytes, expected at most 92")
    file.write_bytes(content[:8] + b"x" + content[9:])
    refuses(path, f"{file}: header is not a JSON object")
    file.write_bytes(content[:-4])
    refuses(path, f"{file}: tensors take {size - 4} bytes, expected {size}")
    file.write_bytes(content + b"!")
    refuses(path, f"{file}: tensors take {size + 1} bytes, expected {size}")


@pytest.mark.parametrize("entry, message", [
    ({"shape": [7]}, "tensor 'ln_f.bias' has 64 bytes, expected 28"),
    # It now overlaps the first tensor, which is wte with 32 x 16 numbers.
    ({"data_offsets": [4, 68]}, "tensor 'ln_f.bias' begins at byte 4, expected 2048"),
])
def test_wrong_header(path, entry, message):
    change_header(path, lambda header: header["ln_f.bias"].update(entry))
    refuses(path, f"{path}/model.safetensors: {message}")


@pytest.mark.parametrize("entry", [
    3, {}, {"dtype": "F32", "shape": [16], "data_offsets": [0]},
    {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]},
    {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]},
])
def test_malformed_header(path, entry):
    change_header(path, lambda header: header.update({"ln_f.bias": entry}))
    shown = entry if isinstance(entry, dict) else {}
    refuses(path, f"{path}/model.safetensors: header of tensor 'ln_f.bias' is {shown!r}, "
                  f"expected dtype, shape and data_offsets")


def test_shard_errors(tmp_path):
    path = write_random_checkpoint(tmp_path / "tiny", shards=2, prefix="")
    index = path / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    first, second = sorted(set(good["weight_map"].values()))

    def change(name, shard):
        index.write_text(json.dumps({"weight_map": {**good["weight_map"], name: shard}}))

    change("ln_f.bias", "../x")
    refuses(path, f"{index}: shard of tensor 'ln_f.bias' is '../x', expected a file name")
    other = first if good["weight_map"]["ln_f.bias"] == second else second
    change("ln_f.bias", other)
    refuses(path, f"{path / other}: tensor 'ln_f.bias' is missing, "
                  f"expected as model.safetensors.index.json says")
    index.write_text('{"weight_map": 3}')
    refuses(path, f"{index}: weight_map is 3, expected an object")
    names = {name: shard for name, shard in good["weight_map"].items() if name != "ln_f.bias"}
    index.write_text(json.dumps({"weight_map": names}))
    refuses(path, f"{index}: tensor 'ln_f.bias' is missing")
    index.write_text(json.dumps(good))
    (path / second).unlink()
    refuses(path, f"{path / second}: no such file")
