"""A bench for the whole vector processing unit: register files that stall, and a trace."""

from dataclasses import dataclass, field
from random import Random

import pytest
from amaranth import *
from amaranth.lib import wiring

from dfx_rtl.vpu.unit import VectorProcessingUnit
from tests.vpu.golden import Effect

COMMAND_TAG = 256


class Bench(wiring.Component):
    """The unit, with ``ready`` of its read ports made from the valid bits of the registers."""

    def __init__(self, config):
        self.dut = VectorProcessingUnit(config)
        self.chunk_valid = Signal(config.vector_chunks)
        self.scalar_valid = Signal(config.scalars)
        self.read_stall = Signal()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [
            dut.operand.ready.eq(self.chunk_valid.bit_select(dut.operand.address, 1)
                                 & ~self.read_stall),
            dut.scalar.ready.eq(self.scalar_valid.bit_select(dut.scalar.address, 1)
                                & ~self.read_stall),
        ]
        return m


@dataclass
class Execution:
    """What was seen of one instruction; cycles count from the first command's."""

    effect: Effect = field(default_factory=Effect)
    taken: int = 0
    reads: list = field(default_factory=list)
    writes: list = field(default_factory=list)
    scalar_write: int = 0
    retired: int = 0


@pytest.fixture
def execute(simulate):
    """``execute(config, vectors, scalars, program)``: the executions of (instruction, position).

    ``stall`` is the probability that a port does not move in a cycle. ``late`` says in which
    cycle a chunk (or a scalar, by its number in ``late_scalars``) gets written.
    """

    def run(config, vectors, scalars, program, *, stall=0.0, seed=0, late=None,
            late_scalars=None, deadline=20_000):
        bench = Bench(config)
        dut = bench.dut
        random = Random(seed)
        late, late_scalars = dict(late or {}), dict(late_scalars or {})
        executions = []

        async def testbench(ctx):
            contents = [int.from_bytes(row.astype("<u2").tobytes(), "little") for row in vectors]
            numbers = [int(value) for value in scalars]
            chunk_valid = (1 << config.vector_chunks) - 1
            scalar_valid = (1 << config.scalars) - 1
            for chunk in late:
                chunk_valid &= ~(1 << chunk)
            for index in late_scalars:
                scalar_valid &= ~(1 << index)
            command = dut.commands.payload.as_value()
            following = 0
            expected_tag = None
            cycle = 0
            retired_count = 0
            while retired_count < len(program):
                for chunk, moment in late.items():
                    if moment == cycle:
                        chunk_valid |= 1 << chunk
                for index, moment in late_scalars.items():
                    if moment == cycle:
                        scalar_valid |= 1 << index
                ctx.set(bench.chunk_valid, chunk_valid)
                ctx.set(bench.scalar_valid, scalar_valid)
                if stall:
                    ctx.set(bench.read_stall, random.random() < stall)
                ctx.set(dut.vector_write.ready, random.random() >= stall)
                ctx.set(dut.scalar_write.ready, random.random() >= stall)
                offered = following < len(program) and (not stall or random.random() >= stall)
                if offered:
                    instruction, position = program[following]
                    tag = following | 5 << 12 | position << 20
                    ctx.set(command, instruction.encode() | tag << COMMAND_TAG)
                ctx.set(dut.commands.valid, offered)
                signals = (dut.commands.ready, dut.operand.valid, dut.operand.ready,
                           dut.operand.address, dut.scalar.valid, dut.scalar.ready,
                           dut.scalar.address, dut.vector_write.valid,
                           dut.vector_write.payload.as_value(), dut.scalar_write.valid,
                           dut.scalar_write.payload.as_value(), dut.retired, dut.overflow,
                           dut.invalid, dut.vector_write.ready, dut.scalar_write.ready)
                _, _, *seen = await ctx.tick().sample(*signals)
                (taken, valid, ready, address, scalar_valid_now, scalar_ready, scalar_address,
                 write_valid, write, scalar_write_valid, scalar_write, retired, overflow,
                 invalid, write_ready, scalar_write_ready) = seen
                current = executions[-1] if executions else None
                if valid and ready:
                    current.reads.append(cycle)
                    ctx.set(dut.operand.data.as_value(), contents[address])
                if scalar_valid_now and scalar_ready:
                    ctx.set(dut.scalar.data.as_value(), numbers[scalar_address])
                if write_valid and write_ready:
                    address, data, tag = _split(write, 12, config.tile * 16)
                    assert tag == expected_tag
                    contents[address] = data
                    chunk_valid |= 1 << address
                    current.effect.chunks[address] = data
                    current.writes.append(cycle)
                if scalar_write_valid and scalar_write_ready:
                    address, data, tag = _split(scalar_write, 8, 32)
                    assert tag == expected_tag
                    numbers[address] = data
                    scalar_valid |= 1 << address
                    current.effect.scalars[address] = data
                    current.scalar_write = cycle
                if current:
                    current.effect.overflow |= bool(overflow)
                    current.effect.invalid |= bool(invalid)
                if retired:
                    current.retired = cycle
                    retired_count += 1
                if offered and taken:
                    executions.append(Execution(taken=cycle))
                    expected_tag = tag_of(program, following)
                    following += 1
                cycle += 1
            assert not ctx.get(dut.busy)

        simulate(bench, testbench, deadline=deadline)
        return executions

    return run


def tag_of(program, index):
    """The tag that the bench gives to an instruction."""
    return index | 5 << 12 | program[index][1] << 20


def _split(word, address_bits, data_bits):
    return (word & ((1 << address_bits) - 1), word >> address_bits & ((1 << data_bits) - 1),
            word >> (address_bits + data_bits))


@pytest.fixture
def agree():
    """``agree(execution, effect)``: the same registers, values and flags."""

    def check(execution, effect):
        chunks = {chunk: int.from_bytes(bits.astype("<u2").tobytes(), "little")
                  for chunk, bits in effect.chunks.items()}
        assert list(execution.effect.chunks) == list(chunks)
        for chunk, value in chunks.items():
            assert f"{execution.effect.chunks[chunk]:x}" == f"{value:x}", chunk
        assert execution.effect.scalars == effect.scalars
        assert execution.effect.overflow == effect.overflow
        assert execution.effect.invalid == effect.invalid

    return check
