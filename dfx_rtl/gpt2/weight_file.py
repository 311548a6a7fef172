"""Reads safetensors files: 8 bytes of length, a header in JSON, and the tensors one by one.

Read by hand because numpy has no bfloat16, and because large models need it tensor by tensor. Not
mapped: the pages that were read of a mapping count as the process's memory until it ends.
Source: the safetensors format, github.com/huggingface/safetensors.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import CheckpointError

__all__ = ["StoredTensor", "read_weight_file"]

_ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}
_MAX_HEADER = 100_000_000  # the limit of the safetensors library itself


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor in a file; nothing is read before it is asked for.

    Parameters
    ----------
    file : pathlib.Path
    name : str
        Its name in the file.
    dtype : str
        The format's name for the type: F32, F16, BF16, ...
    shape : tuple of int
    start, size : int
        The tensor's bytes in the file.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple
    start: int
    size: int

    def _raw(self):
        try:
            raw = np.fromfile(self.file, np.uint8, self.size, offset=self.start)
        except OSError as problem:
            raise CheckpointError(f"{self.file}: cannot be read: {problem.strerror}") from None
        if len(raw) != self.size:
            raise CheckpointError(f"{self.file}: tensor {self.name!r} has {len(raw)} bytes, "
                                  f"expected {self.size}: the file was cut after it was opened")
        return raw

    def values(self):
        """The tensor as it is stored; bfloat16 as float32, which holds all its values.

        Raises
        ------
        CheckpointError
            If the type is not one of F32, F16 and BF16, or a value is not finite.
        """
        if self.dtype == "BF16":
            bits = self._raw().view("<u2").astype("<u4") << 16
            values = bits.view("<f4")
        elif self.dtype in ("F32", "F16"):
            values = self._raw().view("<f4" if self.dtype == "F32" else "<f2")
        else:
            raise CheckpointError(
                f"{self.file}: tensor {self.name!r} has type {self.dtype}, "
                f"expected F32, F16 or BF16"
            )
        values = values.reshape(self.shape)
        values.flags.writeable = False
        self._check(values, values, "a finite number")
        return values

    def values16(self):
        """The tensor rounded to binary16, to nearest, ties to even: the hardware's weights.

        Raises
        ------
        CheckpointError
            As :meth:`values`, and where a value becomes infinite.
        """
        values = self.values()
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        self._check(rounded, values, "a number that binary16 can hold, at most 65504")
        return rounded

    def _check(self, values, stored, expected):
        finite = np.isfinite(values)
        if not finite.all():
            place = tuple(int(index) for index in np.argwhere(~finite)[0])
            where = ", ".join(map(str, place))
            raise CheckpointError(
                f"{self.file}: tensor {self.name!r} is {float(stored[place])!r} at [{where}], "
                f"expected {expected}"
            )


def _header(file):
    """The header's entries, where the tensors begin, and how many bytes they have."""
    with file.open("rb") as stream:
        total = os.fstat(stream.fileno()).st_size
        if total < 8:
            raise CheckpointError(f"{file}: size is {total} bytes, expected at least 8")
        length = int.from_bytes(stream.read(8), "little")
        limit = min(total - 8, _MAX_HEADER)
        if length > limit:
            raise CheckpointError(f"{file}: header is {length} bytes, expected at most {limit}")
        text = stream.read(length)
    try:
        entries = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise CheckpointError(f"{file}: header is not a JSON object")
    entries.pop("__metadata__", None)
    return entries, 8 + length, total - 8 - length


def _is_sizes(value):
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def read_weight_file(file):
    """The tensors of one safetensors file.

    Parameters
    ----------
    file : pathlib.Path

    Returns
    -------
    dict of str to StoredTensor

    Raises
    ------
    CheckpointError
        If the file is missing, too short or too long, or its header does not describe it.
    """
    try:
        entries, first, total = _header(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file") from None
    except OSError as problem:
        raise CheckpointError(f"{file}: cannot be read: {problem.strerror}") from None

    tensors, spans = {}, []
    for name, entry in entries.items():
        entry = entry if isinstance(entry, dict) else {}
        dtype, shape, span = map(entry.get, ("dtype", "shape", "data_offsets"))
        if not (isinstance(dtype, str) and _is_sizes(shape) and _is_sizes(span)
                and len(span) == 2 and span[0] <= span[1]):
            raise CheckpointError(
                f"{file}: header of tensor {name!r} is {entry!r}, "
                f"expected dtype, shape and data_offsets"
            )
        begin, end = span
        item = _ITEM_BYTES.get(dtype)
        if item is not None and end - begin != math.prod(shape) * item:
            raise CheckpointError(
                f"{file}: tensor {name!r} has {end - begin} bytes, "
                f"expected {math.prod(shape) * item}"
            )
        spans.append((begin, end, name))
        tensors[name] = StoredTensor(file, name, dtype, tuple(shape), first + begin, end - begin)

    # The format demands that the tensors fill the file without gaps, which shows a file that
    # was cut, or overwritten, or patched.
    place = 0
    for begin, end, name in sorted(spans):
        if begin != place:
            raise CheckpointError(
                f"{file}: tensor {name!r} begins at byte {begin}, expected {place}"
            )
        place = end
    if place != total:
        raise CheckpointError(f"{file}: tensors take {total} bytes, expected {place}")
    return tensors
