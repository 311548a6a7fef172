"""How the units reach the register files: the signatures of their read and write ports.

A read *is* the wait on the scoreboard: ``ready`` says that the addressed register has been written,
and the data comes in the next cycle. A write marks the register as written.
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.formats import Fp16, Fp32
from ..isa import CHUNK, SCALAR, TAG

__all__ = [
    "ChunkLayout", "ScalarReadSignature", "ScalarWriteLayout", "ScalarWriteSignature",
    "VectorReadSignature", "VectorWriteLayout", "VectorWriteSignature",
]


def ChunkLayout(tile):
    """A chunk: ``tile`` binary16 values, the first in the least significant bits."""
    return data.ArrayLayout(Fp16, tile)


class VectorReadSignature(wiring.Signature):
    """A read port of the vector register file, seen from the unit that reads.

    A read happens in each cycle with ``valid`` and ``ready``. ``ready`` is combinational in
    ``address``: the chunk is written. ``data`` holds the chunk from the next cycle on until the
    cycle after the next read.

    Parameters
    ----------
    tile : int
        Values in a chunk.
    """

    def __init__(self, tile):
        super().__init__({
            "address": Out(CHUNK),
            "valid": Out(1),
            "ready": In(1),
            "data": In(ChunkLayout(tile)),
        })


class ScalarReadSignature(wiring.Signature):
    """A read port of the scalar register file; the rules of :class:`VectorReadSignature`."""

    def __init__(self):
        super().__init__({
            "address": Out(SCALAR),
            "valid": Out(1),
            "ready": In(1),
            "data": In(Fp32),
        })


def VectorWriteLayout(tile):
    """A write of a chunk, with the tag that says which instruction made it."""
    return data.StructLayout({"address": CHUNK, "data": ChunkLayout(tile), "tag": TAG})


def ScalarWriteLayout():
    """A write of a scalar, with the tag that says which instruction made it."""
    return data.StructLayout({"address": SCALAR, "data": Fp32, "tag": TAG})


def VectorWriteSignature(tile):
    """A stream of chunk writes. The MPU's is never stalled; the others may be."""
    return stream.Signature(VectorWriteLayout(tile))


def ScalarWriteSignature():
    """A stream of scalar writes. The MPU's is never stalled; the others may be."""
    return stream.Signature(ScalarWriteLayout())
