"""Two ends of a link with lanes, a delay between them, and errors on the lines."""

import random
from collections import deque

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

from sim.engines.partition import PartitionedEngine
from sim.link.aurora_end import AuroraEnd
from sim.link.channel import error_threshold

TILE, DELAY, COUNT = 8, 5, 30


class Pair(wiring.Component):
    """Two ends; what leaves each reaches the other by a testbench."""

    def __init__(self):
        self.ends = [AuroraEnd(TILE, seed) for seed in (1, 2)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for number, end in enumerate(self.ends):
            m.submodules[f"end{number}"] = end
        return m


@pytest.mark.parametrize("rate", [0, 3e-4])
def test_flits_arrive(rate):
    """Both ways, in order, while the links have hits if there is a rate of them."""
    pair = Pair()
    flits = [[random.Random(seed).getrandbits(16 * TILE) for _ in range(COUNT)] for seed in (1, 2)]
    received, hits = [[], []], []

    def end(number):
        async def testbench(ctx):
            own, ready = pair.ends[number], random.Random(number)
            ctx.set(own.line_error, {"threshold": error_threshold(rate), "burst": 1,
                                     "unplugged": 0, "noise": 0})
            left = list(flits[number])
            while left or len(received[number]) < COUNT:
                if left:
                    ctx.set(own.send.payload.data, left[0])
                ctx.set(own.send.valid, bool(left))
                ctx.set(own.receive.ready, ready.random() < 0.5)
                _, _, taken, valid, may, data = await ctx.tick().sample(
                    own.send.ready, own.receive.valid, own.receive.ready,
                    own.receive.payload.data)
                if left and taken:
                    left.pop(0)
                if valid and may:
                    received[number].append(data)
            ctx.set(own.receive.ready, 0)
            assert ctx.get(own.error) == 0
        return testbench

    async def line(ctx):
        ways, cycle = [deque([0] * DELAY) for _ in pair.ends], 0
        async for _ in ctx.tick():
            cycle += 1
            assert cycle < 12_000
            hits[:] = [ctx.get(own.error_count) for own in pair.ends]
            for own, other, way in zip(pair.ends, pair.ends[::-1], ways, strict=True):
                way.append(ctx.get(own.boundary_out.as_value()))
                ctx.set(other.boundary_in.as_value(), way.popleft())

    simulator = Simulator(pair, engine=PartitionedEngine)
    simulator.add_clock(1e-8)
    for number in range(2):
        simulator.add_testbench(end(number))
    simulator.add_testbench(line, background=True)
    simulator.run()
    assert received == flits[::-1]
    assert all(count > 0 for count in hits) == (rate > 0)
