"""The sizes of models on cores."""

import dataclasses

import pytest

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.shape import Shape
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Gpt2Config

NANO, U280 = CONFIGS["nano"], CONFIGS["u280"]


def model(**sizes):
    return Gpt2Config(**{"emb": 48, "layers": 2, "heads": 3, "vocabulary": 65, "positions": 100}
                      | sizes)


def test_everything_is_rounded_up_to_chunks_groups_and_bursts():
    shape = Shape(NANO, model(emb=36, heads=3), 100)
    assert (shape.emb_chunks, shape.inner_chunks, shape.position_chunks) == (5, 18, 13)
    assert (shape.head_chunks, shape.head_columns, shape.head_groups) == (2, 16, 6)
    assert shape.pairs == [(0, 2), (2, 1)]
    assert shape.key_tiles == 104       # 50 groups of 2 chunks, in bursts of 8
    assert shape.value_tiles == 80      # 13 chunks of 6 groups, in bursts of 8
    assert [product.name for product in shape.layer_products] == [
        "attn.key", "attn.value", "attn.query.0-1", "attn.query.2", "attn.projection", "mlp.fc",
        "mlp.projection"]
    assert shape.head_product.tiles == 5 * 33


def test_value_of_wide_heads_is_split():
    shape = Shape(NANO, model(emb=200, heads=1), 20)
    assert [dataclasses.astuple(split) for split in shape.value_splits] == [
        (0, 64, 32, 0), (64, 64, 32, 96), (128, 64, 32, 192), (192, 8, 4, 288)]
    assert shape.value_tiles == 288 + 16


@pytest.mark.parametrize("emb, layers, heads, roof", [
    (1024, 24, 16, 351_328), (1280, 36, 20, 765_560), (1600, 48, 25, 1_537_750)])
def test_roof_of_the_large_models(emb, layers, heads, roof):
    shape = Shape(U280, model(emb=emb, layers=layers, heads=heads, vocabulary=50257,
                              positions=1024), 1024)
    assert shape.useful_tiles(127) == roof


def test_useful_tiles_by_counting():
    shape = Shape(NANO, model(emb=36, heads=3, layers=2), 100)
    layer = 0
    for rows, columns, times in ((36, 12, 9), (36, 144, 1), (144, 36, 1)):
        layer += times * -(-rows // 8) * -(-columns // 2)
    layer += 3 * 2 * 18                                     # projection: each head's 2 chunks
    layer += 3 * (-(-11 // 2) * 2 + -(-11 // 8) * 6)        # 11 positions
    assert shape.useful_tiles(10, head=False) == 2 * layer
    assert shape.useful_tiles(10) == 2 * layer + 5 * 33


@pytest.mark.parametrize("sizes, positions, message", [
    ({}, 101, "positions must be in 1..100, the model's, not 101"),
    ({}, 0, "positions must be in 1..100, the model's, not 0"),
    ({"positions": 1 << 16}, 1 << 16, "positions must be at most 65535, not 65536"),
    ({"vocabulary": 1 << 17}, 9, "vocabulary must be at most 131071, not 131072"),
    ({"emb": 65538}, 9, "emb must be at most 65536, not 65538"),
    ({"emb": 16386}, 9, "inner must be at most 65536, not 65544"),
    ({"layers": 256}, 9, "layers must be at most 255, not 256"),
    ({"emb": 256, "heads": 256}, 9, "heads must be at most 255, not 256"),
])
def test_errors(sizes, positions, message):
    sizes = {"heads": 2} | sizes
    with pytest.raises(CompileError) as error:
        Shape(NANO, model(**sizes), positions)
    assert str(error.value) == message


def test_unknown_layernorm():
    with pytest.raises(CompileError) as error:
        Shape(NANO, model(heads=2), 9, "fused")
    assert str(error.value) == "layernorm must be 'explicit' or 'folded', not 'fused'"


def test_folded_layers_have_no_layernorm_vectors():
    explicit, folded = (Shape(NANO, model(heads=2), 9, name) for name in ("explicit", "folded"))
    assert not explicit.folded and folded.folded
    assert [entry for entry in explicit.layer_vectors if not entry[0].startswith("ln_")] \
        == folded.layer_vectors
    assert len(explicit.layer_vectors) == len(folded.layer_vectors) + 4


def test_padded_heads_must_fit():
    with pytest.raises(CompileError) as error:
        Shape(dataclasses.replace(U280), model(emb=1100, heads=1100, inner=8), 9)
    assert str(error.value) == "heads * padded head size must be at most 65536, not 70400"


def test_a_split_must_be_whole_chunks():
    thin = dataclasses.replace(NANO, tile=64, lanes=1, axi_bits=256)
    with pytest.raises(CompileError) as error:
        Shape(thin, model(emb=66, heads=2), 9)
    assert str(error.value) == (
        "head_dim must be at most 32, not 33: a block of 32 groups is not whole chunks with "
        "tile 64 and lanes 1")
