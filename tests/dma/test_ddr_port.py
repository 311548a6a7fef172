"""The DDR port: long reads, sharing, and writes at full speed."""

import random

import pytest

from dfx_rtl.isa import Instruction, Opcode
from sim.memory import Timing


@pytest.mark.parametrize("name, timing, chance", [
    ("nano", Timing(), 1.0),
    ("nano", Timing.ddr(stall_threshold=80), 0.5),
    pytest.param("tall", Timing.ddr(), 0.8, marks=pytest.mark.slow),
])
def test_long_reads_cross_boundaries(make_system, run_system, put, collect, name, timing, chance):
    system = make_system(name, ddr=timing)
    dma, rng = system.dma, random.Random(name)
    size = system.config.ddr_bytes_per_beat
    jobs = [(4096 - 3 * size, 200), (0, 1), (size, 16), (4095 // size * size, 1), (8192, 257)]
    jobs += [(rng.randrange(1 << 12) // size * size, rng.randint(1, 60)) for _ in range(6)]
    beats = []
    expected = [system.ddr.read(address // size + index)
                for address, count in jobs for index in range(count)]

    async def testbench(ctx):
        for address, count in jobs:
            await put(ctx, dma.program_read, {"address": address, "beats": count})
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect(dma.program_data, dma.program_data.payload, beats, 4, chance),))
    assert beats == expected


def test_reads_at_full_speed(make_system, run_system, put):
    system = make_system("nano", ddr=Timing(latency=30))
    dma = system.dma

    async def testbench(ctx):
        ctx.set(dma.program_data.ready, 1)
        await put(ctx, dma.program_read, {"address": 0, "beats": 1000})
        await ctx.tick().until(dma.program_data.valid)
        for _ in range(999):
            _, _, valid = await ctx.tick().sample(dma.program_data.valid)
            assert valid

    run_system(system, testbench)


def test_readers_share(make_system, run_system, put, get, command, collect):
    """A token is read while a long load and the program's reading go on."""
    system = make_system("nano", ddr=Timing.ddr())
    config, dma = system.config, system.dma
    writes, beats, words = [], [], []

    async def loads(ctx):
        await put(ctx, dma.load_commands, command(
            Instruction(Opcode.LOAD, chunk=0, chunks=300, address=4096)))

    async def program(ctx):
        await put(ctx, dma.program_read, {"address": 0, "beats": 300})

    async def testbench(ctx):
        for index in range(8):
            await put(ctx, dma.token_read, 4 * index)
            words.append(await get(ctx, dma.token_data))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, loads, program, background=(
        collect(dma.vector_write, dma.vector_write.payload.data.as_value(), writes),
        collect(dma.program_data, dma.program_data.payload, beats)))
    assert writes == [system.chunk(4096 + index * config.chunk_bytes) for index in range(300)]
    assert beats == [system.ddr.read(index) for index in range(300)]
    assert words == [int.from_bytes(bytes(system.ddr.array[4 * index:4 * index + 4]), "little")
                     for index in range(8)]


def test_writes_at_full_speed(make_system, run_system, put, command, serve_operand):
    system = make_system("nano")
    dma = system.dma
    accepted = []

    async def watch(ctx):
        async for _, _, valid, ready in ctx.tick().sample(dma.ddr.wvalid, dma.ddr.wready):
            accepted.append(valid & ready)

    async def testbench(ctx):
        await put(ctx, dma.store_commands, command(
            Instruction(Opcode.STORE, chunk=0, chunks=100, address=0)))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(serve_operand(dma.operand, [0] * 100), watch))
    first = accepted.index(1)
    assert sum(accepted) == 100
    assert sum(accepted[first:first + 100]) == 100
