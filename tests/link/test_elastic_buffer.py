import random

import pytest
from amaranth.sim import Simulator

from dfx_rtl.link import ElasticBuffer, WordKind


def run(testbenches, *, ppm=0.0, phase=0.0):
    dut = ElasticBuffer(1)
    simulator = Simulator(dut)
    simulator.add_clock(1e-8, phase=0.0, domain="receive")
    simulator.add_clock(1e-8 * (1 + ppm * 1e-6), phase=phase * 1e-8, domain="sync")
    for testbench in testbenches(dut):
        simulator.add_testbench(testbench)
    simulator.run()


def test_latency_and_states():
    def testbenches(dut):
        async def testbench(ctx):
            ctx.set(dut.write_locked, 1)
            await ctx.tick().repeat(10)
            assert ctx.get(dut.locked) and not ctx.get(dut.bonded)
            assert not ctx.get(dut.write_clear)
            ctx.set(dut.write_valid, 1)
            ctx.set(dut.write_word, {"data": 17, "kind": WordKind.DATA})
            await ctx.tick()
            ctx.set(dut.write_valid, 0)
            cycles = 1
            while not ctx.get(dut.word_valid):
                await ctx.tick()
                cycles += 1
            assert cycles == 3
            assert ctx.get(dut.word.data) == 17
            await ctx.tick()
            assert not ctx.get(dut.word_valid)
            ctx.set(dut.clear, 1)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.write_clear)

        return [testbench]

    run(testbenches)


@pytest.mark.parametrize("ppm, phase", [(0, 0.0), (0, 0.3), (1400, 0.0), (-1400, 0.6)])
def test_carries_everything(ppm, phase):
    generator = random.Random(1)
    words = [generator.getrandbits(64) for _ in range(5200)]
    got = []

    def testbenches(dut):
        async def write(ctx):
            await ctx.tick("receive").repeat(20)
            for index, word in enumerate(words):
                # Compensation: 7 of 4847.
                ctx.set(dut.write_valid, index % 4847 < 4840)
                ctx.set(dut.write_word, {"data": word, "kind": WordKind.DATA})
                await ctx.tick("receive")
            ctx.set(dut.write_valid, 0)
            await ctx.tick().repeat(20)
            assert not ctx.get(dut.overflow)

        async def read(ctx):
            async for _, _, valid, data in ctx.tick().sample(dut.word_valid, dut.word.data):
                if valid:
                    got.append(data)
                    if len(got) == len(words) - 7:
                        return

        return [write, read]

    run(testbenches, ppm=ppm, phase=phase)
    assert got == [word for index, word in enumerate(words) if index % 4847 < 4840]


def test_overflow_is_told_until_cleared():
    def testbenches(dut):
        async def testbench(ctx):
            await ctx.tick("receive").repeat(10)
            ctx.set(dut.write_valid, 1)
            # The reader is half as fast.
            await ctx.tick("receive").repeat(60)
            ctx.set(dut.write_valid, 0)
            await ctx.tick("receive").repeat(6)
            assert ctx.get(dut.overflow)
            ctx.set(dut.clear, 1)
            await ctx.tick("receive").repeat(20)
            assert not ctx.get(dut.overflow)

        return [testbench]

    run(testbenches, ppm=1e6)


@pytest.mark.parametrize("lanes, error", [(0, ValueError), ("2", TypeError)])
def test_errors(lanes, error):
    with pytest.raises(error) as raised:
        ElasticBuffer(lanes)
    assert str(raised.value) == f"Lanes must be an integer between 1 and 4, not {lanes!r}"
