"""LayerNorm folded into the product behind it: the weights and the bias that take its place.

With x the residual stream, LayerNorm and the product behind it are

    y_j = sum_i W_ij (gamma_i (x_i - mean) rstd + beta_i) + b_j
        = rstd sum_i W'_ij x_i + b'_j,   W'_ij = gamma_i W_ij - mean over i of gamma_i W_ij,
                                         b'_j = b_j + sum_i beta_i W_ij.

A column of W' adds up to zero, so the mean of x has no effect, and only rstd has to be known, when
the sums leave. Both are computed in binary64 and rounded once to binary16.

Rounding spoils the zero: what a column's roundings leave is multiplied by the mean of x. So a
column is shifted by what was left over its rows, and rounded again. The shift is some hundredths of
a typical unit in the last place: it turns the roundings that were closest to a tie, and adds next
to nothing to the error of a single weight.
"""

import numpy as np

from .errors import CompileError

__all__ = ["ROUNDS", "fold_bias", "fold_weights"]

#: How often a column is shifted and rounded again.
ROUNDS = 3
# Columns at a time, so that what is in binary64 stays small.
_COLUMNS = 256


def fold_weights(checkpoint, norm, linear, wanted=None):
    """gamma * W, centred by column, in binary16.

    Parameters
    ----------
    checkpoint : Checkpoint
    norm, linear : str
        The names of the LayerNorm and of the product behind it, without ``.weight``.
    wanted : numpy array of bool, or None
        Columns that are needed; the others may be left at zero.

    Raises
    ------
    CompileError
        If a value is beyond binary16.
    """
    gamma = checkpoint.tensor(f"{norm}.weight").astype(np.float64)
    weight = checkpoint.tensor(f"{linear}.weight")
    folded = np.zeros(weight.shape, np.float16)
    for first in range(0, weight.shape[1], _COLUMNS):
        # Always the same columns together: numpy's sums may depend on how many there are.
        if wanted is not None and not wanted[first:first + _COLUMNS].any():
            continue
        part = gamma[:, None] * weight[:, first:first + _COLUMNS]
        part -= part.mean(axis=0)
        _check(part, first, f"{norm}.weight * {linear}.weight, centred,")
        folded[:, first:first + _COLUMNS] = _rounded(part)
    return folded


def _rounded(columns):
    """Columns in binary16 whose sums are as near to zero as some rounds of shifts bring them."""
    best = columns.astype(np.float16)
    left = best.sum(axis=0, dtype=np.float64)
    shift = np.zeros_like(left)
    last = left
    for _ in range(ROUNDS):
        shift -= last / len(columns)
        rounded = (columns + shift).astype(np.float16)
        last = rounded.sum(axis=0, dtype=np.float64)
        better = np.abs(last) < np.abs(left)
        best[:, better] = rounded[:, better]
        left = np.where(better, last, left)
    return best


def fold_bias(checkpoint, norm, linear):
    """b + beta W, in binary16, all of it. Errors are those of :func:`fold_weights`."""
    beta = checkpoint.tensor(f"{norm}.bias").astype(np.float64)
    weight = checkpoint.tensor(f"{linear}.weight")
    bias = checkpoint.tensor(f"{linear}.bias").astype(np.float64)
    for first in range(0, len(bias), _COLUMNS):
        bias[first:first + _COLUMNS] += beta @ weight[:, first:first + _COLUMNS].astype(np.float64)
    _check(bias[None], 0, f"{linear}.bias + {norm}.bias x {linear}.weight")
    return bias.astype(np.float16)


def _check(values, first_column, name):
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float16))
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise CompileError(
            f"layernorm 'folded': {name} is {values[row, column]:g} in column "
            f"{first_column + column}, expected a number that binary16 can hold, at most 65504")
