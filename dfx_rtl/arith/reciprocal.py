"""The reciprocal and the reciprocal square root of a binary32 number."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .formats import Fp32

__all__ = ["Reciprocal", "ReciprocalRequest", "ReciprocalResult"]


class ReciprocalRequest(data.Struct):
    a: Fp32
    square_root: 1


class ReciprocalResult(data.Struct):
    result: Fp32
    invalid: 1


class Reciprocal(wiring.Component):
    def __init__(self, bits_per_cycle=2):
        super().__init__({
            "i": In(stream.Signature(ReciprocalRequest)),
            "o": Out(stream.Signature(ReciprocalResult)),
        })
