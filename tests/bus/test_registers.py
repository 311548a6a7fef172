# amaranth: UnusedElaboratable=no
import random
import re

import pytest
from amaranth import *

from dfx_rtl.bus.axi import AxiLiteSignature, Response
from dfx_rtl.bus.registers import *
from sim.memory.checker import AxiLiteChecker, Violation

RW, RO = Access.READ_WRITE, Access.READ_ONLY
W1C, PULSE = Access.WRITE_ONE_TO_CLEAR, Access.WRITE_PULSE


def example():
    return RegisterMap([
        Register("CONTROL", 0x00, RW, [Field("enable"), Field("mode", 7, 5), Field("size", 24)],
                 "How it runs."),
        Register("STATUS", 0x04, RO, [Field("busy", 1, doc="It runs."), Field("count", 31)]),
        Register("CAUSE", 0x08, W1C, [Field("overflow"), Field("errors", 31)]),
        Register("COMMAND", 0x10, PULSE, [Field("start"), Field("argument", 31)]),
        Register("SCRATCH", 0x20, RW, [Field("word", 32, 0xdeadbeef)]),
    ])


class Bench(Elaboratable):
    def __init__(self, map=None, **parameters):
        self.dut = AxiLiteRegisters(map or example(), **parameters)
        self.checker = AxiLiteChecker(self.dut.bus)
        self.violation = self.checker.violation

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        m.submodules.checker = self.checker
        return m


async def send(ctx, bus, channel, delay=0, **payload):
    if delay:
        await ctx.tick().repeat(delay)
    for name, value in payload.items():
        ctx.set(getattr(bus, name), value)
    ctx.set(getattr(bus, f"{channel}valid"), 1)
    await ctx.tick().until(getattr(bus, f"{channel}ready"))
    ctx.set(getattr(bus, f"{channel}valid"), 0)


async def receive(ctx, bus, channel, *names, delay=0):
    if delay:
        await ctx.tick().repeat(delay)
    ctx.set(getattr(bus, f"{channel}ready"), 1)
    values = await ctx.tick().sample(*(getattr(bus, name) for name in names)).until(
        getattr(bus, f"{channel}valid"))
    ctx.set(getattr(bus, f"{channel}ready"), 0)
    return values


async def write(ctx, bus, address, word, strobe=0xf):
    ctx.set(bus.awaddr, address)
    ctx.set(bus.awvalid, 1)
    ctx.set(bus.wdata, word)
    ctx.set(bus.wstrb, strobe)
    ctx.set(bus.wvalid, 1)
    await ctx.tick().until(bus.awready & bus.wready)
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    return (await receive(ctx, bus, "b", "bresp"))[0]


async def read(ctx, bus, address):
    await send(ctx, bus, "ar", araddr=address)
    return await receive(ctx, bus, "r", "rdata", "rresp")


def test_access_types(simulate):
    bench = Bench()
    dut, bus, map = bench.dut, bench.dut.bus, bench.dut.map

    async def testbench(ctx):
        assert await read(ctx, bus, 0x00) == (5 << 1, Response.OKAY)
        assert await read(ctx, bus, 0x20) == (0xdeadbeef, Response.OKAY)
        assert ctx.get(dut.control.mode) == 5
        word = map["CONTROL"].pack(enable=1, mode=0x55, size=0x123456)
        assert await write(ctx, bus, 0x00, word) == Response.OKAY
        assert ctx.get(dut.control.size) == 0x123456
        assert map["CONTROL"].unpack((await read(ctx, bus, 0x00))[0]) \
            == {"enable": 1, "mode": 0x55, "size": 0x123456}

        ctx.set(dut.status, {"busy": 1, "count": 77})
        assert await read(ctx, bus, 0x04) == (77 << 1 | 1, Response.OKAY)
        assert await write(ctx, bus, 0x04, 0) == Response.OKAY
        assert await read(ctx, bus, 0x04) == (77 << 1 | 1, Response.OKAY)

        ctx.set(dut.cause_set, {"overflow": 1, "errors": 5})
        await ctx.tick()
        ctx.set(dut.cause_set, {"overflow": 0, "errors": 8})
        await ctx.tick()
        ctx.set(dut.cause_set, {"overflow": 0, "errors": 0})
        assert await read(ctx, bus, 0x08) == (13 << 1 | 1, Response.OKAY)
        assert await write(ctx, bus, 0x08, 4 << 1 | 1) == Response.OKAY
        assert await read(ctx, bus, 0x08) == (9 << 1, Response.OKAY)
        assert await read(ctx, bus, 0x10) == (0, Response.OKAY)

    simulate(bench, testbench)


def test_event_wins_over_clear(simulate):
    """An event in the very cycle of the clear is kept, and so is none before it."""
    bench = Bench()
    dut, bus = bench.dut, bench.dut.bus

    async def testbench(ctx):
        ctx.set(dut.cause_set.errors, 4)
        await ctx.tick()
        ctx.set(dut.cause_set.errors, 0)
        ctx.set(bus.awaddr, 0x08)
        ctx.set(bus.wdata, 0xffffffff)
        ctx.set(bus.wstrb, 0xf)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        await ctx.tick()
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        ctx.set(dut.cause_set.errors, 1)
        await ctx.tick()
        ctx.set(dut.cause_set.errors, 0)
        await ctx.tick()
        assert ctx.get(bus.bvalid)
        assert ctx.get(dut.cause.errors) == 1

    simulate(bench, testbench)


def test_responses_are_held(simulate):
    """A second access may be sent while the first is not taken; neither answer is lost."""
    bench = Bench()
    bus = bench.dut.bus

    async def testbench(ctx):
        await ctx.tick()
        await send(ctx, bus, "ar", araddr=0x20)
        await send(ctx, bus, "ar", araddr=0x14)
        await ctx.tick().repeat(5)
        assert await receive(ctx, bus, "r", "rdata", "rresp") == (0xdeadbeef, Response.OKAY)
        assert await receive(ctx, bus, "r", "rdata", "rresp") == (0, Response.DECERR)
        for address in (0x20, 0x14):
            await send(ctx, bus, "aw", awaddr=address)
            await send(ctx, bus, "w", wdata=1, wstrb=0xf)
        await ctx.tick().repeat(5)
        assert await receive(ctx, bus, "b", "bresp") == (Response.OKAY,)
        assert await receive(ctx, bus, "b", "bresp") == (Response.DECERR,)
        assert ctx.get(bench.violation) == Violation.NONE

    simulate(bench, testbench)


def test_pulse_is_one_cycle(simulate):
    bench = Bench()
    dut, bus = bench.dut, bench.dut.bus
    seen = []

    async def watch(ctx):
        async for _, _, stb, value in ctx.tick().sample(dut.command_stb, dut.command.as_value()):
            if stb:
                seen.append(value)

    async def testbench(ctx):
        await write(ctx, bus, 0x10, 0x11223343)
        await write(ctx, bus, 0x10, 0x55667788, strobe=0b0101)
        await write(ctx, bus, 0x10, 0x55667788, strobe=0)
        await write(ctx, bus, 0x14, 0x55667788)
        await ctx.tick().repeat(3)

    simulate(bench, testbench, background=[watch])
    assert seen == [0x11223343, 0x00660088]


def test_unmapped(simulate):
    bench = Bench(address_width=8)
    bus = bench.dut.bus

    async def testbench(ctx):
        for address in (0x0c, 0x14, 0x24, 0x80, 0xfc):
            assert await read(ctx, bus, address) == (0, Response.DECERR)
            assert await write(ctx, bus, address, 0xffffffff) == Response.DECERR
        assert await read(ctx, bus, 0x20) == (0xdeadbeef, Response.OKAY)
        assert await read(ctx, bus, 0x00) == (5 << 1, Response.OKAY)

    simulate(bench, testbench)


def test_latency_and_throughput(simulate):
    bench = Bench()
    bus = bench.dut.bus

    async def testbench(ctx):
        ctx.set(bus.bready, 1)
        ctx.set(bus.rready, 1)
        ctx.set(bus.araddr, 0x20)
        ctx.set(bus.wstrb, 0xf)
        await ctx.tick()
        for valid in (bus.awvalid, bus.wvalid, bus.arvalid):
            ctx.set(valid, 1)
        trace = []
        async for _, _, *values in ctx.tick().sample(bus.awready, bus.wready, bus.bvalid,
                                                     bus.arready, bus.rvalid):
            trace.append(tuple(values))
            if len(trace) == 8:
                break
        moved, waiting = (1, 1, 0, 1, 0), (0, 0, 0, 0, 0)
        assert trace == [moved, waiting] + [(1, 1, 1, 1, 1), waiting] * 3

    simulate(bench, testbench)


@pytest.mark.parametrize("seed", range(4))
def test_random(simulate, seed):
    bench = Bench(address_width=6)
    dut, bus = bench.dut, bench.dut.bus
    choice = random.Random(seed)
    pauses = [0, 0, 0, 1, 2, 5] if seed else [0]
    writes = [(choice.choice([0x00, 0x20, 0x20, 0x08, 0x10, 0x0c]), choice.getrandbits(32),
               choice.getrandbits(4)) for _ in range(60)]
    words = {0x00: 5 << 1, 0x20: 0xdeadbeef}
    written, pulses, expected_pulses = [], [], []

    async def addresses(ctx):
        await ctx.tick()
        for address, _, _ in writes:
            await send(ctx, bus, "aw", choice.choice(pauses), awaddr=address)

    async def words_(ctx):
        await ctx.tick()
        for _, word, strobe in writes:
            await send(ctx, bus, "w", choice.choice(pauses), wdata=word, wstrb=strobe)

    async def responses(ctx):
        for address, word, strobe in writes:
            response, = await receive(ctx, bus, "b", "bresp", delay=choice.choice(pauses))
            mask = sum(0xff << 8 * k for k in range(4) if strobe >> k & 1)
            assert response == (Response.DECERR if address == 0x0c else Response.OKAY)
            if address in words:
                words[address] = words[address] & ~mask | word & mask
            if address == 0x10 and mask:
                expected_pulses.append(word & mask)
            written.append(address)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.control.as_value()) == words[0x00]
        assert ctx.get(dut.scratch.word) == words[0x20]
        assert pulses == expected_pulses

    async def reader(ctx):
        await ctx.tick()
        for index in range(40):
            address = choice.choice([0x04, 0x0c, 0x10])
            ctx.set(dut.status.count, index)
            await send(ctx, bus, "ar", choice.choice(pauses), araddr=address)
            answer = await receive(ctx, bus, "r", "rdata", "rresp", delay=choice.choice(pauses))
            assert answer == {0x04: (index << 1, Response.OKAY), 0x0c: (0, Response.DECERR),
                              0x10: (0, Response.OKAY)}[address]

    async def watch(ctx):
        async for _, _, stb, value in ctx.tick().sample(dut.command_stb, dut.command.as_value()):
            if stb:
                pulses.append(value)

    async def check(ctx):
        async for _, _, violation in ctx.tick().sample(bench.violation):
            assert violation == Violation.NONE

    simulate(bench, addresses, words_, responses, reader, background=[watch, check])
    assert len(written) == len(writes)


def test_smallest(simulate):
    bench = Bench(RegisterMap([Register("ONE", 0, RW, [Field("bit", 1, 1)])]))
    bus = bench.dut.bus

    async def testbench(ctx):
        assert len(bus.awaddr) == 3
        assert await read(ctx, bus, 0) == (1, Response.OKAY)
        assert await write(ctx, bus, 0, 0) == Response.OKAY
        assert await read(ctx, bus, 0) == (0, Response.OKAY)
        assert await read(ctx, bus, 4) == (0, Response.DECERR)

    simulate(bench, testbench)


def test_map():
    map = example()
    assert [register.name for register in map] == ["CONTROL", "STATUS", "CAUSE", "COMMAND",
                                                   "SCRATCH"]
    assert map["STATUS"].offset == 4
    assert map["CONTROL"].reset == 5 << 1
    assert "CAUSE" in map and "OTHER" not in map and len(map) == 5
    assert map.address_width == 6
    assert AxiLiteRegisters(map).signature.members["bus"].signature.flip() == AxiLiteSignature(6)
    lines = map.markdown().splitlines()
    assert lines[0] == "| offset | register | access | bits | field | reset | meaning |"
    assert lines[2] == "| `0x000` | **CONTROL** | read and write | | | | How it runs. |"
    assert lines[4] == "| | | | 7:1 | `mode` | 0x5 |  |"
    assert lines[7] == "| | | | 0 | `busy` | 0x0 | It runs. |"


@pytest.mark.parametrize("make, error, message", [
    (lambda: Field("Big"), ValueError,
     "Field name must be an identifier in lower case, not 'Big'"),
    (lambda: Field("f", 33), ValueError, "Width of field 'f' must be between 1 and 32, not 33"),
    (lambda: Field("f", 2, 4), ValueError, "Reset value of field 'f' must fit in 2 bits, not 4"),
    (lambda: Register("low", 0, RW, [Field("f")]), ValueError,
     "Register name must be an identifier in upper case, not 'low'"),
    (lambda: Register("R", 2, RW, [Field("f")]), ValueError,
     "Offset of register R must be a multiple of 4, not 2"),
    (lambda: Register("R", 0, "rw", [Field("f")]), TypeError,
     "Access of register R must be an Access, not 'rw'"),
    (lambda: Register("R", 0, RW, []), ValueError, "Register R must have a field"),
    (lambda: Register("R", 0, RW, [Field("f"), Field("f")]), ValueError,
     "Register R has two fields 'f'"),
    (lambda: Register("R", 0, RW, [Field("f", 30), Field("g", 3)]), ValueError,
     "Fields of register R must fit in 32 bits, not 33"),
    (lambda: Register("R", 0, RO, [Field("f", 1, 1)]), ValueError,
     "Register R is not READ_WRITE: reset value of field 'f' must be 0, not 1"),
    (lambda: Register("R", 0, RW, [Field("f")]).pack(f=2), ValueError,
     "Field 'f' of register R must fit in 1 bits, not 2"),
    (lambda: Register("R", 0, RW, [Field("f")]).pack(g=0), KeyError,
     "\"Register R has no field 'g'\""),
    (lambda: RegisterMap([]), ValueError, "A register map must have a register"),
    (lambda: RegisterMap([Register("R", 0, RW, [Field("f")]), Register("R", 4, RW, [Field("f")])]),
     ValueError, "Register R is declared twice"),
    (lambda: RegisterMap([Register("R", 0, RW, [Field("f")]), Register("S", 0, RW, [Field("f")])]),
     ValueError, "Registers R and S overlap at offset 0x0"),
    (lambda: RegisterMap([Register("BUS", 0, RW, [Field("f")])]), ValueError,
     "Member 'bus' of register BUS is taken"),
    (lambda: RegisterMap([Register("R", 0, W1C, [Field("f")]),
                          Register("R_SET", 4, RW, [Field("f")])]), ValueError,
     "Member 'r_set' of register R_SET is taken"),
    (lambda: AxiLiteRegisters([]), TypeError, "Map must be a RegisterMap, not []"),
    (lambda: AxiLiteRegisters(example(), address_width=5), ValueError,
     "Address width must be at least 6 to reach every register, not 5"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()
