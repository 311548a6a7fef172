"""Rings of routers against a plain all-gather, and one router by itself."""

import random

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.ring import FlitFault
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.router.unit import Router
from tests.router.ring import Best, Ring, Sync, command

NANO = CONFIGS["nano"]
SPECIAL = (0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000, 0xBF800000,
           0x00000001, 0x80000001)


def random_operations(rng, cores, count, longest=6):
    operations, destination = [], 0
    for _ in range(count):
        if rng.randrange(4) == 0:
            operations.append(Best([(rng.randrange(1 << 17), rng.choice(SPECIAL),
                                     rng.randrange(8) > 0) for _ in range(cores)]))
            continue
        shares = [rng.choice((0, 1, rng.randint(2, longest))) for _ in range(cores)]
        shares[rng.randrange(cores)] += not any(shares)
        operations.append(Sync(destination, shares, [
            rng.getrandbits(NANO.chunk_bits) for _ in range(sum(shares))]))
        destination += sum(shares)
    return operations


@pytest.mark.parametrize("bidirectional", [0, 1])
@pytest.mark.parametrize("cores", range(2, 9))
def test_random_operations(simulate, cores, bidirectional):
    rng = random.Random(cores)
    ring = Ring(NANO, cores, random_operations(rng, cores, 8), bidirectional=bidirectional,
                seed=cores, stall=rng.choice((0, 60, 128)), latency=(1, 9), written=80)
    simulate(ring.dut, ring.testbench, deadline=3000)
    ring.check()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bidirectional", [0, 1])
@pytest.mark.parametrize("cores", range(2, 9))
def test_many_random_operations(simulate, cores, bidirectional, seed):
    rng = random.Random(cores * 100 + seed)
    ring = Ring(NANO, cores, random_operations(rng, cores, 20), bidirectional=bidirectional,
                seed=seed, stall=rng.choice((0, 60, 128, 220)), latency=(1, rng.choice((1, 20))),
                capacity=rng.choice((1, 3, None)), written=200)
    simulate(ring.dut, ring.testbench, deadline=40_000)
    ring.check()


@pytest.mark.parametrize("bidirectional", [0, 1])
@pytest.mark.parametrize("stall", [0, 128])
def test_a_full_ring_does_not_stand_still(simulate, bidirectional, stall):
    """All cores send at once, more than the links hold."""
    rng = random.Random(3)
    operations = [Sync(40 * place, [10] * 4, [rng.getrandbits(NANO.chunk_bits) for _ in range(40)])
                  for place in range(2)]
    ring = Ring(NANO, 4, operations, bidirectional=bidirectional, stall=stall, capacity=1)
    simulate(ring.dut, ring.testbench, deadline=2000)
    ring.check()


@pytest.mark.parametrize("tokens, expected", [
    ([(7, 0x00000000, 1), (5, 0x80000000, 1), (9, 0x00000000, 1)], (5, 0x80000000)),
    ([(7, 0x7FC00000, 1), (5, 0xFF800000, 1), (9, 0x3F800000, 0)], (5, 0xFF800000)),
    ([(7, 0x7FC00000, 1), (5, 0x3F800000, 0), (9, 0x7FC00000, 1)], None),
    ([(7, 0xC0000000, 1), (5, 0xC0400000, 1), (9, 0xC0000000, 1)], (7, 0xC0000000)),
])
def test_arg_max(simulate, tokens, expected):
    operation = Best(tokens)
    assert operation.result() == expected
    ring = Ring(NANO, 3, [operation], bidirectional=1)
    simulate(ring.dut, ring.testbench)
    ring.check()


def test_one_core_hands_its_token_on(simulate):
    dut = Router(NANO)

    async def bench(ctx):
        ctx.set(dut.core_count, 1)
        for ready in (0, 1):
            ctx.set(dut.tokens.valid, 1)
            ctx.set(dut.tokens.p.id, 5)
            ctx.set(dut.results.ready, ready)
            assert ctx.get(dut.results.valid) and ctx.get(dut.results.p.id) == 5
            assert ctx.get(dut.tokens.ready) == ready
            await ctx.tick()

    simulate(dut, bench)


def sync(source, chunks, destination, total):
    return Instruction(Opcode.SYNC, source=source, chunks=chunks, destination=destination,
                       total=total)


def flit(index=0, hops=1, data=0, *, last=0, empty=0, arg_max=0, run=1):
    """A flit as bits."""
    width = NANO.chunk_bits
    return (data | index << width | last << width + 12 | empty << width + 13
            | arg_max << width + 14 | hops << width + 15 | run << width + 18)


class Bench:
    """One router among other cores, with everything ready, seen cycle by cycle."""

    def __init__(self, cores=3, bidirectional=0):
        self.dut = Router(NANO)
        self.cores, self.bidirectional = cores, bidirectional
        self.seen = {}
        self.cycle = 0

    def begin(self, ctx, *instructions):
        dut = self.dut
        ctx.set(dut.core_count, self.cores)
        ctx.set(dut.bidirectional, self.bidirectional)
        ctx.set(dut.run, 1)
        for signal in (dut.operand.ready, dut.vector_write.ready, dut.results.ready,
                       dut.send[0].ready, dut.send[1].ready):
            ctx.set(signal, 1)
        self.instructions = list(instructions)
        self.flits = [[], []]

    async def run(self, ctx, cycles):
        dut = self.dut
        for _ in range(cycles):
            ctx.set(dut.commands.valid, bool(self.instructions))
            if self.instructions:
                ctx.set(dut.commands.payload, command(self.instructions[0]))
            for way, flits in enumerate(self.flits):
                ctx.set(dut.receive[way].valid, bool(flits))
                if flits:
                    ctx.set(dut.receive[way].payload.as_value(), flits[0])
            taken = [ctx.get(stream.valid) and ctx.get(stream.ready) for stream in dut.receive]
            for name, value in (
                    ("command", ctx.get(dut.commands.valid) and ctx.get(dut.commands.ready)),
                    ("read", ctx.get(dut.operand.valid)),
                    ("write", ctx.get(dut.vector_write.valid)),
                    ("send0", ctx.get(dut.send[0].valid)), ("send1", ctx.get(dut.send[1].valid)),
                    ("receive0", taken[0]), ("receive1", taken[1]),
                    ("token", ctx.get(dut.tokens.valid) and ctx.get(dut.tokens.ready)),
                    ("result", ctx.get(dut.results.valid)), ("retired", ctx.get(dut.retired)),
                    ("fault", ctx.get(dut.fault))):
                if value:
                    self.seen.setdefault(name, []).append(self.cycle)
            if self.seen.get("command", [None])[-1] == self.cycle:
                self.instructions.pop(0)
            for way in range(2):
                if taken[way]:
                    self.flits[way].pop(0)
            await ctx.tick()
            self.cycle += 1


def test_latency_and_throughput_of_what_is_sent(simulate):
    bench = Bench(cores=3, bidirectional=1)

    async def testbench(ctx):
        bench.begin(ctx, sync(4, 20, 4, 20), sync(30, 2, 30, 2))
        bench.flits = [[flit(last=1, empty=1)] * 2, [flit(last=1, empty=1)] * 2]
        await bench.run(ctx, 40)

    simulate(bench.dut, testbench)
    # A command, a cycle later the first read, two cycles later the flit, in both directions.
    assert bench.seen == {
        "command": [0, 22], "read": [*range(1, 21), 23, 24],
        "send0": [*range(3, 23), 25, 26], "send1": [*range(3, 23), 25, 26],
        "receive0": [1, 23], "receive1": [2, 24], "retired": [22, 26]}


def test_latency_and_throughput_of_what_comes(simulate):
    bench = Bench(cores=4, bidirectional=0)

    async def testbench(ctx):
        bench.begin(ctx, sync(0, 0, 0, 24))
        bench.flits[0] = [flit(index, 3, last=index == 7) for index in range(8)]
        bench.flits[0] += [flit(index, 2, last=index == 15) for index in range(8, 16)]
        bench.flits[0] += [flit(index, 1, last=index == 23) for index in range(16, 24)]
        await bench.run(ctx, 40)

    simulate(bench.dut, testbench)
    # The own share of nothing is handed over in cycle 2: nothing can be passed on in it.
    taken = [1, *range(3, 26)]
    assert bench.seen == {
        "command": [0], "receive0": taken, "write": taken, "send0": [*range(2, 19)],
        "retired": [26]}


def test_both_directions_take_turns(simulate):
    bench = Bench(cores=3, bidirectional=1)

    async def testbench(ctx):
        bench.begin(ctx, sync(0, 0, 0, 12))
        bench.flits = [[flit(index, last=index == 5) for index in range(6)],
                       [flit(index, last=index == 11) for index in range(6, 12)]]
        await bench.run(ctx, 20)

    simulate(bench.dut, testbench)
    assert bench.seen["write"] == list(range(1, 13))
    assert bench.seen["receive0"] == list(range(1, 12, 2))
    assert bench.seen["receive1"] == list(range(2, 13, 2))
    assert bench.seen["retired"] == [13]


def test_latency_of_arg_max(simulate):
    bench = Bench(cores=3, bidirectional=1)

    async def testbench(ctx):
        bench.begin(ctx, Instruction(Opcode.ARG_MAX))
        ctx.set(bench.dut.tokens.valid, 1)
        bench.flits = [[flit(last=1, arg_max=1)], []]
        await bench.run(ctx, 6)
        bench.flits[1].append(flit(last=1, arg_max=1))
        await bench.run(ctx, 6)

    simulate(bench.dut, testbench)
    # Nothing is found, and the result says so.
    assert bench.seen == {
        "command": [0], "token": [1], "send0": [3], "send1": [3], "receive0": [1],
        "receive1": [6], "result": [7], "retired": [7]}


def test_what_comes_early_waits(simulate):
    bench = Bench(cores=2)

    async def testbench(ctx):
        bench.begin(ctx)
        bench.flits[0] = [flit(1, last=1), flit(1, last=1)]
        await bench.run(ctx, 4)
        assert "receive0" not in bench.seen
        bench.instructions = [sync(0, 1, 0, 2)]
        await bench.run(ctx, 10)
        bench.instructions = [sync(2, 1, 2, 2)]
        await bench.run(ctx, 10)

    simulate(bench.dut, testbench)
    assert bench.seen["receive0"] == [5, 15]
    assert bench.seen["retired"] == [7, 17]


@pytest.mark.parametrize("what, index, broken, flits", [
    (FlitFault.INDEX, 4, 0, [flit(4, 2)]),
    (FlitFault.OWN_SHARE, 1, 0, [flit(1, 2)]),
    (FlitFault.HOPS, 0, 0, [flit(0, 0)]),
    (FlitFault.HOPS, 0, 0, [flit(0, 3)]),
    (FlitFault.EXTRA, 3, 2, [flit(2, 2), flit(3, 2, last=1), flit(3, 2)]),
    (FlitFault.KIND, 2, 0, [flit(2, 2, arg_max=1, last=1)]),
    (FlitFault.KIND, 2, 0, [flit(2, 2, empty=1)]),
    (FlitFault.COUNT, 1, 2, [flit(2, 2, last=1), flit(0, 1, last=1, empty=1)]),
    (FlitFault.COUNT, 3, 4, [flit(2, 2), flit(3, 2, last=1), flit(2, 1, last=1), flit(0, 2)]),
])
def test_a_flit_that_breaks_a_rule(simulate, what, index, broken, flits):
    """Three cores in one direction; of four chunks the first two are the core's own."""
    bench = Bench()
    dut = bench.dut

    async def testbench(ctx):
        bench.begin(ctx, sync(10, 2, 10, 4), sync(20, 2, 20, 4))
        bench.flits[0] = list(flits)
        await bench.run(ctx, 20)
        assert ctx.get(dut.fault)
        assert (ctx.get(dut.place.fault), ctx.get(dut.place.index)) == (what, index)
        assert ctx.get(dut.place.direction) == 0
        assert "retired" not in bench.seen
        if what is not FlitFault.COUNT:
            assert len(bench.seen.get("receive0", [])) == broken
        # After a reset the next instruction runs.
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        bench.flits[0] = [flit(2, 2, last=1), flit(3, 1, last=1)]
        await bench.run(ctx, 20)
        assert not ctx.get(dut.fault) and len(bench.seen["retired"]) == 1

    simulate(dut, testbench)


def test_the_other_direction_and_arg_max(simulate):
    bench = Bench(cores=3, bidirectional=1)
    dut = bench.dut

    async def testbench(ctx):
        bench.begin(ctx, Instruction(Opcode.ARG_MAX))
        bench.flits[1] = [flit(9, 1, last=1)]
        await bench.run(ctx, 5)
        assert ctx.get(dut.fault)
        assert ctx.get(dut.place.as_value()) == 9 | FlitFault.KIND << 12 | 1 << 15

    simulate(dut, testbench)


def test_what_an_ended_run_left_is_dropped(simulate):
    """A run ends in the middle of an instruction; what stands in the queue is offered on."""
    bench = Bench(cores=3)
    dut = bench.dut

    async def testbench(ctx):
        bench.begin(ctx, sync(10, 2, 10, 4))
        ctx.set(dut.send[0].ready, 0)
        bench.flits[0] = [flit(2, 2, data=3)]
        await bench.run(ctx, 8)
        offered = ctx.get(dut.send[0].payload.as_value())
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert ctx.get(dut.send[0].valid)
        assert ctx.get(dut.send[0].payload.as_value()) == offered
        ctx.set(dut.run, 2)
        ctx.set(dut.send[0].ready, 1)
        bench.flits[0] = [flit(3, 2, last=1), flit(0, 1, last=1), flit(9, 7),
                          flit(2, 2, last=1, run=2), flit(3, 1, last=1, run=2)]
        bench.instructions = [sync(10, 2, 10, 4)]
        bench.seen.clear()
        await bench.run(ctx, 20)
        assert not ctx.get(dut.fault)

    simulate(dut, testbench)
    assert len(bench.seen["receive0"]) == 5 and len(bench.seen["write"]) == 2
    assert len(bench.seen["retired"]) == 1


def test_who_is_waited_for(simulate):
    bench = Bench(cores=4, bidirectional=1)
    dut = bench.dut

    async def testbench(ctx):
        bench.begin(ctx, sync(0, 1, 0, 4))
        ctx.set(dut.send[1].ready, 0)
        bench.flits[0] = [flit(1, 2, last=1)]
        await bench.run(ctx, 10)
        assert (ctx.get(dut.awaited), ctx.get(dut.blocked)) == (0b11, 0b10)
        assert not ctx.get(dut.progress)
        bench.flits[0] = [flit(2, 1, last=1)]
        await bench.run(ctx, 10)
        assert (ctx.get(dut.awaited), ctx.get(dut.blocked)) == (0b10, 0b10)
        ctx.set(dut.send[1].ready, 1)
        assert ctx.get(dut.progress)
        bench.flits[1] = [flit(3, 1, last=1)]
        await bench.run(ctx, 10)
        assert (ctx.get(dut.awaited), ctx.get(dut.blocked)) == (0, 0)
        assert len(bench.seen["retired"]) == 1

    simulate(dut, testbench)
