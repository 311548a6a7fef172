"""Matrix instructions."""

from typing import NamedTuple

import numpy as np

from ..arith.formats import FP16_NEGATIVE_INFINITY, canonical32
from ..arith.golden import to_fp32
from .exact import Columns, dot

__all__ = ["Candidate", "MatrixUnit"]

# Bytes of weights that are kept in binary64. The others are kept in binary16: a quarter of the
# memory, and an eighth more time for a model of 355 M weights.
_WIDE_BYTES = 1 << 27


class Candidate(NamedTuple):
    """The largest of some logits: its value in binary32 and its index, -1 if all are NaN."""

    logit: np.float32
    token: int


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
        self._segments = []

    def forget(self):
        """HBM has changed: read weights anew."""
        self._weights, self._wide_bytes = {}, 0

    def execute(self, instruction, tag, layer_base):
        """Execute one.

        Returns
        -------
        (logits, candidate)
            The results in binary32 if they are to be written, and the :class:`Candidate` if asked
            for; each None otherwise.
        """
        state = self._state
        position = tag.position
        rows = position + 1 if instruction.rows_from_position else instruction.rows
        columns = position + 1 if instruction.columns_from_position else instruction.columns
        tile = instruction.tile + (layer_base if instruction.layer_relative else 0)
        # An exact sum of segments is the exact sum of all rows: it is taken with the last one.
        if instruction.first:
            self._segments = []
        self._segments.append((state.read(instruction.source, rows).copy(),
                               (instruction, tile, rows, columns)))
        if not instruction.last:
            return None, None
        x, places = zip(*self._segments, strict=True)
        v = dot(np.concatenate(x), self._matrix(places))
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
                self._arg_max(v, instruction.arg_max_base) if instruction.arg_max else None)

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

    def _arg_max(self, v, base):
        if np.isnan(v).any():
            self._state.flags.invalid = True
            if np.isnan(v).all():
                return Candidate(v[0], -1)
        column = int(np.nanargmax(v))
        return Candidate(v[column], base + column)

    def _matrix(self, places):
        """The matrix of all segments, each (instruction, first tile, rows, columns)."""
        if any(instruction.key_value for instruction, *_ in places):
            return Columns(self._joined(places), wide=True)
        key = tuple((*place, instruction.block, instruction.transposed)
                    for instruction, *place in places)
        if key not in self._weights:
            values = self._joined(places)
            for instruction, tile, *_ in places:
                self._hbm.release(tile, instruction.tiles)
            size = 8 * values.size
            wide = self._wide_bytes + size <= _WIDE_BYTES
            self._wide_bytes += size if wide else 0
            self._weights[key] = Columns(values, wide=wide)
        return self._weights[key]

    def _joined(self, places):
        parts = [self._columns(*place) for place in places]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

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
