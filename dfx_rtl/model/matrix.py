"""Matrix instructions."""

import numpy as np

from ..arith.formats import FP16_NEGATIVE_INFINITY, canonical32
from ..arith.golden import exact_to_fp32, to_fp32
from .exact import Columns, dot, exact_flags, exact_integers

__all__ = ["MatrixUnit"]

# Bytes of weights that are kept in binary64. The others are kept in binary16: a quarter of the
# memory, and an eighth more time for a model of 355 M weights.
_WIDE_BYTES = 1 << 27


class MatrixUnit:
    """Executes matrix instructions. Weights are taken out of their tiles once, and kept.

    Parameters
    ----------
    state : State
    hbm : Hbm
    """

    def __init__(self, state, hbm):
        self._state = state
        self._config = state.config
        self._hbm = hbm
        self._weights = {}
        self._wide_bytes = 0
        self._sums = None

    def forget(self):
        """HBM has changed: read weights anew."""
        self._weights, self._wide_bytes = {}, 0

    def execute(self, instruction, tag, layer_base):
        """Execute one.

        Returns
        -------
        (logits, token)
            The results in binary32 if they are to be written, and the index of the largest if
            asked for; each None otherwise. A token of -1 says that every result is a NaN.
        """
        state = self._state
        position = tag.position
        rows = position + 1 if instruction.rows_from_position else instruction.rows
        columns = position + 1 if instruction.columns_from_position else instruction.columns
        tile = instruction.tile + (layer_base if instruction.layer_relative else 0)
        x = state.read(instruction.source, rows)
        matrix = self._matrix(instruction, tile, rows, columns)
        v = self._accumulate(instruction, x, matrix)
        if v is None:
            return None, None
        state.check(v, np.inf)
        if instruction.scale_enable:
            v = state.multiply(v, state.read_scalar(instruction.scale))
        for enable, chunk in ((instruction.bias_enable, instruction.bias),
                              (instruction.residual_enable, instruction.residual)):
            if enable:
                v = state.add(v, to_fp32(state.read(chunk, columns)))
        v = canonical32(v)
        if instruction.write or instruction.maximum_enable:
            self._store(instruction, tag, v)
        return (v if instruction.logits else None,
                self._arg_max(v) if instruction.arg_max else None)

    def _store(self, instruction, tag, v):
        state = self._state
        h = state.narrow(v)
        if instruction.gelu:
            h = state.gelu(h)
        if instruction.write:
            fill = FP16_NEGATIVE_INFINITY if instruction.mask else 0
            state.write(tag, instruction.destination, h, fill)
        if instruction.maximum_enable:
            state.write_scalar(tag, instruction.maximum, to_fp32(_maximum(h)))

    def _arg_max(self, v):
        if np.isnan(v).any():
            self._state.flags.invalid = True
            if np.isnan(v).all():
                return -1
        return int(np.nanargmax(v))

    def _accumulate(self, instruction, x, matrix):
        """The sums in binary32, or None if they stay in the accumulators."""
        if instruction.first and instruction.last:
            return dot(x, matrix)
        integers = np.array(exact_integers(x, matrix.narrow), dtype=object)
        flags = exact_flags(x, matrix.narrow)
        if not instruction.first:
            integers = integers + self._sums[0]
            flags = tuple(a | b for a, b in zip(flags, self._sums[1], strict=True))
        if not instruction.last:
            self._sums = integers, flags
            return None
        positive, negative, nan = flags
        return exact_to_fp32(integers, positive_infinity=positive, negative_infinity=negative,
                             nan=nan)

    def _matrix(self, instruction, tile, rows, columns):
        if instruction.key_value:
            return Columns(self._columns(instruction, tile, rows, columns), wide=True)
        key = tile, rows, columns, instruction.block, instruction.transposed
        if key not in self._weights:
            values = self._columns(instruction, tile, rows, columns)
            size = 8 * values.size
            wide = self._wide_bytes + size <= _WIDE_BYTES
            self._wide_bytes += size if wide else 0
            self._weights[key] = Columns(values, wide=wide)
        return self._weights[key]

    def _columns(self, instruction, tile, rows, columns):
        """The matrix by columns, out of its tiles: block, row chunk, group."""
        config = self._config
        d, lanes = config.tile, config.lanes
        chunks, groups = config.chunks(rows), config.groups(columns)
        result = np.empty((groups * lanes, chunks * d), np.uint16)
        for first in range(0, groups, instruction.block):
            count = min(instruction.block, groups - first)
            tiles = self._hbm.read(tile + first * chunks, chunks * count)
            if instruction.transposed:
                part = tiles.reshape(chunks, count, d, lanes).transpose(1, 3, 0, 2)
            else:
                part = tiles.reshape(chunks, count, lanes, d).transpose(1, 2, 0, 3)
            result[first * lanes:(first + count) * lanes] = part.reshape(count * lanes, chunks * d)
        return np.ascontiguousarray(result[:columns, :rows]).view(np.float16)


def _maximum(h):
    """The greatest in the total order of the bits, with NaN above all."""
    nan = np.isnan(h)
    if nan.any():
        return h[nan][0]
    bits = h.view(np.int16).astype(np.int32)
    # Negative numbers in reverse; -0 is below +0.
    return h[np.argmax(np.where(bits < 0, -0x8000 - bits - 1, bits))]
