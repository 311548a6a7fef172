"""The listing and the command."""

import json

import numpy as np

from dfx_rtl.compiler import compile, compile_copy, listing, memory_map
from dfx_rtl.compiler.__main__ import main
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2.synthetic import write_random_checkpoint

NANO = CONFIGS["nano"]

EXPECTED = """\
   0  scalar_move  attention.scale = 0.353553385
   1  load         ln_1.weight..ln_1.bias = vectors.0  ; 4 chunks
   2  load         attn.key.bias..attn.query.bias = vectors.0+0x40  ; 6 chunks
   3  load         ln_f.weight..ln_f.bias = ln_f.weight  ; 4 chunks
   4  token
   5  load         position = wpe[position]  ; 2 chunks
   6  load         token = wte[token]  ; 2 chunks
   7  add          residual.0 = token + position  ; length 16
   8  layer
   9  layernorm    normal.0 = residual.0, ln_1.weight, ln_1.bias  ; length 16
  10  conv1d       key = normal.0 x layer.attn.key + attn.key.bias  ; 16 x 16, block 8, 16 tiles
  11  conv1d       value = normal.0 x layer.attn.value + attn.value.bias  ; 16 x 16, block 8, 16 tiles
  12  store_key    layer.attn.key.cache.0[position] = key  ; 2 heads of 1 chunks, 8 tiles apart
  13  store_value  layer.attn.value.cache.0[position] = value  ; 2 heads of 1 chunks, 4 groups, 8 tiles apart
  14  conv1d       query = normal.0 x layer.attn.query.0-1 + attn.query.bias  ; 16 x 16, block 8, 16 tiles
  15  load         attn.projection.bias..mlp.fc.bias = vectors.0+0xa0[layer]  ; 14 chunks
  16  masked_mm    scores.0, max maximum.0 = query[0] x layer.attn.key.cache.0 * attention.scale  ; 8 x position+1, block 1, 1 tiles/step, mask, key_value
  17  softmax      softmax.0, inverse_sum.0 = scores.0, maximum.0  ; length position+1
  18  masked_mm    scores.1, max maximum.1 = query[1] x layer.attn.key.cache.1 * attention.scale  ; 8 x position+1, block 1, 1 tiles/step, mask, key_value
  19  softmax      softmax.1, inverse_sum.1 = scores.1, maximum.1  ; length position+1
  20  load         mlp.projection.bias = vectors.0+0x180[layer]  ; 2 chunks
  21  mm           context[0] = softmax.0 x layer.attn.value.cache.0 * inverse_sum.0  ; position+1 x 8, block 4, 4 tiles/step, transposed, key_value
  22  mm           context[1] = softmax.1 x layer.attn.value.cache.1 * inverse_sum.1  ; position+1 x 8, block 4, 4 tiles/step, transposed, key_value
  23  conv1d       residual.1 = context x layer.attn.projection + attn.projection.bias + residual.0  ; 16 x 16, block 8, 16 tiles
  24  layernorm    normal.1 = residual.1, ln_2.weight, ln_2.bias  ; length 16
  25  conv1d       hidden = normal.1 x layer.mlp.fc + mlp.fc.bias  ; 16 x 64, block 32, 64 tiles, gelu
  26  load         ln_1.weight..ln_1.bias = vectors.0.again[layer]  ; 4 chunks
  27  load         attn.key.bias..attn.query.bias = vectors.0.again+0x40[layer]  ; 6 chunks
  28  conv1d       residual.0 = hidden x layer.mlp.projection + mlp.projection.bias + residual.1  ; 64 x 16, block 8, 64 tiles
  29  next_layer
  30  lm_head
  31  layernorm    normal.0 = residual.0, ln_f.weight, ln_f.bias  ; length 16
  32  mm           arg_max, logits = normal.0 x lm_head  ; 16 x 32, block 16, 32 tiles
  33  end
"""  # noqa: E501


def test_listing(checkpoint):
    compiled = compile(checkpoint(), NANO, logits=True)
    assert listing(compiled) == EXPECTED


def test_listing_of_a_folded_layernorm(checkpoint):
    text = listing(compile(checkpoint(), NANO, layernorm="folded")).splitlines()
    assert [line[6:] for line in text if "rstd" in line] == [
        "rstd         rstd.0 = residual.0  ; length 16",
        "conv1d       key = residual.0 x layer.attn.key * rstd.0 + attn.key.bias  ; 16 x 16, "
        "block 8, 16 tiles",
        "conv1d       value = residual.0 x layer.attn.value * rstd.0 + attn.value.bias  ; 16 x 16, "
        "block 8, 16 tiles",
        "conv1d       query = residual.0 x layer.attn.query.0-1 * rstd.0 + attn.query.bias  ; "
        "16 x 16, block 8, 16 tiles",
        "rstd         rstd.1 = residual.1  ; length 16",
        "conv1d       hidden = residual.1 x layer.mlp.fc * rstd.1 + mlp.fc.bias  ; 16 x 64, "
        "block 32, 64 tiles, gelu",
    ]
    assert sum("layernorm" in line for line in text) == 1  # that of the LM head


def test_listing_of_a_copy(checkpoint):
    text = listing(compile_copy(compile(checkpoint(), NANO))).splitlines()
    assert text[0] == "   0  copy         tile[0] = staged.0  ; 192 tiles"
    assert text[1] == "   1  copy         lm_head = staged.224  ; 32 tiles"


def test_memory_map_names_everything(checkpoint):
    compiled = compile(checkpoint(), NANO, logits=True)
    text = memory_map(compiled)
    for region in (*compiled.layout.layer, *compiled.layout.fixed, *compiled.layout.ddr):
        assert f"  {region.name}\n" in text
    for register in (*compiled.registers.vectors, *compiled.registers.scalars):
        assert f"  {register}\n" in text


def test_command_prints(tmp_path, capsys):
    path = write_random_checkpoint(tmp_path / "model")
    assert main([str(path), "--logits"]) == 0
    assert capsys.readouterr().out.endswith(EXPECTED)


def test_command_writes(tmp_path, capsys):
    path, out = write_random_checkpoint(tmp_path / "model"), tmp_path / "out"
    assert main([str(path), "--config", "small", "--positions", "8", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 34 instructions, ")
    assert (out / "listing.txt").read_text().splitlines()[-1] == "  33  end"
    assert "HBM: " in (out / "memory.txt").read_text()
    assert json.loads((out / "run.json").read_text())["positions"] == 8
    assert np.load(out / "hbm.npy").shape[0] == 2
    assert np.load(out / "ddr.npy").ndim == 1


def test_command_fails_with_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'nothing'}: no such directory\n"
    path = write_random_checkpoint(tmp_path / "model")
    assert main([str(path), "--config", "huge"]) == 1
    assert capsys.readouterr().err.startswith("error: configuration 'huge' is unknown")


def test_command_folds(tmp_path, capsys):
    path = write_random_checkpoint(tmp_path / "model")
    assert main([str(path), "--layernorm", "folded"]) == 0
    assert "rstd.1 = residual.1" in capsys.readouterr().out
