"""The vector instructions in numpy's float32 and Python's integers, from the definitions."""

import math
from dataclasses import dataclass, field

import numpy as np

from dfx_rtl.isa import Opcode

__all__ = ["Effect", "Golden", "exact_sum", "integers", "random_bits"]

NAN16, NAN32 = 0x7E00, 0x7FC00000


def half(bits):
    """The binary16 numbers that have these bits."""
    return np.asarray(bits, dtype=np.uint16).view(np.float16)


def single(bits):
    """The binary32 number that has these bits."""
    return np.uint32(bits).view(np.float32)


def half_bits(values):
    """Bits of binary16 numbers, NaN in the canonical form."""
    values = np.asarray(values, dtype=np.float16)
    return np.where(np.isnan(values), np.uint16(NAN16), values.view(np.uint16))


def single_bits(value):
    """Bits of a binary32 number, NaN in the canonical form."""
    return NAN32 if np.isnan(value) else int(np.float32(value).view(np.uint32))


def integers(values):
    """Finite binary16 numbers as Python integers in units of 2**-24."""
    return [int(math.ldexp(float(value), 24)) for value in values]


def exact_sum(values):
    """The sum of binary16 numbers, rounded once to binary32."""
    values = half_of(values)
    nan = np.isnan(values).any()
    positive, negative = (values == np.inf).any(), (values == -np.inf).any()
    if nan or (positive and negative):
        return np.float32(np.nan)
    if positive or negative:
        return np.float32(np.inf if positive else -np.inf)
    return rounded(sum(integers(values)), -24)


def half_of(values):
    """The same values as an array of binary16."""
    return np.asarray(values, dtype=np.float16)


def rounded(integer, unit):
    """``integer * 2**unit`` rounded to binary32, ties to even."""
    magnitude = abs(integer)
    drop = max(magnitude.bit_length() - 24, 0)
    kept, rest = magnitude >> drop, magnitude & ((1 << drop) - 1)
    if 2 * rest > 1 << drop or (2 * rest == 1 << drop and drop and kept & 1):
        kept += 1
    return np.float32(math.copysign(math.ldexp(kept, drop + unit), integer or 1))


def random_bits(rng, count):
    """Bits of binary16 numbers of every kind: specials, subnormals, small and large ones."""
    kinds = rng.integers(0, 8, count)
    bits = rng.integers(0, 1 << 16, count)
    specials = rng.choice([0x0000, 0x8000, 0x0001, 0x83FF, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF], count)
    usual = rng.normal(0, 2, count).astype(np.float16).view(np.uint16)
    finite = np.where((bits & 0x7C00) == 0x7C00, bits ^ 0x0400, bits)
    return np.select([kinds == 0, kinds == 1], [specials, finite], usual).astype(np.uint16)


@dataclass
class Effect:
    """What an instruction did: chunks and scalars written (as bits), and the flags."""

    chunks: dict = field(default_factory=dict)
    scalars: dict = field(default_factory=dict)
    overflow: bool = False
    invalid: bool = False

    def see(self, result, *operands):
        """Note the flags of an operation; give its result back."""
        result = np.asarray(result)
        self.invalid |= bool(np.isnan(result).any())
        infinite = np.isinf(result)
        for operand in operands:
            infinite = infinite & (np.isfinite(operand) if infinite.ndim
                                   else np.isfinite(operand).all())
        self.overflow |= bool(infinite.any())
        return result[()]


class Golden:
    """Register files and what the vector instructions do to them."""

    def __init__(self, tile, vectors, scalars):
        self.tile = tile
        self.vectors = np.array(vectors, dtype=np.uint16)
        self.scalars = np.array(scalars, dtype=np.uint32)

    def vector(self, chunk, length):
        """``length`` elements from ``chunk`` on."""
        return half(self.vectors.reshape(-1)[chunk * self.tile:chunk * self.tile + length])

    def execute(self, instruction, position=0):
        """Execute one instruction; the registers change, and the effect is returned."""
        effect = Effect()
        with np.errstate(all="ignore"):
            self._execute(instruction, position, effect)
        for chunk, bits in effect.chunks.items():
            self.vectors[chunk] = bits
        for index, bits in effect.scalars.items():
            self.scalars[index] = bits
        return effect

    def _execute(self, instruction, position, effect):
        see = effect.see
        opcode = instruction.opcode
        length = position + 1 if instruction.length_from_position else instruction.length
        first = single(self.scalars[instruction.scalar_source1])
        second = single(self.scalars[instruction.scalar_source2])
        immediates = [single(getattr(instruction, f"immediate{k}")) for k in range(3)]
        if instruction.immediate_enable:
            second = immediates[0]
        if opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL, Opcode.EXP, Opcode.MOVE):
            a = self.vector(instruction.source1, length)
            if instruction.immediate_enable or instruction.scalar_enable:
                b = second
            else:
                b = self.vector(instruction.source2, length).astype(np.float32)
            self._put(effect, instruction, self._lanes(opcode, a, b, see))
        elif opcode == Opcode.ACCUM:
            values = self.vector(instruction.source1, length)
            self._put_scalar(effect, instruction, see(exact_sum(values), values))
        elif opcode == Opcode.SOFTMAX:
            scores = self.vector(instruction.source1, length).astype(np.float32)
            difference = self._narrow(see(scores - first, scores, first), see)
            exponentials = self._exp(difference, see)
            self._put(effect, instruction, exponentials)
            total = see(exact_sum(exponentials), exponentials)
            self._put_scalar(effect, instruction, see(np.float32(1) / total, total))
        elif opcode == Opcode.RSTD:
            x = self.vector(instruction.source1, length)
            self._put_scalar(effect, instruction, self._rstd(x, immediates, see))
        elif opcode == Opcode.LAYERNORM:
            self._put(effect, instruction, self._layernorm(instruction, length, immediates, see))
        else:
            if opcode == Opcode.SCALAR_MOVE:
                result = immediates[0] if instruction.immediate_enable else first
                operands = (result,)
            elif opcode == Opcode.RECIP:
                result, operands = np.float32(1) / first, (first,)
            elif opcode == Opcode.RECIP_SQRT:
                result, operands = self._recip_sqrt(first), (first,)
            else:
                result, operands = {
                    Opcode.SCALAR_ADD: first + second,
                    Opcode.SCALAR_SUB: first - second,
                    Opcode.SCALAR_MUL: first * second,
                }[opcode], (first, second)
            self._put_scalar(effect, instruction, see(result, *operands))

    def _lanes(self, opcode, a, b, see):
        wide = a.astype(np.float32)
        if opcode == Opcode.EXP:
            return self._exp(a, see)
        if opcode == Opcode.MOVE:
            return see(a, a)
        result = {Opcode.ADD: wide + b, Opcode.SUB: wide - b, Opcode.MUL: wide * b}[opcode]
        return self._narrow(see(result, wide, b), see)

    def _layernorm(self, instruction, length, immediates, see):
        x, gamma, beta = (self.vector(chunk, length) for chunk in (
            instruction.source1, instruction.source2, instruction.source3))
        reciprocal = immediates[0]
        total = see(exact_sum(x), x)
        mean = see(total * reciprocal, total, reciprocal)
        rstd = self._rstd(x, immediates, see)
        x, gamma, beta = (operand.astype(np.float32) for operand in (x, gamma, beta))
        centred = see(x - mean, x, mean)
        scaled = see(centred * rstd, centred, rstd)
        weighted = see(scaled * gamma, scaled, gamma)
        return self._narrow(see(weighted + beta, weighted, beta), see)

    def _rstd(self, x, immediates, see):
        _, reciprocal_square, epsilon = immediates
        if np.isfinite(x).all():
            terms = integers(x)
            difference = rounded(len(x) * sum(term * term for term in terms) - sum(terms) ** 2,
                                 -48)
        else:
            difference = see(np.float32(np.nan))
        variance = see(difference * reciprocal_square, difference, reciprocal_square)
        stable = see(variance + epsilon, variance, epsilon)
        return see(self._recip_sqrt(stable), stable)

    @staticmethod
    def _recip_sqrt(value):
        if value == 0:
            return np.float32(math.copysign(math.inf, value))
        if not value > 0:
            return np.float32(np.nan)
        return np.float32(1 / np.sqrt(np.float64(value)))

    @staticmethod
    def _narrow(values, see):
        return see(values.astype(np.float16), values)

    @staticmethod
    def _exp(values, see):
        return see(np.exp(values.astype(np.float64)).astype(np.float16), values)

    def _put(self, effect, instruction, values):
        bits = half_bits(values)
        padded = np.zeros(-(-len(bits) // self.tile) * self.tile, dtype=np.uint16)
        padded[:len(bits)] = bits
        for index, chunk in enumerate(padded.reshape(-1, self.tile)):
            effect.chunks[instruction.destination + index] = chunk

    @staticmethod
    def _put_scalar(effect, instruction, value):
        effect.scalars[instruction.scalar_destination] = single_bits(value)
