"""The decoder of the control unit against the compiler's own table of what is touched."""

import itertools

import pytest
from amaranth import *
from amaranth.lib import wiring

from dfx_rtl.compiler.operands import operands_of
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.decoder import DESTINATIONS, SOURCES, Decoder
from dfx_rtl.isa import Instruction, Opcode, Unit

NANO = CONFIGS["nano"]
VECTOR = [opcode for opcode in Opcode if Opcode.ADD <= opcode <= Opcode.RSTD]


class Clocked(wiring.Component):
    """The decoder beside a register, since the simulator wants a clocked component."""

    def __init__(self):
        self.dut = Decoder(NANO)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        return m


@pytest.mark.parametrize("opcode", VECTOR, ids=lambda opcode: opcode.name)
def test_vector_instructions(simulate, opcode):
    bench = Clocked()
    dut = bench.dut

    async def testbench(ctx):
        for scalar, immediate, length in itertools.product((0, 1), (0, 1), (0, 19)):
            instruction = Instruction(
                opcode, destination=40, source1=10, source2=20, source3=30, scalar_enable=scalar,
                immediate_enable=immediate, scalar_destination=1, scalar_source1=2,
                scalar_source2=3, length=length)
            ctx.set(dut.issue, {"instruction": instruction.encode()})
            await ctx.delay(1e-9)
            operands = operands_of(instruction, NANO, 1)
            if not length and (operands.chunk_reads or operands.chunk_writes):
                assert ctx.get(dut.cause) == Cause.ILLEGAL_INSTRUCTION
                continue
            assert ctx.get(dut.cause) == Cause.NONE and ctx.get(dut.unit) == Unit.VPU
            ranges = [(ctx.get(entry.start), ctx.get(entry.count)) for entry in dut.ranges]
            for chunks, scalars, part in (
                    (operands.chunk_writes, operands.scalar_writes, ranges[:DESTINATIONS]),
                    (operands.chunk_reads, operands.scalar_reads, ranges[DESTINATIONS:])):
                expected = [(entry.first, entry.count) for entry in chunks]
                expected += [(NANO.vector_chunks + entry.first, 1) for entry in scalars]
                assert sorted(entry for entry in part if entry[1]) == sorted(expected)
            assert len(ranges) == DESTINATIONS + SOURCES

    simulate(bench, testbench)


@pytest.mark.parametrize("source, chunks, total", [
    (40, 3, 10), (43, 3, 10), (47, 3, 10), (40, 0, 10), (44, 0, 10), (50, 0, 10), (40, 10, 10)])
def test_sync_claims_what_is_not_its_own(simulate, source, chunks, total):
    bench = Clocked()
    dut = bench.dut

    async def testbench(ctx):
        instruction = Instruction(Opcode.SYNC, source=source, chunks=chunks, destination=40,
                                  total=total)
        ctx.set(dut.ring, 1)
        ctx.set(dut.issue, {"instruction": instruction.encode()})
        await ctx.delay(1e-9)
        assert ctx.get(dut.cause) == Cause.NONE and ctx.get(dut.unit) == Unit.ROUTER
        ranges = [(ctx.get(entry.start), ctx.get(entry.count)) for entry in dut.ranges]

        def places(part):
            return [start + step for start, count in part for step in range(count)]

        own = list(range(source, source + chunks))
        assert places(ranges[DESTINATIONS:]) == own
        assert places(ranges[:DESTINATIONS]) == [
            place for place in range(40, 40 + total) if place not in own]

    simulate(bench, testbench)


def test_arg_max_touches_no_register(simulate):
    bench = Clocked()
    dut = bench.dut

    async def testbench(ctx):
        ctx.set(dut.ring, 1)
        ctx.set(dut.issue, {"instruction": Instruction(Opcode.ARG_MAX).encode()})
        await ctx.delay(1e-9)
        assert ctx.get(dut.cause) == Cause.NONE and ctx.get(dut.unit) == Unit.ROUTER
        assert not any(ctx.get(entry.count) for entry in dut.ranges)

    simulate(bench, testbench)
