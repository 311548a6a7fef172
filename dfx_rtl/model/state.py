"""The machine's registers, flags and arithmetic."""

import numpy as np

from ..arith import golden
from ..arith.formats import FP16_NAN, FP32_NAN, bits32, canonical16, float32_from_bits
from .trace import Flags, ScalarWrite, VectorWrite

__all__ = ["State"]


class State:
    """Both register files, and the binary32 arithmetic that sets the sticky flags.

    Registers are NaN until they are written, so that what reads too early shows.

    Parameters
    ----------
    config : CoreConfig
    on_write : callable or None
        Called with each record of :mod:`.trace`.
    """

    def __init__(self, config, on_write):
        self.config = config
        self.flags = Flags()
        self.on_write = on_write
        self._vectors = np.full(config.vector_chunks * config.tile, FP16_NAN, np.uint16)
        self._scalars = np.full(config.scalars, FP32_NAN, np.uint32)

    def read(self, chunk, length):
        """``length`` binary16 values from a chunk on."""
        start = chunk * self.config.tile
        return self._vectors[start:start + length].view(np.float16)

    def write(self, tag, chunk, values, fill=0):
        """Write binary16 values from a chunk on; ``fill`` are the bits that complete the last."""
        tile = self.config.tile
        chunks = self.config.chunks(len(values))
        start = chunk * tile
        self._vectors[start:start + len(values)] = values.view(np.uint16)
        self._vectors[start + len(values):start + chunks * tile] = fill
        if self.on_write:
            for number in range(chunk, chunk + chunks):
                self.on_write(VectorWrite(
                    tag, number, self._vectors[number * tile:(number + 1) * tile].copy()))

    def read_scalar(self, number):
        """A scalar, in binary32."""
        return float32_from_bits(self._scalars[number])

    def write_scalar(self, tag, number, value):
        """Write a binary32 scalar."""
        self._scalars[number] = bits32(value)
        if self.on_write:
            self.on_write(ScalarWrite(tag, number, int(self._scalars[number])))

    def check(self, result, *operands):
        """Set the flags that a result of these operands sets; returns the result."""
        if np.isfinite(result).all():
            return result
        if np.isnan(result).any():
            self.flags.invalid = True
        finite = np.isinf(result)
        for operand in operands:
            finite = finite & np.isfinite(operand)
        if finite.any():
            self.flags.overflow = True
        return result

    def add(self, a, b):
        """``a + b`` in binary32."""
        return self.check(golden.add32(a, b), a, b)

    def subtract(self, a, b):
        """``a - b`` in binary32."""
        return self.check(golden.subtract32(a, b), a, b)

    def multiply(self, a, b):
        """``a * b`` in binary32."""
        return self.check(golden.multiply32(a, b), a, b)

    def narrow(self, a):
        """binary32 to binary16."""
        return self.check(golden.to_fp16(a), a)

    def exp(self, a):
        """``e ** a`` in binary16."""
        return self.check(golden.exp16(a), a)

    def gelu(self, a):
        """GELU in binary16."""
        return self.check(golden.gelu16(a), a)

    def move(self, a):
        """A copy of binary16 values, every NaN canonical."""
        return self.check(canonical16(a))

    def reciprocal(self, a):
        """``1 / a``. That of a zero counts as an overflow."""
        return self.check(golden.recip32(a), a)

    def reciprocal_root(self, a):
        """``1 / sqrt(a)``. That of a zero counts as an overflow."""
        return self.check(golden.recip_sqrt32(a), a)
