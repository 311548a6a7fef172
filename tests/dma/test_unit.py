"""The whole DMA: errors, soft resets, and everything at once."""

import random

import pytest

from dfx_rtl.bus.axi import Response
from dfx_rtl.control.faults import ErrorKind
from dfx_rtl.isa import Instruction, Opcode
from sim.memory import FaultKind, Timing

KEY = Instruction(Opcode.STORE_KEY, chunk=0, chunks=1, heads=8, tile=200, tiles=1)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("fault, response", [
    (FaultKind.READ_SLVERR, Response.SLVERR), (FaultKind.READ_DECERR, Response.DECERR)])
def test_hbm_read_error(make_system, run_system, put, collect, collect_errors, place, fault,
                        response):
    system = make_system("nano", faults={place: (fault, 2)})
    dma, tiles, errors = system.dma, [], []

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 40, "stores": 0})
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect_errors(dma, errors), collect(dma.weights, dma.weights.payload.as_value(), tiles)))
    # Each tile of the third burst is named; the tiles flow.
    assert errors == [(ErrorKind.HBM_READ, response, place)] * 8
    assert len(tiles) == 40


def test_lowest_channel_is_named(make_system, run_system, put, collect, collect_errors):
    system = make_system("small8", faults={
        1: (FaultKind.READ_SLVERR, 0), 3: (FaultKind.READ_DECERR, 0)})
    dma, errors = system.dma, []

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 1, "stores": 0})
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect_errors(dma, errors), collect(dma.weights, dma.weights.payload.as_value(), [])))
    assert errors == [(ErrorKind.HBM_READ, Response.SLVERR, 1)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("fault, response", [
    (FaultKind.WRITE_SLVERR, Response.SLVERR), (FaultKind.WRITE_DECERR, Response.DECERR)])
def test_hbm_write_error(make_system, run_system, put, command, serve_operand, collect_errors,
                         place, fault, response):
    system = make_system("nano", faults={place: (fault, 3)})
    dma, errors = system.dma, []

    async def testbench(ctx):
        for position in (0, 1):
            await put(ctx, dma.store_commands, command(KEY, position=position))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect_errors(dma, errors), serve_operand(dma.operand, [0] * 8)))
    assert errors == [(ErrorKind.HBM_WRITE, response, place)]


@pytest.mark.parametrize("fault, response", [
    (FaultKind.READ_SLVERR, Response.SLVERR), (FaultKind.READ_DECERR, Response.DECERR)])
def test_ddr_read_error(make_system, run_system, put, command, collect, collect_errors, fault,
                        response):
    system = make_system("nano", faults={"ddr": (fault, 1)})
    dma, errors, writes = system.dma, [], []

    async def testbench(ctx):
        await put(ctx, dma.load_commands, command(
            Instruction(Opcode.LOAD, chunk=0, chunks=40, address=0)))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(
        collect_errors(dma, errors),
        collect(dma.vector_write, dma.vector_write.payload.address, writes)))
    assert errors == [(ErrorKind.DDR_READ, response, 0)] * 16
    assert writes == list(range(40))


@pytest.mark.parametrize("fault, response", [
    (FaultKind.WRITE_SLVERR, Response.SLVERR), (FaultKind.WRITE_DECERR, Response.DECERR)])
def test_ddr_write_error(make_system, run_system, put, collect_errors, fault, response):
    system = make_system("nano", faults={"ddr": (fault, 2)})
    dma, errors = system.dma, []

    async def testbench(ctx):
        for index in range(5):
            await put(ctx, dma.token_write, {"address": 4 * index, "data": index})
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(collect_errors(dma, errors),))
    assert errors == [(ErrorKind.DDR_WRITE, response, 0)]


def traffic(dma, put, command):
    """Testbenches that keep every part busy until they are abandoned."""
    async def fetches(ctx):
        for index in range(20):
            await put(ctx, dma.fetches, {"tile": 13 * index, "tiles": 61, "stores": 0})

    async def loads(ctx):
        for _ in range(20):
            await put(ctx, dma.load_commands, command(
                Instruction(Opcode.COPY, address=0, tile=400, tiles=3)))
            await put(ctx, dma.load_commands, command(
                Instruction(Opcode.LOAD, chunk=0, chunks=50, address=4000)))

    async def stores(ctx):
        for position in range(40):
            await put(ctx, dma.store_commands, command(KEY, position=position))
            await put(ctx, dma.store_commands, command(
                Instruction(Opcode.STORE, chunk=0, chunks=7, address=1 << 14)))

    async def program(ctx):
        await put(ctx, dma.program_read, {"address": 0, "beats": 2000})

    async def words(ctx):
        for index in range(100):
            await put(ctx, dma.token_write, {"address": 1 << 15, "data": index})
            await put(ctx, dma.token_read, 4 * index)

    return fetches, loads, stores, program, words


@pytest.mark.parametrize("seed", [
    0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))])
def test_soft_reset_in_the_midst(make_system, run_system, put, command, serve_operand, collect,
                                 collect_errors, seed):
    """Stop at a random moment, drain, clear; then everything works as after power-up."""
    rng = random.Random(seed)
    stall = rng.choice([0, 60])
    system = make_system("nano", hbm=Timing.hbm(stall_threshold=stall), seed=seed, weight_tiles=64,
                         ddr=Timing.ddr(stall_threshold=stall))
    dma = system.dma
    moment = rng.randrange(20, 400)
    chunks = [rng.getrandbits(128) for _ in range(64)]
    tiles, writes, errors = [], [], []
    streams = (dma.fetches, dma.load_commands, dma.store_commands, dma.program_read,
               dma.token_write, dma.token_read)

    class Abandoned(Exception):
        pass

    def until_stop(testbench):
        async def limited(ctx):
            async def put_or_leave(ctx, stream, payload):
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                while True:
                    _, _, ready, stop = await ctx.tick().sample(stream.ready, dma.stop)
                    if stop:
                        raise Abandoned
                    if ready:
                        break
                ctx.set(stream.valid, 0)
            try:
                await testbench(put_or_leave)(ctx)
            except Abandoned:
                pass
        return limited

    parts = [until_stop(lambda give, index=index: traffic(dma, give, command)[index])
             for index in range(5)]

    async def testbench(ctx):
        await ctx.tick().repeat(moment)
        assert not ctx.get(dma.idle)
        ctx.set(dma.stop, 1)
        await ctx.tick()
        for stream in streams:
            ctx.set(stream.valid, 0)
        # A clear before the end of the draining does nothing.
        ctx.set(dma.clear, 1)
        assert not ctx.get(dma.drained)
        await ctx.tick()
        ctx.set(dma.clear, 0)
        while not ctx.get(dma.drained):
            await ctx.tick()
        for port in (*dma.hbm, dma.ddr):
            for name in ("arvalid", "awvalid", "wvalid", "rvalid", "bvalid"):
                assert not ctx.get(getattr(port, name))
        ctx.set(dma.clear, 1)
        await ctx.tick()
        ctx.set(dma.clear, 0)
        ctx.set(dma.stop, 0)
        await ctx.tick()
        assert ctx.get(dma.idle)
        tiles.clear()
        writes.clear()

        # The count of stores starts at zero again, and the buffer is whole.
        await put(ctx, dma.store_commands, command(KEY, position=0))
        await put(ctx, dma.load_commands, command(
            Instruction(Opcode.LOAD, chunk=3, chunks=20, address=256)))
        await put(ctx, dma.fetches, {"tile": 200, "tiles": 8, "stores": 1})
        await put(ctx, dma.fetches, {"tile": 5, "tiles": 150, "stores": 1})
        await ctx.tick().repeat(40)
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, *parts, background=(
        serve_operand(dma.operand, chunks), collect_errors(dma, errors),
        collect(dma.program_data, dma.program_data.payload, [], 1, 0.7),
        collect(dma.token_data, dma.token_data.payload, []),
        collect(dma.weights, dma.weights.payload.as_value(), tiles, 2, 0.5),
        collect(dma.vector_write, dma.vector_write.payload.data.as_value(), writes, 3, 0.8)))
    assert tiles == [system.tile(index) for index in (*range(200, 208), *range(5, 155))]
    assert [tile & (1 << 128) - 1 for tile in tiles[:8]] == chunks[:8]
    assert writes == [system.chunk(256 + 16 * index) for index in range(20)]
    assert errors == []


def test_stop_drops_what_nobody_takes(make_system, run_system, put):
    system = make_system("nano", hbm=Timing.hbm(), ddr=Timing.ddr(), weight_tiles=64)
    dma = system.dma

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 600, "stores": 0})
        await put(ctx, dma.program_read, {"address": 0, "beats": 300})
        await ctx.tick().repeat(200)
        assert ctx.get(dma.weights.valid) and ctx.get(dma.program_data.valid)
        ctx.set(dma.stop, 1)
        cycles = 0
        while not ctx.get(dma.drained):
            assert not ctx.get(dma.weights.valid) and not ctx.get(dma.program_data.valid)
            await ctx.tick()
            cycles += 1
        # 64 tiles are stored, and some bursts of DDR of 16 beats are on their way.
        assert 64 <= cycles <= 300

    run_system(system, testbench)


@pytest.mark.parametrize("place", [1, "ddr"])
def test_a_dead_port_never_drains(make_system, run_system, put, command, collect, place):
    system = make_system("nano", faults={place: (FaultKind.HANG, 3)}, weight_tiles=64)
    dma = system.dma

    async def testbench(ctx):
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 600, "stores": 0})
        await put(ctx, dma.load_commands, command(
            Instruction(Opcode.LOAD, chunk=0, chunks=300, address=0)))
        await ctx.tick().repeat(1200)
        # The other memories have done all that they were asked for; the dead one is named.
        assert ctx.get(dma.waiting) == (0 if place == "ddr" else 1 << place)
        assert ctx.get(dma.ddr_waiting) == (place == "ddr")
        ctx.set(dma.stop, 1)
        ctx.set(dma.clear, 1)
        for _ in range(300):
            await ctx.tick()
            assert not ctx.get(dma.drained)
            assert not ctx.get(dma.progress)

    run_system(system, testbench, background=(
        collect(dma.weights, dma.weights.payload.as_value(), []),
        collect(dma.vector_write, dma.vector_write.payload.address, [])))


def test_a_write_that_is_not_answered_is_named(make_system, run_system, put, command,
                                               serve_operand):
    system = make_system("nano", faults={1: (FaultKind.HANG, 0)})
    dma = system.dma

    async def testbench(ctx):
        await put(ctx, dma.store_commands, command(KEY, position=0))
        await put(ctx, dma.store_commands, command(KEY, position=1))
        await ctx.tick().repeat(100)
        assert ctx.get(dma.waiting) == 0b10
        assert not ctx.get(dma.idle)

    run_system(system, testbench, background=(serve_operand(dma.operand, [0] * 8),))


def test_progress(make_system, run_system, put, collect):
    """Each tile and each beat of DDR is progress, and nothing else is."""
    system = make_system("nano", hbm=Timing.hbm(), ddr=Timing.ddr())
    dma, seen = system.dma, []

    async def watch(ctx):
        async for _, _, progress in ctx.tick().sample(dma.progress):
            seen.append(progress)

    async def testbench(ctx):
        await ctx.tick().repeat(20)
        await put(ctx, dma.fetches, {"tile": 0, "tiles": 9, "stores": 0})
        while not ctx.get(dma.idle):
            await ctx.tick()
        await ctx.tick()
        assert sum(seen) == 9
        await put(ctx, dma.program_read, {"address": 0, "beats": 5})
        while not ctx.get(dma.idle):
            await ctx.tick()
        await ctx.tick()
        assert sum(seen) == 14
        await put(ctx, dma.token_write, {"address": 0, "data": 1})
        while not ctx.get(dma.idle):
            await ctx.tick()
        await ctx.tick()
        assert sum(seen) == 15

    run_system(system, testbench, background=(
        watch, collect(dma.weights, dma.weights.payload.as_value(), []),
        collect(dma.program_data, dma.program_data.payload, [])))


def test_store_trace(make_system, run_system, put, command, serve_operand):
    """Every part of K that goes to HBM is shown once, with its tag."""
    system = make_system("nano", hbm=Timing.hbm(stall_threshold=90))
    dma, rng, seen = system.dma, random.Random(1), []
    chunks = [rng.getrandbits(128) for _ in range(8)]

    async def watch(ctx):
        write, tag = dma.store_trace.write, dma.store_trace.tag
        async for _, _, stb, *entry in ctx.tick().sample(
                dma.store_trace_stb, write.channel, write.tile, write.data, write.strobe,
                tag.position, tag.instruction, tag.layer):
            if stb:
                seen.append(tuple(entry))

    async def testbench(ctx):
        for position in (4, 7):
            await put(ctx, dma.store_commands, command(KEY, position=position, layer=3))
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, background=(watch, serve_operand(dma.operand, chunks)))
    # The command fixture's instruction address is 5.
    assert seen == [(position % 2, 200 + head + position // 2, chunks[head], 0xFFFF, position, 5, 3)
                    for position in (4, 7) for head in range(8)]


@pytest.mark.parametrize("seed", [
    0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_everything_at_once(make_system, run_system, put, command, serve_operand, collect, seed):
    system = make_system("nano", hbm=Timing.hbm(stall_threshold=40), seed=seed, weight_tiles=64,
                         ddr=Timing.ddr(stall_threshold=40))
    dma, rng = system.dma, random.Random(seed)
    chunks = [rng.getrandbits(128) for _ in range(64)]
    tiles, writes, beats, words = [], [], [], []
    expected = [system.tile(13 * index % 190 + step) for index in range(20) for step in range(10)]
    program = [system.ddr.read(index) for index in range(200)]

    async def fetches(ctx):
        for index in range(20):
            await put(ctx, dma.fetches, {"tile": 13 * index % 190, "tiles": 10, "stores": 0})

    async def loads(ctx):
        for index in range(5):
            await put(ctx, dma.load_commands, command(
                Instruction(Opcode.COPY, address=512, tile=300 + 3 * index, tiles=3)))
            await put(ctx, dma.load_commands, command(
                Instruction(Opcode.LOAD, chunk=0, chunks=20, address=4000)))

    async def stores(ctx):
        for position in range(10):
            await put(ctx, dma.store_commands, command(KEY, position=position % 2))
            await put(ctx, dma.store_commands, command(
                Instruction(Opcode.STORE, chunk=0, chunks=7, address=1 << 14)))

    async def reads(ctx):
        await put(ctx, dma.program_read, {"address": 0, "beats": 200})

    async def testbench(ctx):
        for index in range(20):
            await put(ctx, dma.token_write, {"address": (1 << 15) + 4 * index, "data": index})
            await put(ctx, dma.token_read, 4 * index)
        await ctx.tick().repeat(100)
        while not ctx.get(dma.idle):
            await ctx.tick()

    run_system(system, testbench, fetches, loads, stores, reads, background=(
        serve_operand(dma.operand, chunks, 1, 0.8),
        collect(dma.program_data, dma.program_data.payload, beats, 1, 0.7),
        collect(dma.token_data, dma.token_data.payload, words, 2, 0.7),
        collect(dma.weights, dma.weights.payload.as_value(), tiles, 3, 0.7),
        collect(dma.vector_write, dma.vector_write.payload.data.as_value(), writes, 4, 0.7)))
    assert tiles == expected
    assert beats == program
    assert words == [int.from_bytes(bytes(system.ddr.array[4 * index:4 * index + 4]), "little")
                     for index in range(20)]
    assert writes == 5 * [system.chunk(4000 + 16 * index) for index in range(20)]
    for index in range(5):
        for step in range(3):
            start = 512 + 32 * step
            assert system.tile(300 + 3 * index + step) == int.from_bytes(
                bytes(system.ddr.array[start:start + 32]), "little")
    for head in range(8):
        assert system.tile(200 + head) == chunks[head] << 128 | chunks[head]
    for chunk in range(7):
        assert system.chunk((1 << 14) + 16 * chunk) == chunks[chunk]
    for index in range(20):
        start = (1 << 15) + 4 * index
        assert bytes(system.ddr.array[start:start + 4]) == index.to_bytes(4, "little")
