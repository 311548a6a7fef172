"""The whole unit: every instruction, programs, stalls, figures."""

import dataclasses

import numpy as np
import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from tests.vpu.golden import Golden, random_bits

NANO, SMALL = CONFIGS["nano"], CONFIGS["small"]
WHOLE = dataclasses.replace(SMALL, vector_lanes=16)
SINGLE = dataclasses.replace(NANO, vector_lanes=1)
SHAPES = pytest.mark.parametrize("config", [NANO, SMALL, WHOLE, SINGLE],
                                 ids=["nano", "small", "whole", "single"])
CHUNKS = 64


def bits32(value):
    return int(np.float32(value).view(np.uint32))


def random_program(rng, tile, count):
    """Instructions on chunks 0..39 as sources and 40..63 as destinations."""
    program = []
    for index in range(count):
        opcode = rng.choice([*range(Opcode.ADD, Opcode.SOFTMAX + 1)])
        length = int(rng.integers(1, 4 * tile + 1))
        fields = {
            "source1": int(rng.integers(0, 36)), "source2": int(rng.integers(0, 36)),
            "source3": int(rng.integers(0, 36)), "destination": int(rng.integers(40, 60)),
            "scalar_source1": int(rng.integers(0, 16)), "scalar_source2": int(rng.integers(0, 16)),
            "scalar_destination": int(rng.integers(0, 16)),
            "scalar_enable": int(rng.integers(0, 2)), "immediate_enable": int(rng.integers(0, 2)),
            "length": length,
            "immediate0": bits32(rng.normal()), "immediate1": bits32(rng.normal()),
            "immediate2": bits32(rng.normal()),
        }
        if opcode == Opcode.LAYERNORM:
            fields.update(layernorm_constants(length))
        position = int(rng.integers(0, 4 * tile))
        if index % 3 == 0 and opcode != Opcode.LAYERNORM:
            fields["length_from_position"] = 1
        program.append((Instruction(opcode, **fields), position))
    return program


def layernorm_constants(length):
    return {"immediate0": bits32(1 / length), "immediate1": bits32(1 / length**2),
            "immediate2": bits32(1e-5)}


def registers(rng, tile, chunks=CHUNKS):
    vectors = random_bits(rng, chunks * tile).reshape(chunks, tile)
    # A few sources that no instruction should see as a whole: NaN and infinities.
    vectors[30:33] = rng.choice([0x7E01, 0xFE00, 0x7C00, 0xFC00, 0x3C00], (3, tile))
    scalars = np.concatenate([
        rng.normal(0, 4, 12).astype(np.float32).view(np.uint32),
        np.array([0x7F800000, 0x00000001, 0x80000000, 0x7FC12345], dtype=np.uint32)])
    return vectors, scalars


@SHAPES
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_programs(execute, agree, config, stall, seed):
    rng = np.random.default_rng(seed)
    vectors, scalars = registers(rng, config.tile)
    program = random_program(rng, config.tile, 40)
    golden = Golden(config.tile, vectors, scalars)
    executions = execute(config, vectors, scalars, program, stall=stall, seed=seed)
    for (instruction, position), execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction, position))
