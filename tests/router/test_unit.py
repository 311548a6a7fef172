"""The router against a plain all-gather."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.router.unit import Router

NANO = CONFIGS["nano"]


class Single(wiring.Component):
    """A router whose ring is one core: what it sends comes back."""

    def __init__(self, config):
        self.router = Router(config)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.router = self.router
        connect(m, self.router.send, self.router.receive)
        return m


def command(source, destination, chunks, tag):
    instruction = Instruction(Opcode.SYNC, source=source, destination=destination, chunks=chunks)
    return {"instruction": {"opcode": int(Opcode.SYNC), **instruction.fields},
            "tag": tag, "layer_base": 0}


def registers(router, chunks, seed, ready_in=256, writes=None, stall=0):
    """A register file that serves the operand and takes the writes."""
    rng = random.Random(seed)

    async def testbench(ctx):
        ready = 1
        while True:
            ctx.set(router.operand.ready, ready)
            ctx.set(router.vector_write.ready, rng.randrange(256) >= stall)
            write = router.vector_write
            _, _, valid, address, written, *entry = await ctx.tick().sample(
                router.operand.valid, router.operand.address, write.valid & write.ready,
                write.payload.address, write.payload.data.as_value(), write.payload.tag.position)
            if valid and ready:
                ctx.set(router.operand.data.as_value(), chunks[address])
            ready = rng.randrange(256) < ready_in
            if written and writes is not None:
                writes.append(tuple(entry))
    return testbench


@pytest.mark.parametrize("ready_in, stall", [(256, 0), (100, 0), (256, 150), (120, 120)])
def test_one_core_copies(simulate, put, ready_in, stall):
    rng = random.Random(ready_in + stall)
    dut = Single(NANO)
    chunks = [rng.getrandbits(NANO.chunk_bits) for _ in range(64)]
    writes, expected = [], []
    jobs = [(rng.randrange(32), rng.randrange(500), rng.randint(1, 20), position)
            for position in range(12)]
    for source, destination, count, position in jobs:
        expected += [(destination + index, chunks[source + index], position)
                     for index in range(count)]
    retired = 0

    async def testbench(ctx):
        router = dut.router
        ctx.set(router.core_count, 1)
        for source, destination, count, position in jobs:
            await put(ctx, router.commands, command(
                source, destination, count, {"instruction": 1, "layer": 2, "position": position}))
        while not ctx.get(router.idle):
            await ctx.tick()

    async def count_retired(ctx):
        nonlocal retired
        async for _, _, stb in ctx.tick().sample(dut.router.retired):
            retired += stb

    simulate(dut, testbench, background=(
        count_retired,
        registers(dut.router, chunks, 1, ready_in=ready_in, writes=writes, stall=stall)))
    assert writes == expected
    assert retired == len(jobs)


def test_latency_and_throughput(simulate, put):
    dut = Single(NANO)
    router = dut.router
    seen = []

    async def testbench(ctx):
        ctx.set(router.core_count, 1)
        ctx.set(router.vector_write.ready, 1)
        ctx.set(router.operand.ready, 1)
        ctx.set(router.commands.payload, command(
            0, 10, 20, {"instruction": 0, "layer": 0, "position": 0}))
        ctx.set(router.commands.valid, 1)
        for _ in range(40):
            _, _, ready, read, write, retired = await ctx.tick().sample(
                router.commands.ready, router.operand.valid, router.vector_write.valid,
                router.retired)
            if ready:
                ctx.set(router.commands.valid, 0)
            seen.append((read, write, retired))

    simulate(dut, testbench)
    reads = [cycle for cycle, (read, _, _) in enumerate(seen) if read]
    written = [cycle for cycle, (_, write, _) in enumerate(seen) if write]
    assert reads == list(range(2, 22))
    assert written == list(range(3, 23))
    assert [cycle for cycle, entry in enumerate(seen) if entry[2]] == [22]


@pytest.mark.parametrize("core, cores", [(0, 2), (1, 2), (0, 4), (2, 4), (3, 4), (6, 8)])
def test_shares_come_round_the_ring(simulate, put, core, cores):
    dut = Router(NANO)
    rng = random.Random(cores * 16 + core)
    count, destination = 5, 100
    shares = [[rng.getrandbits(NANO.chunk_bits) for _ in range(count)] for _ in range(cores)]
    arrival = [chunk for step in range(cores) for chunk in shares[(core - step) % cores]]
    writes, sent = [], []

    async def ring(ctx):
        ctx.set(dut.core_id, core)
        ctx.set(dut.core_count, cores)
        await put(ctx, dut.commands, command(
            8, destination, count, {"instruction": 0, "layer": 0, "position": 3}))
        for chunk in arrival:
            ctx.set(dut.receive.payload.as_value(), chunk)
            ctx.set(dut.receive.valid, 1)
            await ctx.tick().until(dut.receive.ready)
            ctx.set(dut.receive.valid, 0)
            await ctx.tick().repeat(rng.randint(1, 3))
        assert ctx.get(dut.idle)

    async def link(ctx):
        while True:
            ctx.set(dut.send.ready, rng.randrange(2))
            _, _, valid, ready, chunk = await ctx.tick().sample(
                dut.send.valid, dut.send.ready, dut.send.payload.as_value())
            if valid and ready:
                sent.append(chunk)

    own = {8 + index: chunk for index, chunk in enumerate(shares[core])}
    simulate(dut, ring, background=(link, registers(dut, own, 5, writes=writes, stall=60)))
    whole = sum(shares, [])
    assert sorted(writes) == [(destination + index, chunk, 3) for index, chunk in enumerate(whole)]
    assert sent == shares[core]
