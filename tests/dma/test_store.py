"""Stores: K, V and vectors land at exactly the right bytes, and are counted when acknowledged."""

import random

import pytest
from amaranth import *

from dfx_rtl.isa import Index, Instruction, Opcode
from sim.memory import Timing


def expect_key(config, tiles, chunks, instruction, position, layer_base):
    """Write a position's K into ``tiles``: tile number to bits."""
    base = instruction.tile + (layer_base if instruction.layer_relative else 0)
    bits = config.chunk_bits
    for head in range(instruction.heads):
        for row in range(instruction.chunks):
            value = chunks[instruction.chunk + head * instruction.chunks + row]
            tile = base + head * instruction.tiles \
                + position // config.lanes * instruction.chunks + row
            put_bits(tiles, tile, position % config.lanes * bits, bits, value)


def expect_value(config, tiles, chunks, instruction, position, layer_base):
    """Write a position's V into ``tiles``."""
    base = instruction.tile + (layer_base if instruction.layer_relative else 0)
    bits, per_chunk = config.lanes * 16, config.groups_per_chunk
    for head in range(instruction.heads):
        for group in range(instruction.groups):
            value = chunks[instruction.chunk + head * instruction.chunks + group // per_chunk]
            value = value >> group % per_chunk * bits & ((1 << bits) - 1)
            tile = base + head * instruction.tiles \
                + position // config.tile * instruction.groups + group
            put_bits(tiles, tile, position % config.tile * bits, bits, value)


def put_bits(tiles, tile, offset, bits, value):
    mask = ((1 << bits) - 1) << offset
    tiles[tile] = tiles[tile] & ~mask | value << offset


def random_store(config, rng):
    opcode = rng.choice([Opcode.STORE_KEY, Opcode.STORE_VALUE])
    chunks, heads = rng.randint(1, 3), rng.randint(1, 4)
    fields = {"chunk": rng.randrange(20), "chunks": chunks, "heads": heads,
              "tile": rng.randrange(100), "tiles": rng.randrange(60, 90),
              "layer_relative": rng.randrange(2)}
    if opcode == Opcode.STORE_VALUE:
        fields["groups"] = rng.randint((chunks - 1) * config.groups_per_chunk + 1,
                                       chunks * config.groups_per_chunk)
    return Instruction(opcode, **fields)


@pytest.mark.parametrize("name, changes, timing, chance", [
    ("nano", {}, Timing(), 1.0),
    ("nano", {}, Timing.hbm(stall_threshold=80), 0.5),
    ("small", {}, Timing.hbm(stall_threshold=40), 0.9),
    ("small8", {}, Timing(), 1.0),
    ("tall", {"ddr_bits": 64}, Timing(), 0.8),
    # Words that are shorter than a group of V, as no named configuration has them.
    ("nano", {"channels": 16, "axi_bits": 8}, Timing(), 1.0),
])
def test_random_keys_and_values(make_system, run_system, put, command, serve_operand,
                                name, changes, timing, chance):
    system = make_system(name, hbm=timing, seed=8, channel_bytes=1 << 15, weight_tiles=16,
                         **changes)
    config, dma, rng = system.config, system.dma, random.Random(name)
    chunks = [rng.getrandbits(config.chunk_bits) for _ in range(64)]
    tiles = {index: system.tile(index) for index in range(config.hbm_tiles)}
    jobs = [(random_store(config, rng), rng.randrange(3 * config.tile), rng.randrange(100))
            for _ in range(8)]
    for instruction, position, layer_base in jobs:
        expect = expect_key if instruction.opcode == Opcode.STORE_KEY else expect_value
        expect(config, tiles, chunks, instruction, position, layer_base)
    retired = 0

    async def count(ctx):
        nonlocal retired
        async for _, _, stb in ctx.tick().sample(dma.retired_store):
            retired += stb

    async def testbench(ctx):
        for instruction, position, layer_base in jobs:
            await put(ctx, dma.store_commands, command(
                instruction, position=position, layer_base=layer_base))
            if timing.stall_threshold:
                # Stores of one another's bytes have no order without this.
                while not ctx.get(dma.idle):
                    await ctx.tick()
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench,
               background=(serve_operand(dma.operand, chunks, 1, chance), count))
    assert retired == len(jobs)
    for index, bits in tiles.items():
        assert system.tile(index) == bits, index


def test_fetch_waits_for_the_store(make_system, run_system, put, get, command, serve_operand):
    system = make_system("nano", hbm=Timing.hbm(write_latency=200))
    config, dma, rng = system.config, system.dma, random.Random(4)
    chunks = [rng.getrandbits(config.chunk_bits) for _ in range(16)]
    tiles = {index: system.tile(index) for index in range(40)}
    jobs = [(Instruction(Opcode.STORE_KEY, chunk=0, chunks=1, heads=4, tile=8, tiles=2), 1),
            (Instruction(Opcode.STORE_VALUE, chunk=4, chunks=1, groups=4, heads=4, tile=16,
                         tiles=4), 3)]
    expect_key(config, tiles, chunks, *jobs[0], 0)
    expect_value(config, tiles, chunks, *jobs[1], 0)
    got, answers = [], []

    async def watch(ctx):
        valid = Cat(port.bvalid & port.bready for port in dma.hbm)
        async for _, _, answered in ctx.tick("hbm").sample(valid):
            answers.extend([1] * answered.bit_count())

    async def testbench(ctx):
        # The fetches are known long before the stores.
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 4, "stores": 0})
        await put(ctx, dma.fetches, {"tile": 8, "tiles": 8, "stores": 1})
        for _ in range(4):
            await get(ctx, dma.weights)
        for instruction, position in jobs:
            await ctx.tick().repeat(30)
            await put(ctx, dma.store_commands, command(instruction, position=position))
        await put(ctx, dma.fetches, {"tile": 16, "tiles": 16, "stores": 2})
        ctx.set(dma.weights.ready, 1)
        for _ in range(24):
            tile, = await ctx.tick().sample(dma.weights.payload.as_value()) \
                .until(dma.weights.valid)
            got.append(tile)
            # An answer takes longer than a read: a fetch that did not wait would be seen here.
            assert len(answers) >= (4 if len(got) <= 8 else 20)

    run_system(system, testbench, background=(serve_operand(dma.operand, chunks), watch))
    assert got == [tiles[index] for index in range(8, 32)]


def test_one_write_a_cycle(make_system, run_system, put, command, serve_operand):
    system = make_system("nano")
    dma = system.dma
    seen = []

    async def testbench(ctx):
        instruction = Instruction(Opcode.STORE_VALUE, chunk=0, chunks=2, groups=8, heads=2, tile=0,
                                  tiles=8)
        await put(ctx, dma.store_commands, command(instruction))
        for _ in range(40):
            _, _, valid, retired = await ctx.tick().sample(dma.operand.valid, dma.retired_store)
            seen.append((valid, retired))

    run_system(system, testbench, background=(serve_operand(dma.operand, [0] * 16),))
    # A chunk is four groups: a read every fourth cycle, and the last group leaves after the last.
    assert [cycle for cycle, (valid, _) in enumerate(seen) if valid] == [0, 4, 8, 12]
    assert [cycle for cycle, (_, retired) in enumerate(seen) if retired] == [16]


@pytest.mark.parametrize("name, timing, chance", [
    ("nano", Timing(), 1.0), ("tall", Timing.ddr(stall_threshold=70), 0.6)])
def test_vectors_to_ddr(make_system, run_system, put, command, serve_operand,
                        name, timing, chance):
    system = make_system(name, ddr=timing)
    config, dma, rng = system.config, system.dma, random.Random(name)
    chunks = [rng.getrandbits(config.chunk_bits) for _ in range(64)]
    size = config.chunk_bytes
    jobs = [(Index.NONE, 7, 3, 1, 4096 - size, 0), (Index.POSITION, 9, 3, 5, 8192, size * 16),
            (Index.LAYER, 2, 11, 7, 40000 // size * size, size * 8)]
    expected = bytearray(system.ddr.array)
    for index, position, layer, count, address, stride in jobs:
        factor = {Index.NONE: 0, Index.POSITION: position, Index.LAYER: layer}[index]
        start = address + factor * stride
        for chunk in range(count):
            expected[start + chunk * size:start + (chunk + 1) * size] = \
                chunks[position + chunk].to_bytes(size, "little")

    async def testbench(ctx):
        for index, position, layer, count, address, stride in jobs:
            instruction = Instruction(Opcode.STORE, chunk=position, chunks=count, address=address,
                                      stride=stride, index=index)
            await put(ctx, dma.store_commands, command(
                instruction, position=position, layer=layer))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(serve_operand(dma.operand, chunks, 3, chance),))
    assert bytes(system.ddr.array) == expected


def test_writes_to_one_channel_hardly_hold_up_the_reads(make_system, run_system, put, command,
                                                        serve_operand, collect):
    """V of a position lies in one channel: 48 writes, while tiles are read from all."""

    def cycles(store):
        # The clocks' ratio leaves room; latency and turnaround are those of the card.
        system = make_system("nano", hbm=Timing(latency=100, write_latency=100, turnaround=8,
                                                outstanding=32))
        dma, tiles, times = system.dma, [], []
        instruction = Instruction(Opcode.STORE_VALUE, chunk=0, chunks=2, groups=8, heads=6,
                                  tile=500, tiles=8)

        async def testbench(ctx):
            await put(ctx, dma.fetches, {"tile": 0, "tiles": 480, "stores": 0})
            await ctx.tick().repeat(60)
            if store:
                await put(ctx, dma.store_commands, command(instruction, position=3))
            count = 0
            while not ctx.get(dma.idle):
                await ctx.tick()
                count += 1
            times.append(count)

        run_system(system, testbench, background=(
            serve_operand(dma.operand, [chunk * 0x1234 for chunk in range(12)]),
            collect(dma.weights, dma.weights.payload.as_value(), tiles)))
        assert len(tiles) == 480
        return times[0]

    # Six turns of the data bus, of 16 cycles and 8 writes each, at 2.25 cycles of HBM to one.
    assert cycles(True) - cycles(False) <= 6 * (16 + 8) / 2.25 + 10
