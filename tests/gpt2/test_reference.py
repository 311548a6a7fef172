import math
import re
from pathlib import Path

import numpy as np
import pytest

from dfx_rtl.gpt2 import Checkpoint, Reference, Tokenizer
from dfx_rtl.gpt2.synthetic import write_random_checkpoint


def slow_logits(checkpoint, ids, tensor=None):
    """GPT-2 by its formulas, one number at a time; only for tiny models."""
    config, tensor = checkpoint.config, tensor or checkpoint.tensor
    width = config.emb // config.heads

    def get(name):
        return tensor(name).astype(np.float64).tolist()

    def norm(x, name):
        weight, bias = get(f"{name}.weight"), get(f"{name}.bias")
        mean = math.fsum(x) / len(x)
        variance = math.fsum((value - mean) ** 2 for value in x) / len(x)
        return [(value - mean) / math.sqrt(variance + config.layer_norm_epsilon) * w + b
                for value, w, b in zip(x, weight, bias, strict=True)]

    def product(x, name):
        weight, bias = get(f"{name}.weight"), get(f"{name}.bias")
        return [math.fsum(x[k] * weight[k][c] for k in range(len(x))) + bias[c]
                for c in range(len(bias))]

    def add(x, y):
        return [a + b for a, b in zip(x, y, strict=True)]

    def gelu(v):
        return v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2

    wte, wpe = get("wte"), get("wpe")
    rows = [add(wte[token], wpe[place]) for place, token in enumerate(ids)]
    for layer in range(config.layers):
        together = [product(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn") for x in rows]
        for place, x in enumerate(rows):
            context = []
            for head in range(config.heads):
                begin = head * width
                query, key, value = (
                    [row[begin + part : begin + part + width] for row in together[: place + 1]]
                    for part in (0, config.emb, 2 * config.emb))
                scores = [math.fsum(q * k for q, k in zip(query[-1], past, strict=True))
                          / math.sqrt(width) for past in key]
                weights = [math.exp(score - max(scores)) for score in scores]
                context += [
                    math.fsum(w * past[c] for w, past in zip(weights, value, strict=True))
                    / sum(weights) for c in range(width)
                ]
            x = add(x, product(context, f"h.{layer}.attn.c_proj"))
            hidden = [gelu(v) for v in product(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")]
            rows[place] = add(x, product(hidden, f"h.{layer}.mlp.c_proj"))
    return np.array([
        [math.fsum(a * b for a, b in zip(x, row, strict=True)) for row in wte]
        for x in (norm(x, "ln_f") for x in rows)
    ])


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint.load(write_random_checkpoint(
        tmp_path, emb=12, layers=2, heads=3, vocabulary=29, positions=10, inner=20, seed=3,
        dtype="float32"))


IDS = [3, 28, 0, 3, 3, 17, 9, 1, 20, 5]


def test_against_the_formulas(checkpoint):
    expected = slow_logits(checkpoint, IDS)
    logits = Reference(checkpoint).logits(IDS)
    assert logits.dtype == np.float64 and logits.shape == (10, 29)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12)


def test_outliers(tmp_path):
    """Residuals of some thousands, as trained models have them."""
    checkpoint = Checkpoint.load(write_random_checkpoint(tmp_path, outlier=3000.0))
    assert checkpoint.tensor("wpe")[:, 0].min() > 2900
    expected = slow_logits(checkpoint, [1, 2, 3])
    np.testing.assert_allclose(Reference(checkpoint).logits([1, 2, 3]), expected, atol=1e-9)


def test_binary16_weights(checkpoint):
    stored, rounded = Reference(checkpoint), Reference(checkpoint, weights="binary16")
    expected = slow_logits(checkpoint, IDS[:3], checkpoint.tensor16)
    np.testing.assert_allclose(rounded.logits(IDS[:3]), expected, rtol=0, atol=1e-12)
    difference = np.abs(rounded.logits(IDS) - stored.logits(IDS)).max()
    assert 1e-5 < difference < 0.1


def test_steps_equal_the_whole_window(checkpoint):
    reference = Reference(checkpoint)
    whole = reference.logits(IDS)
    for _ in range(2):
        for place, token in enumerate(IDS):
            assert reference.length == place
            np.testing.assert_allclose(reference.step(token), whole[place], rtol=0, atol=1e-12)
        reference.reset()


def test_large_models_are_not_cached(checkpoint, monkeypatch):
    cached = Reference(checkpoint)
    monkeypatch.setattr("dfx_rtl.gpt2.reference._CACHE_BYTES", 0)
    lazy = Reference(checkpoint)
    assert np.array_equal(lazy.logits(IDS), cached.logits(IDS))
    assert lazy._cached is None and len(cached._cached) == len(checkpoint.config.shapes())


def test_generate(checkpoint):
    reference = Reference(checkpoint)
    ids = [4, 7]
    for _ in range(6):
        ids.append(int(np.argmax(reference.logits(ids)[-1])))
    assert len(set(ids[2:])) > 2
    assert reference.generate([4, 7], 6) == ids[2:]
    assert reference.length == 7  # the last token has not been taken
    assert reference.generate([4, 7], 6) == ids[2:]
    assert reference.generate([4, 7], 0) == []
    assert len(reference.generate([4, 7], 9)) == 9


def test_lowest_id_wins_a_tie(tmp_path):
    """With a LayerNorm at the end that gives zeros, all logits are equal."""
    checkpoint = Checkpoint.load(write_random_checkpoint(tmp_path))
    reference = Reference(checkpoint)
    reference._cached |= {"ln_f.weight": np.zeros(16), "ln_f.bias": np.zeros(16)}
    assert not reference.logits([5]).any()
    assert reference.generate([5], 3) == [0, 0, 0]


@pytest.mark.parametrize("ids, message", [
    ([], "ids must not be empty"),
    ([29], "ids must be from 0 to 28, not [29]"),
    ([3, -1], "ids must be from 0 to 28, not [3, -1]"),
    ([0] * 11, "the model has 10 positions, not 11"),
])
def test_errors(checkpoint, ids, message):
    reference = Reference(checkpoint)
    for call in (reference.logits, lambda ids: reference.generate(ids, 1)):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(ids)


def test_more_errors(checkpoint):
    message = "weights must be 'stored' or 'binary16', not 'int8'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Reference(checkpoint, weights="int8")
    reference = Reference(checkpoint)
    with pytest.raises(ValueError, match="^the model has 10 positions, not 11$"):
        reference.generate([1], 11)
    reference.generate([1], 10)
    with pytest.raises(ValueError, match="^the model has 10 positions, not 11$"):
        reference.step(0)


def test_shipped_model():
    """The model in models/ says what its README says."""
    path = Path(__file__).parents[2] / "models" / "shakespeare"
    tokenizer, reference = Tokenizer.load(path), Reference(Checkpoint.load(path))
    ids = tokenizer.encode("ROMEO:\n")
    assert ids == [30, 27, 25, 17, 27, 10, 0]
    generated = reference.generate(ids, 48)
    assert generated == [
        21, 1, 61, 47, 50, 50, 1, 52, 53, 58, 1, 58, 46, 43, 1, 57, 43, 52, 39, 58, 53, 56, 57, 1,
        53, 44, 1, 58, 46, 43, 1, 57, 58, 39, 58, 43, 6, 0, 13, 52, 42, 1, 58, 46, 43, 56, 43, 1,
    ]
    text = tokenizer.decode(generated)
    assert text == 'I will not the senators of the state,\nAnd there '
    readme = (path / "README.md").read_text()
    assert all(line in readme for line in text.splitlines())
