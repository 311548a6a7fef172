"""The memory images hold the checkpoint's values where the map says."""

import numpy as np
import pytest

from dfx_rtl.compiler import compile
from dfx_rtl.compiler.fold import fold_bias, fold_weights
from dfx_rtl.compiler.tiles import untile
from dfx_rtl.config import CONFIGS

SIZES = {"emb": 40, "heads": 5, "layers": 2, "vocabulary": 65, "positions": 20}


def tiles_of(compiled, start, count):
    """Tiles in linear order, by the definition: word t of each channel, channel 0 first."""
    size = compiled.config.word_bytes
    return np.stack([
        np.concatenate([channel[tile * size:(tile + 1) * size] for channel in compiled.hbm])
        for tile in range(start, start + count)]).view("<u2")


def product_of(compiled, name, layer=None):
    """The matrix of a product, out of HBM."""
    shape, region = compiled.shape, compiled.layout[name]
    product = {entry.name: entry for entry in (*shape.layer_products, shape.head_product)}[name]
    base = 0 if layer is None else layer * compiled.layout.layer_stride
    return untile(tiles_of(compiled, base + region.start, product.tiles), product.rows,
                  product.columns, product.block, compiled.config)


def padded(values, heads, size):
    """Heads on chunks of their own, along the last axis."""
    parts = np.split(values, heads, axis=-1)
    width = [(0, 0)] * (values.ndim - 1) + [(0, size - parts[0].shape[-1])]
    return np.concatenate([np.pad(part, width) for part in parts], axis=-1)


@pytest.mark.parametrize("name", ["nano", "small8", "tall"])
@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"emb": 48, "heads": 3, "inner": 100}])
def test_weights(checkpoint, name, sizes):
    source = checkpoint(**sizes)
    compiled = compile(source, CONFIGS[name])
    model, size = source.config, compiled.shape.head_columns
    for layer in range(model.layers):
        attention = source.tensor16(f"h.{layer}.attn.c_attn.weight")
        query, key, value = (padded(part, model.heads, size)
                             for part in np.split(attention, 3, axis=1))
        assert np.array_equal(product_of(compiled, "attn.key", layer), key)
        assert np.array_equal(product_of(compiled, "attn.value", layer), value)
        assert np.array_equal(product_of(compiled, "attn.query.0-1", layer), query[:, :2 * size])
        projection = source.tensor16(f"h.{layer}.attn.c_proj.weight")
        assert np.array_equal(product_of(compiled, "attn.projection", layer),
                              padded(projection.T, model.heads, size).T)
        for ours, theirs in (("mlp.fc", "mlp.c_fc"), ("mlp.projection", "mlp.c_proj")):
            assert np.array_equal(product_of(compiled, ours, layer),
                                  source.tensor16(f"h.{layer}.{theirs}.weight"))
    assert np.array_equal(product_of(compiled, "lm_head"), source.tensor16("wte").T)
    for first, count in compiled.caches:
        assert not tiles_of(compiled, first, count).any()


def test_folded(checkpoint):
    """What stands behind a LayerNorm is folded; the rest is as it was, and gamma and beta are
    gone from DDR, but for the last LayerNorm's."""
    source = checkpoint(**SIZES, dtype="float32")
    compiled, explicit = (compile(source, CONFIGS["nano"], layernorm=layernorm)
                          for layernorm in ("folded", "explicit"))
    size, model = compiled.shape.head_columns, source.config
    assert compiled.layout.vector_stride == explicit.layout.vector_stride - 4 * 5 * 16
    for layer in range(model.layers):
        prefix = f"h.{layer}."
        attention = prefix + "ln_1", prefix + "attn.c_attn"
        feed_forward = prefix + "ln_2", prefix + "mlp.c_fc"
        query, key, value = (padded(part, model.heads, size) for part in
                             np.split(fold_weights(source, *attention), 3, axis=1))
        assert np.array_equal(product_of(compiled, "attn.key", layer), key)
        assert np.array_equal(product_of(compiled, "attn.value", layer), value)
        assert np.array_equal(product_of(compiled, "attn.query.2-3", layer),
                              query[:, 2 * size:4 * size])
        assert np.array_equal(product_of(compiled, "mlp.fc", layer),
                              fold_weights(source, *feed_forward))
        for name in ("attn.projection", "mlp.projection"):
            assert np.array_equal(product_of(compiled, name, layer),
                                  product_of(explicit, name, layer))
        query, key, value = (padded(part, model.heads, size) for part in
                             np.split(fold_bias(source, *attention), 3))
        expected = {"attn.key.bias": key, "attn.value.bias": value, "attn.query.bias": query,
                    "attn.projection.bias": source.tensor16(f"{prefix}attn.c_proj.bias"),
                    "mlp.fc.bias": fold_bias(source, *feed_forward),
                    "mlp.projection.bias": source.tensor16(f"{prefix}mlp.c_proj.bias")}
        assert [name for name, _ in compiled.shape.layer_vectors] == list(expected)
        address = compiled.layout[f"vectors.{layer}"].start
        for name, chunks in compiled.shape.layer_vectors:
            found = compiled.ddr[address:address + 2 * len(expected[name])].view("<f2")
            assert np.array_equal(found, expected[name]), name
            address += chunks * compiled.config.chunk_bytes
    for name in ("ln_f.weight", "ln_f.bias"):
        start = compiled.layout[name].start
        assert np.array_equal(compiled.ddr[start:start + 80].view("<f2"), source.tensor16(name))


@pytest.mark.parametrize("name", ["nano", "tall"])
def test_ddr(checkpoint, name):
    source = checkpoint(**SIZES)
    compiled = compile(source, CONFIGS[name])
    model, layout, size = source.config, compiled.layout, compiled.shape.head_columns

    def values(address, count):
        return compiled.ddr[address:address + 2 * count].view("<f2")

    words = compiled.ddr[:32 * len(compiled.instructions)].reshape(-1, 32)
    assert [int.from_bytes(word.tobytes(), "little") for word in words] == compiled.words
    for name in ("wte", "wpe"):
        row = compiled.shape.emb_chunks * compiled.config.tile
        rows = values(layout[name].start, layout[name].size // 2).reshape(-1, row)
        assert np.array_equal(rows[:, :model.emb], source.tensor16(name))
        assert not rows[:, model.emb:].any()
    for number in range(model.layers + 1):
        layer = f"h.{number % model.layers}."
        attention = np.split(source.tensor16(f"{layer}attn.c_attn.bias"), 3)
        query, key, value = (padded(part, model.heads, size) for part in attention)
        expected = {
            "ln_1.weight": source.tensor16(f"{layer}ln_1.weight"),
            "ln_1.bias": source.tensor16(f"{layer}ln_1.bias"),
            "attn.key.bias": key, "attn.value.bias": value, "attn.query.bias": query,
            "attn.projection.bias": source.tensor16(f"{layer}attn.c_proj.bias"),
            "ln_2.weight": source.tensor16(f"{layer}ln_2.weight"),
            "ln_2.bias": source.tensor16(f"{layer}ln_2.bias"),
            "mlp.fc.bias": source.tensor16(f"{layer}mlp.c_fc.bias"),
            "mlp.projection.bias": source.tensor16(f"{layer}mlp.c_proj.bias"),
        }
        address = layout["vectors.0"].start + number * layout.vector_stride
        for vector, chunks in compiled.shape.layer_vectors:
            assert np.array_equal(values(address, len(expected[vector])), expected[vector])
            address += chunks * compiled.config.chunk_bytes
    for name in ("ln_f.weight", "ln_f.bias"):
        assert np.array_equal(values(layout[name].start, model.emb), source.tensor16(name))
