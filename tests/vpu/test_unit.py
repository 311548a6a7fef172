# amaranth: UnusedElaboratable=no
"""The whole unit: every instruction, programs, stalls, figures."""

import dataclasses

import numpy as np
import pytest
from amaranth.back import verilog

from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.vpu import VectorProcessingUnit
from tests.vpu.golden import Golden, random_bits

NANO, SMALL = CONFIGS["nano"], CONFIGS["small"]
WHOLE = dataclasses.replace(NANO, tile=4, vector_lanes=4, axi_bits=32, ddr_bits=64)
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
        opcode = rng.choice([*range(Opcode.ADD, Opcode.RSTD + 1)])
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
        if opcode == Opcode.LAYERNORM or (opcode == Opcode.RSTD and index % 2):
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
@pytest.mark.parametrize("stall,seed", [(0.0, 1), (0.4, 2)])
def test_random_programs(execute, agree, config, stall, seed):
    rng = np.random.default_rng(seed)
    vectors, scalars = registers(rng, config.tile)
    program = random_program(rng, config.tile, 32)
    golden = Golden(config.tile, vectors, scalars)
    executions = execute(config, vectors, scalars, program, stall=stall, seed=seed)
    for (instruction, position), execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction, position))


@pytest.mark.slow
@SHAPES
@pytest.mark.parametrize("seed", range(3, 9))
def test_long_random_programs(execute, agree, config, seed):
    rng = np.random.default_rng(seed)
    vectors, scalars = registers(rng, config.tile)
    program = random_program(rng, config.tile, 150)
    golden = Golden(config.tile, vectors, scalars)
    executions = execute(config, vectors, scalars, program, stall=0.1 * (seed % 3), seed=seed,
                         deadline=200_000)
    for (instruction, position), execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction, position))


def garbage(rng, tile, length, chunks):
    """Chunks whose ``length`` elements are usual and whose others are NaN and infinities."""
    values = rng.choice([0x7E01, 0xFFFF, 0x7C00, 0xFC00], chunks * tile).astype(np.uint16)
    values[:length] = rng.normal(1, 2, length).astype(np.float16).view(np.uint16)
    return values.reshape(chunks, tile)


def test_garbage_beyond_the_length(execute, agree):
    """It is neither seen in a result nor in a flag."""
    tile, length = NANO.tile, 11
    rng = np.random.default_rng(3)
    vectors = np.zeros((CHUNKS, tile), dtype=np.uint16)
    for first in (0, 4, 8):
        vectors[first:first + 2] = garbage(rng, tile, length, 2)
    scalars = np.full(16, bits32(6.0), dtype=np.uint32)
    program = [(Instruction(opcode, source1=0, source2=4, source3=8, destination=20,
                            length=length, **layernorm_constants(length)), 0)
               for opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL, Opcode.EXP, Opcode.MOVE,
                              Opcode.ACCUM, Opcode.LAYERNORM, Opcode.SOFTMAX, Opcode.RSTD)]
    golden = Golden(tile, vectors, scalars)
    executions = execute(NANO, vectors, scalars, program)
    for (instruction, _), execution in zip(program, executions, strict=True):
        effect = golden.execute(instruction)
        assert not effect.invalid and not effect.overflow
        agree(execution, effect)


SPECIAL_VECTORS = {
    "infinite": [0x7C00], "both": [0x7C00, 0xFC00], "nan": [0xFE55], "large": [0x7BFF] * 19,
    "cancelling": [0x7BFF, 0xFBFF] * 9, "constant": [0x3C01] * 19, "zero": [0] * 19,
    "tiny": [1, 0x8001, 2],
}


def test_special_vectors(execute, agree):
    tile, length = NANO.tile, 19
    rng = np.random.default_rng(4)
    vectors = rng.normal(0, 1, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    scalars = np.full(16, bits32(2.0), dtype=np.uint32)
    program = []
    for index, (name, values) in enumerate(SPECIAL_VECTORS.items()):
        vectors[3 * index:3 * index + 3].reshape(-1)[:len(values)] = values
        constants = layernorm_constants(length)
        if name == "constant":
            # Without epsilon the variance is exactly 0: the reciprocal square root overflows.
            constants["immediate2"] = 0
        program += [(Instruction(opcode, source1=3 * index, source2=30, source3=40, destination=50,
                                 length=length, **constants), 0)
                    for opcode in (Opcode.ACCUM, Opcode.LAYERNORM, Opcode.SOFTMAX, Opcode.RSTD)]
    golden = Golden(tile, vectors, scalars)
    executions = execute(NANO, vectors, scalars, program)
    for (instruction, _), execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction))


@pytest.mark.parametrize("config", [NANO, SMALL, WHOLE], ids=["nano", "small", "whole"])
def test_layernorm_figures(execute, config):
    """From the last chunk of x written to the first and to each other chunk of y written."""
    tile, beats = config.tile, config.tile // config.vector_lanes
    chunks = 16
    length = chunks * tile
    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 1, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    instruction = Instruction(Opcode.LAYERNORM, source1=0, source2=16, source3=32,
                              destination=48, length=length, **layernorm_constants(length))
    # x gets written chunk by chunk, a chunk every five cycles (or slower, if that is too fast).
    period = max(5, beats)
    late = {chunk: 10 + period * chunk for chunk in range(chunks)}
    execution, = execute(config, vectors, np.zeros(16, np.uint32), [(instruction, 0)], late=late)
    last = late[chunks - 1]
    assert execution.reads[:chunks] == list(late.values())
    dut = VectorProcessingUnit(config)
    bubble = execution.writes[0] - last
    assert bubble == dut.layernorm_bubble
    assert bubble <= 100
    pace = max(beats, 3)
    paces = np.diff(execution.writes).tolist()
    # The second chunk's operands may have been read before the coefficients were ready.
    assert paces[0] <= pace and paces[1:] == [pace] * (chunks - 2)


@pytest.mark.parametrize("config", [NANO, SMALL, WHOLE], ids=["nano", "small", "whole"])
def test_rstd_figures(execute, config):
    """From the last chunk of x written to the scalar; and x is read no slower than it comes."""
    tile, beats = config.tile, config.tile // config.vector_lanes
    chunks = 16
    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 1, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    instruction = Instruction(Opcode.RSTD, source1=0, scalar_destination=5, length=chunks * tile,
                              **layernorm_constants(chunks * tile))
    late = {chunk: 10 + beats * chunk for chunk in range(chunks)}
    execution, = execute(config, vectors, np.zeros(16, np.uint32), [(instruction, 0)], late=late)
    dut = VectorProcessingUnit(config)
    assert execution.reads == list(late.values())
    assert execution.scalar_write - late[chunks - 1] == dut.rstd_bubble
    assert execution.retired == execution.scalar_write
    assert not execution.writes
    # LayerNorm's y comes a normaliser and a packer later.
    assert dut.layernorm_bubble - dut.rstd_bubble == 1 + beats - 1 + 16 + 1


def test_rstd_and_layernorm_take_turns(execute, agree):
    """Neither leaves anything behind for the other, and both find the same deviation."""
    tile, length = NANO.tile, 19
    rng = np.random.default_rng(14)
    vectors = rng.normal(3, 10, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    constants = layernorm_constants(length)
    program = [(Instruction(opcode, source1=first, source2=30, source3=40, destination=50,
                            scalar_destination=1, length=length, **constants), 0)
               for opcode, first in ((Opcode.RSTD, 0), (Opcode.RSTD, 3), (Opcode.LAYERNORM, 6),
                                     (Opcode.RSTD, 9), (Opcode.ACCUM, 0), (Opcode.LAYERNORM, 3),
                                     (Opcode.LAYERNORM, 0), (Opcode.RSTD, 0))]
    for stall in (0.0, 0.5):
        golden = Golden(tile, vectors, np.zeros(16))
        executions = execute(NANO, vectors, np.zeros(16, np.uint32), program, stall=stall)
        for (instruction, _), execution in zip(program, executions, strict=True):
            agree(execution, golden.execute(instruction))


@pytest.mark.parametrize("config", [NANO, SMALL, WHOLE], ids=["nano", "small", "whole"])
def test_softmax_figures(execute, config):
    """From the last chunk of scores written to the last chunk of exponentials, and to 1 / sum."""
    tile, chunks = config.tile, 6
    rng = np.random.default_rng(6)
    vectors = rng.normal(0, 1, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    instruction = Instruction(Opcode.SOFTMAX, source1=0, destination=48, length=chunks * tile,
                              scalar_source1=3, scalar_destination=4)
    late = {chunk: 10 + 5 * chunk for chunk in range(chunks)}
    execution, = execute(config, vectors, np.zeros(16, np.uint32), [(instruction, 0)], late=late)
    last = late[chunks - 1]
    dut = VectorProcessingUnit(config)
    assert execution.writes[-1] - last == dut.softmax_bubble
    assert execution.scalar_write - last == dut.softmax_bubble + dut.softmax_sum
    assert dut.softmax_bubble <= 40


@pytest.mark.parametrize("config", [NANO, WHOLE], ids=["nano", "whole"])
def test_latency_throughput_and_gaps(execute, config):
    tile, beats = config.tile, config.tile // config.vector_lanes
    chunks = 16
    rng = np.random.default_rng(7)
    vectors = rng.normal(0, 1, (CHUNKS, tile)).astype(np.float16).view(np.uint16)
    cases = [(Opcode.ADD, 2, 6), (Opcode.SUB, 2, 6), (Opcode.MUL, 2, 5), (Opcode.EXP, 1, 8),
             (Opcode.MOVE, 1, 6)]
    program = [(Instruction(opcode, source1=0, source2=16, destination=40, length=chunks * tile), 0)
               for opcode, _, _ in cases]
    executions = execute(config, vectors, np.zeros(16, np.uint32), program)
    previous = None
    for (_, operands, latency), execution in zip(cases, executions, strict=True):
        # Read, two cycles to the first beat, the beats, the latency, one in the packer.
        assert execution.writes[0] - execution.taken == 1 + operands + beats + latency + 1
        assert np.diff(execution.writes).tolist() == [max(beats, operands)] * (chunks - 1)
        assert execution.retired == execution.writes[-1]
        if previous is not None:
            assert execution.reads[0] == previous + 2
        previous = execution.retired


def test_late_scalars(execute, agree):
    vectors = np.full((CHUNKS, NANO.tile), 0x3C00, dtype=np.uint16)
    scalars = np.full(16, bits32(2.0), dtype=np.uint32)
    program = [
        (Instruction(Opcode.ADD, source1=0, destination=40, length=9, scalar_enable=1,
                     scalar_source2=3), 0),
        (Instruction(Opcode.SCALAR_SUB, scalar_source1=4, scalar_source2=5,
                     scalar_destination=6), 0),
    ]
    golden = Golden(NANO.tile, vectors, scalars)
    executions = execute(NANO, vectors, scalars, program, late_scalars={3: 50, 4: 80, 5: 100})
    for (instruction, _), execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction))
    assert executions[0].writes[0] > 50
    assert executions[1].scalar_write > 100


def float_vector(executions, tile, first, length):
    """``length`` values from chunk ``first`` on, as the executions left them."""
    chunks = {}
    for execution in executions:
        chunks.update(execution.effect.chunks)
    words = [chunks[first + k].to_bytes(2 * tile, "little") for k in range(-(-length // tile))]
    return np.frombuffer(b"".join(words), dtype="<f2")[:length].astype(np.float64)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def outlier_case(rng, length):
    x = rng.normal(0, 10, length)
    x[length // 3], x[length // 2] = 3000, -800
    x = x.astype(np.float16)
    gamma = rng.normal(1, 0.2, length).astype(np.float16)
    beta = rng.normal(0, 0.2, length).astype(np.float16)
    wide = x.astype(np.float64)
    truth = ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-5) * gamma.astype(np.float64)
             + beta.astype(np.float64))
    return x, gamma, beta, truth


def test_layernorm_is_accurate(execute, agree):
    """GPT-2's residuals have outliers in the thousands: the variance must not cancel."""
    config, length = SMALL, 1600
    rng = np.random.default_rng(8)
    x, gamma, beta, truth = outlier_case(rng, length)
    chunks = length // config.tile
    vectors = np.stack([v.view(np.uint16) for v in (x, gamma, beta)]).reshape(-1, config.tile)
    vectors = np.concatenate([vectors, np.zeros((chunks, config.tile), dtype=np.uint16)])
    instruction = Instruction(Opcode.LAYERNORM, source1=0, source2=chunks, source3=2 * chunks,
                              destination=3 * chunks, length=length, **layernorm_constants(length))
    executions = execute(config, vectors, np.zeros(16, np.uint32), [(instruction, 0)])
    y = float_vector(executions, config.tile, 3 * chunks, length)
    assert rms(y - truth) <= 5e-4 * rms(truth)
    agree(executions[0], Golden(config.tile, vectors, np.zeros(16)).execute(instruction))


def test_golden_layernorm_is_accurate():
    for seed in range(5):
        x, gamma, beta, truth = outlier_case(np.random.default_rng(seed), 1600)
        vectors = np.stack([v.view(np.uint16) for v in (x, gamma, beta)]).reshape(-1, 16)
        instruction = Instruction(Opcode.LAYERNORM, source1=0, source2=100, source3=200,
                                  length=1600, **layernorm_constants(1600))
        chunks = Golden(16, vectors, np.zeros(16)).execute(instruction).chunks
        y = np.concatenate(list(chunks.values())).view(np.float16).astype(np.float64)
        assert rms(y - truth) <= 5e-4 * rms(truth)


def test_short_instructions_make_layernorm(execute, agree):
    """The paper's sequence of short vector instructions (section 4.2) gives LAYERNORM's result."""
    tile, length = NANO.tile, 29
    rng = np.random.default_rng(9)
    vectors = np.zeros((CHUNKS, tile), dtype=np.uint16)
    for first in (0, 4, 8):
        vectors[first:first + 4] = garbage(rng, tile, length, 4)
    scalars = np.zeros(16, dtype=np.uint32)
    n = {"length": length}
    one_nth = {"immediate_enable": 1, "immediate0": bits32(1 / length)}
    program = [
        Instruction(Opcode.LAYERNORM, source1=0, source2=4, source3=8, destination=12, **n,
                    **layernorm_constants(length)),
        Instruction(Opcode.ACCUM, source1=0, scalar_destination=0, **n),
        Instruction(Opcode.SCALAR_MUL, scalar_source1=0, scalar_destination=1, **one_nth),
        Instruction(Opcode.SUB, source1=0, destination=16, scalar_enable=1, scalar_source2=1, **n),
        Instruction(Opcode.MUL, source1=16, source2=16, destination=20, **n),
        Instruction(Opcode.ACCUM, source1=20, scalar_destination=2, **n),
        Instruction(Opcode.SCALAR_MUL, scalar_source1=2, scalar_destination=3, **one_nth),
        Instruction(Opcode.SCALAR_ADD, scalar_source1=3, scalar_destination=4, immediate_enable=1,
                    immediate0=bits32(1e-5)),
        Instruction(Opcode.RECIP_SQRT, scalar_source1=4, scalar_destination=5),
        Instruction(Opcode.MUL, source1=16, destination=24, scalar_enable=1, scalar_source2=5, **n),
        Instruction(Opcode.MUL, source1=24, source2=4, destination=28, **n),
        Instruction(Opcode.ADD, source1=28, source2=8, destination=32, **n),
    ]
    executions = execute(NANO, vectors, scalars, [(instruction, 0) for instruction in program])
    golden = Golden(tile, vectors, scalars)
    for instruction, execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction))
    whole = float_vector(executions, tile, 12, length)
    steps = float_vector(executions, tile, 32, length)
    assert rms(whole - steps) <= 2e-3 * rms(whole)


def test_short_instructions_make_softmax(execute, agree):
    """SUB, EXP, ACCUM, RECIP are SOFTMAX bit for bit; MUL by the reciprocal ends both."""
    tile, length = NANO.tile, 21
    rng = np.random.default_rng(10)
    vectors = np.zeros((CHUNKS, tile), dtype=np.uint16)
    vectors[:3] = garbage(rng, tile, length, 3)
    maximum = vectors[:3].reshape(-1)[:length].view(np.float16).max()
    scalars = np.full(16, bits32(maximum), dtype=np.uint32)
    n = {"length_from_position": 1}
    program = [
        Instruction(Opcode.SOFTMAX, source1=0, destination=4, scalar_source1=9,
                    scalar_destination=0, **n),
        Instruction(Opcode.SUB, source1=0, destination=8, scalar_enable=1, scalar_source2=9, **n),
        Instruction(Opcode.EXP, source1=8, destination=12, **n),
        Instruction(Opcode.ACCUM, source1=12, scalar_destination=1, **n),
        Instruction(Opcode.RECIP, scalar_source1=1, scalar_destination=2),
        Instruction(Opcode.MUL, source1=12, destination=16, scalar_enable=1, scalar_source2=2, **n),
    ]
    position = length - 1
    executions = execute(NANO, vectors, scalars, [(step, position) for step in program])
    golden = Golden(tile, vectors, scalars)
    for instruction, execution in zip(program, executions, strict=True):
        agree(execution, golden.execute(instruction, position))
    for chunk in range(3):
        assert (executions[0].effect.chunks[4 + chunk] == executions[2].effect.chunks[12 + chunk])
    assert executions[0].effect.scalars[0] == executions[4].effect.scalars[2]
    total = float_vector(executions, tile, 16, length).sum()
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("config", [NANO, WHOLE, SINGLE], ids=["nano", "whole", "single"])
def test_verilog(config):
    text = verilog.convert(VectorProcessingUnit(config), emit_src=False)
    assert "module top" in text
