"""The control unit: what the ring can do wrong ends in a cause and a place."""

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.activity import Activity
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.control.ring import FlitFault
from dfx_rtl.control.state import State
from dfx_rtl.control.unit import ControlUnit


async def write(ctx, bus, name, **fields):
    register = REGISTERS[name]
    ctx.set(bus.awaddr, register.offset)
    ctx.set(bus.wdata, register.pack(**fields))
    ctx.set(bus.wstrb, 15)
    for valid in (bus.awvalid, bus.wvalid, bus.bready):
        ctx.set(valid, 1)
    await ctx.tick().until(bus.awready & bus.wready)
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    await ctx.tick().until(bus.bvalid)
    ctx.set(bus.bready, 0)


async def read(ctx, bus, name):
    register = REGISTERS[name]
    ctx.set(bus.araddr, register.offset)
    ctx.set(bus.arvalid, 1)
    ctx.set(bus.rready, 1)
    await ctx.tick().until(bus.arready)
    ctx.set(bus.arvalid, 0)
    word, = await ctx.tick().sample(bus.rdata).until(bus.rvalid)
    ctx.set(bus.rready, 0)
    return register.unpack(word)


async def begin(ctx, dut, cores):
    """Start a run whose program never comes."""
    await write(ctx, dut.host, "CORE_COUNT", value=cores)
    await write(ctx, dut.host, "RING", bidirectional=1, run=11)
    await write(ctx, dut.host, "PROGRAM_LENGTH", value=1)
    await write(ctx, dut.host, "WATCHDOG", value=40)
    ctx.set(dut.program_requests.ready, 1)
    ctx.set(dut.activity, Activity.ISSUE)
    await write(ctx, dut.host, "CONTROL", start=1)


async def failure(ctx, dut):
    assert (await read(ctx, dut.host, "STATUS"))["state"] == State.FAILED
    error = await read(ctx, dut.host, "ERROR")
    assert error["response"] == 0
    return error["cause"], error["place"]


@pytest.mark.parametrize("errors, place", [((5, 0), 5), ((0, 0x83), 0x183), ((1, 2), 1)])
def test_a_link_that_fails_stops_the_core(simulate, errors, place):
    dut = ControlUnit(CONFIGS["nano"])

    async def testbench(ctx):
        await begin(ctx, dut, 2)
        assert (ctx.get(dut.core_count), ctx.get(dut.bidirectional), ctx.get(dut.run)) == (2, 1, 11)
        for signal, error in zip(dut.link_error, errors, strict=True):
            ctx.set(signal, error)
        await ctx.tick()
        assert await failure(ctx, dut) == (Cause.LINK, place)

    simulate(dut, testbench)


@pytest.mark.parametrize("cores", [0, 1, 9])
def test_a_core_that_is_alone_has_no_links(simulate, cores):
    dut = ControlUnit(CONFIGS["nano"])

    async def testbench(ctx):
        ctx.set(dut.link_error[0], 1)
        await begin(ctx, dut, cores)
        assert (await read(ctx, dut.host, "STATUS"))["state"] == State.LOADING

    simulate(dut, testbench)


def test_a_flit_that_breaks_a_rule_stops_the_core(simulate):
    dut = ControlUnit(CONFIGS["nano"])

    async def testbench(ctx):
        await begin(ctx, dut, 3)
        ctx.set(dut.router_fault, 1)
        ctx.set(dut.router_place, {"index": 77, "fault": FlitFault.EXTRA, "direction": 1})
        await ctx.tick()
        assert await failure(ctx, dut) == (
            Cause.ROUTER_PROTOCOL, 77 | FlitFault.EXTRA << 12 | 1 << 15)

    simulate(dut, testbench)


@pytest.mark.parametrize("awaited, blocked, ddr, expected", [
    (2, 0, 0, (Cause.WATCHDOG_LINK, 0b0010)),
    (1, 2, 0, (Cause.WATCHDOG_LINK, 0b1001)),
    (0, 1, 0, (Cause.WATCHDOG_LINK, 0b0100)),
    (0, 0, 0, (Cause.WATCHDOG_CORE, 0)),
    (3, 0, 1, (Cause.WATCHDOG_DDR, 0)),
])
def test_the_watchdog_names_the_direction(simulate, awaited, blocked, ddr, expected):
    dut = ControlUnit(CONFIGS["nano"])

    async def testbench(ctx):
        await begin(ctx, dut, 3)
        ctx.set(dut.router_awaited, awaited)
        ctx.set(dut.router_blocked, blocked)
        ctx.set(dut.ddr_waiting, ddr)
        ctx.set(dut.router_progress, 1)
        await ctx.tick().repeat(100)
        assert (await read(ctx, dut.host, "STATUS"))["state"] == State.LOADING
        ctx.set(dut.router_progress, 0)
        await ctx.tick().repeat(45)
        assert await failure(ctx, dut) == expected

    simulate(dut, testbench)
