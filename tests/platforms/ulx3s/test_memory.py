import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from dfx_rtl.bus.axi import Axi3Signature, Axi4Signature, Response
from platforms.ulx3s.memory import BlockMemory
from sim.memory.checker import AxiChecker, Violation

DEPTH = 37
SIGNATURES = [Axi3Signature(12, 64, 1), Axi4Signature(12, 128, 1)]


class Checked(wiring.Component):
    """A memory with the protocol checker on its bus."""

    def __init__(self, signature, words):
        self.memory = BlockMemory(signature, words)
        self.checker = AxiChecker(self.memory.bus)
        super().__init__({"bus": In(signature),
                          "words": In(self.memory.words.signature.flip())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        m.submodules.checker = self.checker
        connect(m, flipped(self.bus), self.memory.bus)
        connect(m, flipped(self.words), self.memory.words)
        return m


def contents(signature, seed=1):
    source = random.Random(seed)
    return [source.getrandbits(signature.data_width) for _ in range(DEPTH)]


@pytest.mark.parametrize("signature", SIGNATURES, ids=["axi3", "axi4"])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_bursts_and_words(simulate, manager, signature, stall):
    """Random bursts of one side, single words of the other; all rules of AXI are checked."""
    expected = contents(signature)
    dut = Checked(signature, expected)
    source = random.Random(7)
    size = signature.beat_bytes
    host = manager(dut.bus, "sync", seed=3, stall=stall)
    everything = (1 << size) - 1

    async def bench(ctx):
        await ctx.tick()
        for _ in range(40):
            length = source.randrange(1, 9)
            first = source.randrange(DEPTH - length + 1)
            burst = [(1, first * size, length)]
            if source.random() < 0.5:
                data = [(source.getrandbits(8 * size), source.choice([everything, 0, 1, 6]))
                        for _ in range(length)]
                await host.addresses(ctx, "aw", burst)
                await host.data(ctx, [data])
                assert await host.answers(ctx, 1) == [(1, Response.OKAY)]
                for place, (value, strobe) in enumerate(data, first):
                    mask = sum(0xFF << 8 * byte for byte in range(size) if strobe >> byte & 1)
                    expected[place] = expected[place] & ~mask | value & mask
            else:
                await host.addresses(ctx, "ar", burst)
                (identifier, beats), = await host.beats(ctx, [length])
                assert identifier == 1
                assert beats == [(value, Response.OKAY)
                                 for value in expected[first:first + length]]
            place = source.randrange(DEPTH)
            words = dut.words
            write = source.random() < 0.5
            value = source.getrandbits(8 * size)
            for member, content in (("valid", 1), ("write", write), ("address", place),
                                    ("data", value), ("strobe", everything)):
                ctx.set(getattr(words, member), content)
            await ctx.tick().until(words.ready)
            ctx.set(words.valid, 0)
            if write:
                expected[place] = value
            else:
                assert ctx.get(words.result) == expected[place]
        assert ctx.get(dut.checker.violation) == Violation.NONE

    simulate(dut, bench)


@pytest.mark.parametrize("signature", SIGNATURES, ids=["axi3", "axi4"])
def test_a_beat_a_cycle(simulate, signature):
    expected = contents(signature)
    dut = Checked(signature, expected)

    async def bench(ctx):
        await ctx.tick()
        bus = dut.bus
        for member, value in (("araddr", 2 * signature.beat_bytes), ("arlen", 15),
                              ("arsize", signature.size), ("arburst", 1), ("arvalid", 1),
                              ("rready", 1)):
            ctx.set(getattr(bus, member), value)
        await ctx.tick().until(bus.arready)
        ctx.set(bus.arvalid, 0)
        await ctx.tick()
        for beat in range(16):
            assert ctx.get(bus.rvalid) and ctx.get(bus.rdata) == expected[2 + beat]
            assert ctx.get(bus.rlast) == (beat == 15)
            await ctx.tick()
        assert not ctx.get(bus.rvalid)
        assert ctx.get(dut.checker.violation) == Violation.NONE

    simulate(dut, bench)


def test_behind_the_end(simulate, manager):
    """A beat behind the end is answered with DECERR, and changes nothing."""
    signature = SIGNATURES[0]
    expected = contents(signature)
    dut = Checked(signature, expected)
    host = manager(dut.bus, "sync")
    last = (DEPTH - 1) * signature.beat_bytes

    async def bench(ctx):
        await host.addresses(ctx, "aw", [(0, last, 2)])
        await host.data(ctx, [[(1, 0xFF), (2, 0xFF)]])
        assert await host.answers(ctx, 1) == [(0, Response.DECERR)]
        await host.addresses(ctx, "ar", [(0, last, 2)])
        (_, beats), = await host.beats(ctx, [2])
        assert beats[0] == (1, Response.OKAY) and beats[1][1] == Response.DECERR
        await host.addresses(ctx, "ar", [(0, 0, 1)])
        (_, beats), = await host.beats(ctx, [1])
        assert beats == [(expected[0], Response.OKAY)]

    simulate(dut, bench)
