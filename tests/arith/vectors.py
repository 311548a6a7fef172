"""Operands that hurt, and how a component of fixed latency is run on them."""

import numpy as np
from amaranth import *

SPECIAL32 = np.array([
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00000002, 0x007FFFFF, 0x807FFFFF, 0x00400000,
    0x00800000, 0x80800000, 0x00800001, 0x01000000, 0x33800000, 0x34000000, 0x3F000000, 0x3F7FFFFF,
    0x3F800000, 0xBF800000, 0x3F800001, 0xBF800001, 0x3FFFFFFF, 0x40000000, 0x4B000000, 0x4B800000,
    0x4B7FFFFF, 0xCB800001, 0x5F800000, 0x1F800000, 0x7EFFFFFF, 0x7F000000, 0x7F7FFFFF, 0xFF7FFFFF,
    0x7F7FFFFE, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x73000000,
], dtype=np.uint32)

SPECIAL16 = np.array([
    0x0000, 0x8000, 0x0001, 0x8001, 0x0002, 0x01FF, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x0401, 0x3BFF,
    0x3C00, 0xBC00, 0x3C01, 0x4000, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7C01, 0x7E00, 0xFE00, 0xFFFF,
], dtype=np.uint16)


def random32(generator, count):
    """Random bits, and random fractions at exponents that are near to each other."""
    wild = generator.integers(0, 1 << 32, count // 2, dtype=np.uint64)
    rest = count - count // 2
    tame = (generator.integers(0, 1 << 24, rest, dtype=np.uint64)
            | generator.integers(118, 138, rest, dtype=np.uint64) << np.uint64(23)
            | generator.integers(0, 2, rest, dtype=np.uint64) << np.uint64(31))
    return generator.permutation(np.concatenate([wild, tame])).astype(np.uint32)


def pack(numbers):
    """An array of unsigned integers as the bits of a vector."""
    return int.from_bytes(np.ascontiguousarray(numbers).tobytes(), "little")


def unpack(bits, count, unsigned_type):
    """The bits of a vector as an array of unsigned integers."""
    size = count * np.dtype(unsigned_type).itemsize
    return np.frombuffer(bits.to_bytes(size, "little"), dtype=unsigned_type)


def run(simulate, dut, inputs, outputs, stalls=None):
    """Apply ``inputs``, a list of dictionaries of bits; give the ``outputs`` of each, as bits.

    Checks that ``done`` is ``stb`` after exactly ``dut.latency`` cycles. ``stalls`` draws numbers
    of idle cycles; None means none, and so full throughput.
    """
    results = []
    schedule = []
    for each in inputs:
        schedule += [None] * (int(stalls()) if stalls else 0)
        schedule.append(each)
    schedule += [None] * dut.latency
    ports = {name: Value.cast(getattr(dut, name))
             for name in {*outputs, *(name for each in inputs for name in each)}}

    async def bench(ctx):
        for cycle, each in enumerate(schedule):
            ctx.set(dut.stb, each is not None)
            for name, bits in (each or {}).items():
                ctx.set(ports[name], bits)
            due = cycle - dut.latency
            done = due >= 0 and schedule[due] is not None
            assert ctx.get(dut.done) == done, f"done at cycle {cycle}"
            if done:
                results.append(tuple(ctx.get(ports[name]) for name in outputs))
            await ctx.tick()

    simulate(dut, bench, deadline=len(schedule) + 10)
    assert len(results) == len(inputs)
    return results
