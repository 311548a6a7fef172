"""Two ends of a plain link, and a delay line between them."""

import random
from collections import deque

import pytest
from amaranth import *
from amaranth.lib import wiring

from sim.link.endpoint import ENDPOINT_LATENCY, Endpoint

TILE = 4


class Pair(wiring.Component):
    """Two ends; what leaves each reaches the other by :func:`line`."""

    def __init__(self, depth):
        self.ends = [Endpoint(TILE, depth) for _ in range(2)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for number, end in enumerate(self.ends):
            m.submodules[f"end{number}"] = end
        return m


def line(pair, delay):
    async def testbench(ctx):
        ways = [deque([0] * delay) for _ in pair.ends]
        async for _ in ctx.tick():
            for end, other, way in zip(pair.ends, pair.ends[::-1], ways, strict=True):
                way.append(ctx.get(end.boundary_out.as_value()))
                ctx.set(other.boundary_in.as_value(), way.popleft())
    return testbench


def send(end, values, stall, sent):
    async def testbench(ctx):
        generator, cycle, values_left = random.Random(1), 0, list(values)
        while values_left:
            valid = generator.random() >= stall
            ctx.set(end.send.valid, valid)
            ctx.set(end.send.payload.data, values_left[0])
            _, _, ready = await ctx.tick().sample(end.send.ready)
            if valid and ready:
                sent.append(cycle)
                values_left.pop(0)
            cycle += 1
        ctx.set(end.send.valid, 0)
    return testbench


def receive(end, count, stall, received):
    async def testbench(ctx):
        generator, cycle = random.Random(2), 0
        while len(received) < count:
            ready = generator.random() >= stall
            ctx.set(end.receive.ready, ready)
            _, _, valid, data = await ctx.tick().sample(end.receive.valid,
                                                        end.receive.payload.data)
            if valid and ready:
                received.append((cycle, data))
            cycle += 1
        ctx.set(end.receive.ready, 0)
    return testbench


def run(simulate, depth, delay, count, stalls=(0, 0)):
    """Flits both ways; returns the cycles of the transfers of one way."""
    pair = Pair(depth)
    ways = []
    testbenches = []
    for end, other in zip(pair.ends, pair.ends[::-1], strict=True):
        values = [random.Random(len(ways)).getrandbits(16 * TILE) for _ in range(count)]
        sent, received = [], []
        testbenches += [send(end, values, stalls[0], sent),
                        receive(other, count, stalls[1], received)]
        ways.append((values, sent, received))
    simulate(pair, *testbenches, background=(line(pair, delay),))
    for values, _, received in ways:
        assert [value for _, value in received] == values
    return ways[0][1], [cycle for cycle, _ in ways[0][2]]


@pytest.mark.parametrize("delay", [1, 6])
def test_latency_and_throughput(simulate, delay):
    sent, received = run(simulate, 16, delay, 60)
    assert sent == list(range(60))
    assert received == [cycle + ENDPOINT_LATENCY + delay for cycle in sent]


def test_too_few_places_cost_time(simulate):
    """A credit needs 2 x 7 + 4 cycles for its way round."""
    sent, _ = run(simulate, 16, 7, 60)
    assert sent == [cycle for cycle in range(200) if cycle % 18 < 16][:60]


@pytest.mark.parametrize("stalls", [(0.5, 0), (0, 0.5), (0.3, 0.3), (0, 0.9)])
@pytest.mark.parametrize("depth, delay", [(1, 1), (2, 3), (64, 9)])
def test_nothing_is_lost(simulate, depth, delay, stalls):
    run(simulate, depth, delay, 60, stalls)


def test_without_credit_nothing_is_sent(simulate):
    pair = Pair(4)
    sent = []

    async def wait(ctx):
        await ctx.tick().repeat(100)
        assert sent == [0, 1, 2, 3]

    simulate(pair, wait, background=(line(pair, 3), send(pair.ends[0], range(9), 0, sent)))


@pytest.mark.parametrize("depth", [0, 3, -4])
def test_depth(depth):
    with pytest.raises(ValueError) as caught:
        Endpoint(TILE, depth)
    assert str(caught.value) == f"Depth must be a power of two, not {depth}"
