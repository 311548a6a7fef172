"""What each vector instruction asks of the parts of the unit, as data, and what they exchange.

Softmax needs no hardware of its own: it is a job of the vector function unit (subtract the row's
maximum, exponential), the reduction (sum of the exponentials) and the scalar unit (reciprocal of
the sum) at the same time. LayerNorm has a component, since nothing else normalises; RSTD is the
half of it that finds the deviation.
"""

from amaranth import *
from amaranth.lib import data, enum

from ..arith.formats import Fp16, Fp32
from ..isa import CHUNK, LENGTH, SCALAR, TAG, Opcode

__all__ = [
    "BeatLayout", "CollectorRequest", "Job", "OPERANDS", "PARTS", "ResultLayout",
    "ScalarOperation", "ScalarPair", "ScalarRequest", "VectorOperation",
]


class VectorOperation(enum.Enum, shape=2):
    """What the vector function unit does to a lane."""

    MOVE = 0
    ADD = 1
    SUB = 2
    MUL = 3


class ScalarOperation(enum.Enum, shape=3):
    """What the scalar unit does to its operands."""

    MOVE = 0
    ADD = 1
    SUB = 2
    MUL = 3
    RECIP = 4
    RECIP_SQRT = 5


class ScalarRequest(data.Struct):
    """An operation on binary32 scalars."""

    operation: ScalarOperation
    a: Fp32
    b: Fp32


class ScalarPair(data.Struct):
    """The scalar operands of an instruction."""

    first: Fp32
    second: Fp32


class CollectorRequest(data.Struct):
    """What the operand collector reads for an instruction.

    Members
    -------
    vector
        There are chunks to read.
    sources
        The first chunk of each vector operand.
    last_operand
        Vector operands less one.
    statistics
        The first operand is read once by itself before all are read together.
    length
        Valid elements.
    first_enable, first, second_enable, second
        The scalars to read.
    """

    vector: 1
    sources: data.ArrayLayout(CHUNK, 3)
    last_operand: 2
    statistics: 1
    length: LENGTH
    first_enable: 1
    first: SCALAR
    second_enable: 1
    second: SCALAR


class Job(data.Struct):
    """What the parts of the unit do while an instruction executes.

    Members
    -------
    function, normalise
        Beats go through the vector function unit, or through LayerNorm.
    deviation
        LayerNorm takes the exact sums, and has the scalar unit to itself.
    operation, exponential
        What the vector function unit does, and whether the exponential follows it.
    accumulate, accumulate_result
        The reduction takes the beats of operands, or the results of the vector function unit.
    scalar_operand
        The second operand of every lane is a scalar.
    immediate
        The second scalar operand is ``immediates[0]``.
    move_immediate
        The first scalar operand is ``immediates[0]``.
    scalar_operation
        What makes the scalar result, from the reduction's sum or the scalar operands.
    vector_write, scalar_write
        Which results there are.
    destination, scalar_destination, length, immediates, tag
        Copied from the command.
    """

    function: 1
    normalise: 1
    deviation: 1
    operation: VectorOperation
    exponential: 1
    accumulate: 1
    accumulate_result: 1
    scalar_operand: 1
    immediate: 1
    move_immediate: 1
    scalar_operation: ScalarOperation
    vector_write: 1
    scalar_write: 1
    destination: CHUNK
    scalar_destination: SCALAR
    length: LENGTH
    immediates: data.ArrayLayout(Fp32, 3)
    tag: TAG


def _function(operation, **parts):
    return {"function": 1, "operation": operation, "vector_write": 1, **parts}


def _scalar(operation, **parts):
    return {"scalar_operation": operation, "scalar_write": 1, **parts}


#: The constant fields of the job of each opcode.
PARTS = {
    Opcode.ADD:         _function(VectorOperation.ADD),
    Opcode.SUB:         _function(VectorOperation.SUB),
    Opcode.MUL:         _function(VectorOperation.MUL),
    Opcode.EXP:         _function(VectorOperation.MOVE, exponential=1),
    Opcode.MOVE:        _function(VectorOperation.MOVE),
    Opcode.ACCUM:       _scalar(ScalarOperation.MOVE, accumulate=1),
    Opcode.SCALAR_MOVE: _scalar(ScalarOperation.MOVE),
    Opcode.SCALAR_ADD:  _scalar(ScalarOperation.ADD),
    Opcode.SCALAR_SUB:  _scalar(ScalarOperation.SUB),
    Opcode.SCALAR_MUL:  _scalar(ScalarOperation.MUL),
    Opcode.RECIP:       _scalar(ScalarOperation.RECIP),
    Opcode.RECIP_SQRT:  _scalar(ScalarOperation.RECIP_SQRT),
    Opcode.LAYERNORM:   {"normalise": 1, "deviation": 1, "vector_write": 1},
    Opcode.SOFTMAX:     _function(VectorOperation.SUB, exponential=1, accumulate_result=1,
                                  scalar_operand=1, scalar_write=1,
                                  scalar_operation=ScalarOperation.RECIP),
    Opcode.RSTD:        {"deviation": 1, "accumulate": 1, "scalar_write": 1},
}

#: Vector operands of each opcode; two become one if the second is a scalar.
OPERANDS = {
    Opcode.ADD: 2, Opcode.SUB: 2, Opcode.MUL: 2, Opcode.EXP: 1, Opcode.MOVE: 1, Opcode.ACCUM: 1,
    Opcode.LAYERNORM: 3, Opcode.SOFTMAX: 1, Opcode.RSTD: 1,
}


def BeatLayout(lanes):
    """The operands of ``lanes`` elements; those beyond the length are +0.

    Members
    -------
    a, b, c : arrays of Fp16
        The first to third vector operand.
    enable : lanes bits
        Which elements are within the length.
    chunk_first, chunk_last, last : 1 bit each
        The first and the last beat of a chunk, the last beat of the vector. The vector's last
        chunk may have fewer beats than the others.
    statistics : 1 bit
        The beat belongs to the pass before the one that makes results.
    """
    vector = data.ArrayLayout(Fp16, lanes)
    return data.StructLayout({
        "a": vector, "b": vector, "c": vector, "enable": lanes,
        "chunk_first": 1, "chunk_last": 1, "last": 1, "statistics": 1,
    })


def ResultLayout(lanes):
    """The results of a beat; those beyond the length are +0."""
    return data.StructLayout({"values": data.ArrayLayout(Fp16, lanes), "chunk_last": 1, "last": 1})
