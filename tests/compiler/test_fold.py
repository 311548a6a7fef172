"""The weights and biases that LayerNorm is folded into."""

import numpy as np
import pytest

from dfx_rtl.compiler import CompileError, compile
from dfx_rtl.compiler.fold import fold_bias, fold_weights
from dfx_rtl.config import CONFIGS

NORM, LINEAR = "h.0.ln_1", "h.0.attn.c_attn"
WIDE = np.float64


class Tensors:
    """Stands for a checkpoint: its tensors by name."""

    def __init__(self, gamma, beta, weight, bias):
        self._tensors = {f"{NORM}.weight": gamma, f"{NORM}.bias": beta,
                         f"{LINEAR}.weight": weight, f"{LINEAR}.bias": bias}

    def tensor(self, name):
        return self._tensors[name]


def tensors(rows=96, columns=300, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)
    return [values.astype(dtype) for values in (
        random.normal(1, 0.3, rows), random.normal(0, 0.3, rows),
        random.normal(0, 0.02, (rows, columns)), random.normal(0, 0.1, columns))]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_are_near_and_add_up_to_nearly_zero(dtype):
    gamma, beta, weight, bias = tensors(dtype=dtype)
    exact = gamma.astype(WIDE)[:, None] * weight.astype(WIDE)
    exact -= exact.mean(axis=0)
    found = fold_weights(Tensors(gamma, beta, weight, bias), NORM, LINEAR)
    assert found.dtype == np.float16 and found.shape == weight.shape
    nearest = exact.astype(np.float16)
    unit = np.spacing(np.abs(nearest)).astype(WIDE)
    error = found.astype(WIDE) - exact
    # Hardly more than half a unit: only what was close to a tie has been rounded the other way.
    assert (np.abs(error) <= 0.5 * unit + 0.05 * unit.max(axis=0)).all()
    noise, least = (np.sqrt(((values.astype(WIDE) - exact)**2).mean())
                    for values in (found, nearest))
    assert noise < 1.01 * least
    left, before = (np.abs(values.sum(axis=0, dtype=WIDE)) for values in (found, nearest))
    assert (left <= before).all()
    assert np.sqrt((left**2).mean()) < 0.5 * np.sqrt((before**2).mean())


def test_one_row_is_zero():
    """LayerNorm of a single value has no output but beta."""
    gamma, beta, weight, bias = tensors(rows=1, columns=3)
    assert not fold_weights(Tensors(gamma, beta, weight, bias), NORM, LINEAR).any()


def test_bias():
    gamma, beta, weight, bias = tensors()
    found = fold_bias(Tensors(gamma, beta, weight, bias), NORM, LINEAR)
    exact = bias.astype(WIDE) + beta.astype(WIDE) @ weight.astype(WIDE)
    assert np.array_equal(found, exact.astype(np.float16))


def test_a_product_beyond_binary16():
    gamma, beta, weight, bias = tensors()
    gamma[7], weight[7, 280] = 1000, 100
    with pytest.raises(CompileError) as error:
        fold_weights(Tensors(gamma, beta, weight, bias), NORM, LINEAR)
    assert str(error.value) == (
        "layernorm 'folded': h.0.ln_1.weight * h.0.attn.c_attn.weight, centred, is 98958.3 in "
        "column 280, expected a number that binary16 can hold, at most 65504")
    beta[3], weight[3, 2] = -2000, 50
    with pytest.raises(CompileError) as error:
        fold_bias(Tensors(gamma, beta, weight, bias), NORM, LINEAR)
    start = "layernorm 'folded': h.0.attn.c_attn.bias + h.0.ln_1.bias x h.0.attn.c_attn.weight is "
    assert str(error.value).startswith(f"{start}-1000")
    assert str(error.value).endswith(
        " in column 2, expected a number that binary16 can hold, at most 65504")


def test_unknown_layernorm(checkpoint):
    with pytest.raises(CompileError) as error:
        compile(checkpoint(), CONFIGS["nano"], layernorm="none")
    assert str(error.value) == "layernorm must be 'explicit' or 'folded', not 'none'"
