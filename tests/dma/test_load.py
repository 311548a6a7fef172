"""Loads and copies: random addresses, all indices, the tags and the order."""

import random

import pytest
from amaranth import *

from dfx_rtl.isa import Index, Instruction, Opcode
from sim.memory import Timing


def written(port):
    """What is noted of a write: the chunk, its data, the position in its tag."""
    payload = port.payload
    return Cat(payload.data.as_value(), payload.address, payload.tag.position)


@pytest.mark.parametrize("name, changes, timing, chance", [
    ("nano", {}, Timing(), 1.0),
    ("nano", {"ddr_bits": 64}, Timing.ddr(stall_threshold=70), 0.4),
    ("small", {}, Timing.ddr(), 1.0),
    pytest.param("tall", {"ddr_bits": 128}, Timing.ddr(stall_threshold=30, outstanding=2), 0.8,
                 marks=pytest.mark.slow),
])
def test_random_loads(make_system, run_system, put, command, collect, name, changes, timing,
                      chance):
    system = make_system(name, ddr=timing, seed=2, **changes)
    config, dma, rng = system.config, system.dma, random.Random(name)
    size = config.chunk_bytes
    jobs, expected, tokens, writes = [], [], [], []
    for position in range(20):
        index = rng.choice(list(Index))
        count, chunk, layer = rng.randint(1, 30), rng.randrange(900), rng.randrange(20)
        token, stride = rng.randrange(50), size * rng.randrange(40)
        address = size * rng.randrange(600)
        if rng.randrange(3) == 0:
            # Beside a multiple of 4 KiB.
            address = 4096 * rng.randint(1, 8) - size * rng.randint(1, count)
        factor = {Index.NONE: 0, Index.TOKEN: token, Index.POSITION: position,
                  Index.LAYER: layer}[index]
        if index == Index.TOKEN:
            tokens.append(token)
        jobs.append((Instruction(Opcode.LOAD, chunk=chunk, chunks=count, address=address,
                                 stride=stride, index=index), position, layer))
        for step in range(count):
            data = system.chunk(address + factor * stride + step * size)
            expected.append(data | chunk + step << config.chunk_bits
                            | position << config.chunk_bits + 12)
    retired = 0

    async def count_retired(ctx):
        nonlocal retired
        async for _, _, stb in ctx.tick().sample(dma.retired_load):
            retired += stb

    async def give_tokens(ctx):
        for token in tokens:
            await ctx.tick().repeat(rng.randint(1, 60))
            await put(ctx, dma.token, token)

    async def testbench(ctx):
        for instruction, position, layer in jobs:
            await put(ctx, dma.load_commands, command(
                instruction, position=position, layer=layer))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, give_tokens, background=(
        count_retired,
        collect(dma.vector_write, written(dma.vector_write), writes, 6, chance)))
    assert writes == expected
    assert retired == len(jobs)


@pytest.mark.parametrize("name, changes, ddr, hbm", [
    ("nano", {}, Timing(), Timing()),
    ("nano", {"ddr_bits": 64}, Timing.ddr(stall_threshold=60), Timing.hbm(stall_threshold=60)),
    ("small", {}, Timing.ddr(), Timing.hbm()),
    # A beat of DDR holds several words.
    ("small8", {"channels": 16, "axi_bits": 64}, Timing(), Timing()),
    ("tall", {}, Timing.ddr(), Timing.hbm(stall_threshold=60)),
])
def test_copies(make_system, run_system, put, command, name, changes, ddr, hbm):
    system = make_system(name, ddr=ddr, hbm=hbm, seed=9, **changes)
    config, dma = system.config, system.dma
    size = config.tile_bits // 8
    retired = 0
    jobs = [(3 * size, 5, 4, 0, 0), (4096 + size * 2, 100, 9, 1, 33), (0, 41, 1, 1, 0)]
    tiles = {index: system.tile(index) for index in range(200)}
    for address, tile, count, relative, base in jobs:
        for step in range(count):
            start = address + step * size
            tiles[tile + base * relative + step] = int.from_bytes(
                bytes(system.ddr.array[start:start + size]), "little")

    async def testbench(ctx):
        for address, tile, count, relative, base in jobs:
            instruction = Instruction(Opcode.COPY, address=address, tile=tile, tiles=count,
                                      layer_relative=relative)
            await put(ctx, dma.load_commands, command(instruction, layer_base=base))
        while retired < len(jobs):
            await ctx.tick()
        # The last one retires only when all its writes are acknowledged.
        assert ctx.get(dma.idle)

    async def count_retired(ctx):
        nonlocal retired
        async for _, _, stb in ctx.tick().sample(dma.retired_load):
            retired += stb

    run_system(system, testbench, background=(count_retired,))
    for index, bits in tiles.items():
        assert system.tile(index) == bits, index


def test_pace(make_system, run_system, put, command):
    system = make_system("nano", ddr=Timing(latency=40))
    dma = system.dma
    seen = []

    async def testbench(ctx):
        ctx.set(dma.vector_write.ready, 1)
        for chunk, count in ((0, 100), (200, 4)):
            await put(ctx, dma.load_commands, command(
                Instruction(Opcode.LOAD, chunk=chunk, chunks=count, address=0)))

    async def watch(ctx):
        for cycle in range(220):
            _, _, valid, address = await ctx.tick().sample(
                dma.vector_write.valid, dma.vector_write.payload.address)
            if valid:
                seen.append((cycle, address))

    run_system(system, testbench, watch)
    first = seen[0][0]
    assert seen[:100] == [(first + index, index) for index in range(100)]
    # The second instruction's data were on their way.
    assert seen[100][0] - seen[99][0] == 3
