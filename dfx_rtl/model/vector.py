"""Vector and scalar instructions."""

import numpy as np

from ..arith.formats import canonical32, float32_from_bits
from ..arith.golden import exact_to_fp32, to_fp32
from ..isa import Opcode
from .exact import scaled_integers, sum32

__all__ = ["VectorUnit"]


class VectorUnit:
    """Executes vector instructions.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state):
        self._state = state
        self._operations = {
            Opcode.ADD: state.add, Opcode.SUB: state.subtract, Opcode.MUL: state.multiply,
            Opcode.SCALAR_ADD: state.add, Opcode.SCALAR_SUB: state.subtract,
            Opcode.SCALAR_MUL: state.multiply,
        }

    def execute(self, instruction, tag):
        """Execute one."""
        state, opcode = self._state, instruction.opcode
        length = tag.position + 1 if instruction.length_from_position else instruction.length
        if opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL):
            a = to_fp32(state.read(instruction.source1, length))
            result = self._operations[opcode](a, self._second(instruction, length))
            state.write(tag, instruction.destination, state.narrow(result))
        elif opcode == Opcode.EXP:
            values = state.exp(state.read(instruction.source1, length))
            state.write(tag, instruction.destination, values)
        elif opcode == Opcode.MOVE:
            values = state.move(state.read(instruction.source1, length))
            state.write(tag, instruction.destination, values)
        elif opcode == Opcode.LAYERNORM:
            self._layer_norm(instruction, tag, length)
        elif opcode == Opcode.SOFTMAX:
            self._softmax(instruction, tag, length)
        else:
            state.write_scalar(tag, instruction.scalar_destination,
                               self._scalar(instruction, length))

    def _second(self, instruction, length):
        if instruction.immediate_enable:
            return canonical32(float32_from_bits(instruction.immediate0))
        if instruction.scalar_enable:
            return self._state.read_scalar(instruction.scalar_source2)
        return to_fp32(self._state.read(instruction.source2, length))

    def _scalar(self, instruction, length):
        state, opcode = self._state, instruction.opcode
        immediate = canonical32(float32_from_bits(instruction.immediate0))
        if opcode == Opcode.RSTD:
            return self._reciprocal_deviation(
                instruction, state.read(instruction.source1, length))
        if opcode == Opcode.ACCUM:
            return state.check(sum32(state.read(instruction.source1, length)), np.inf)
        if opcode == Opcode.SCALAR_MOVE and instruction.immediate_enable:
            return immediate
        first = state.read_scalar(instruction.scalar_source1)
        if opcode == Opcode.SCALAR_MOVE:
            return first
        if opcode == Opcode.RECIP:
            return state.reciprocal(first)
        if opcode == Opcode.RECIP_SQRT:
            return state.reciprocal_root(first)
        second = immediate if instruction.immediate_enable \
            else state.read_scalar(instruction.scalar_source2)
        return self._operations[opcode](first, second)

    def _layer_norm(self, instruction, tag, length):
        state = self._state
        x = state.read(instruction.source1, length)
        gamma = to_fp32(state.read(instruction.source2, length))
        beta = to_fp32(state.read(instruction.source3, length))
        total = state.check(sum32(x), np.inf)
        mean = state.multiply(total, float32_from_bits(instruction.immediate0))
        deviation = self._reciprocal_deviation(instruction, x)
        y = state.multiply(state.subtract(to_fp32(x), mean), deviation)
        y = state.add(state.multiply(y, gamma), beta)
        state.write(tag, instruction.destination, state.narrow(y))

    def _reciprocal_deviation(self, instruction, x):
        """One over the standard deviation of ``x``, with epsilon, in binary32."""
        state, length = self._state, len(x)
        inverse_square, epsilon = (
            float32_from_bits(getattr(instruction, f"immediate{n}")) for n in (1, 2))
        if np.isfinite(x).all():
            integers = scaled_integers(x)
            # 40 bits and the sign, squared in two halves, so that 64 bits hold the sums.
            high, low = integers >> 20, integers & 0xFFFFF
            squares = ((int((high * high).sum()) << 40) + (int((high * low).sum()) << 21)
                       + int((low * low).sum()))
            difference = exact_to_fp32(length * squares - int(integers.sum()) ** 2)
        else:
            difference = exact_to_fp32(0, nan=True)
        state.check(difference, np.inf)
        variance = state.multiply(difference, inverse_square)
        return state.reciprocal_root(state.add(variance, epsilon))

    def _softmax(self, instruction, tag, length):
        state = self._state
        scores = to_fp32(state.read(instruction.source1, length))
        maximum = state.read_scalar(instruction.scalar_source1)
        e = state.exp(state.narrow(state.subtract(scores, maximum)))
        state.write(tag, instruction.destination, e)
        total = state.check(sum32(e), np.inf)
        state.write_scalar(tag, instruction.scalar_destination, state.reciprocal(total))
