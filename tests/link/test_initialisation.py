import pytest

from dfx_rtl.link import ChannelMode, Initialisation, WordKind


async def words(ctx, dut, kind, count):
    """Words of a kind, one a cycle."""
    ctx.set(dut.word_valid, 1)
    ctx.set(dut.kind, kind)
    await ctx.tick().repeat(count)


async def bring_up(ctx, dut):
    ctx.set(dut.transmit_ready, 1)
    while ctx.get(dut.clear):
        await ctx.tick()
    ctx.set(dut.locked, 1)
    ctx.set(dut.bonded, 1)
    await words(ctx, dut, WordKind.IDLE, 140)
    assert ctx.get(dut.ready)


def test_the_way_up(simulate):
    dut = Initialisation(slip_cycles=1, reset_cycles=32)

    async def testbench(ctx):
        ctx.set(dut.transmit_ready, 1)
        for _ in range(33):
            assert ctx.get(dut.clear)
            await ctx.tick()
        assert not ctx.get(dut.clear)
        assert ctx.get(dut.mode) == ChannelMode.NOT_READY
        ctx.set(dut.locked, 1)
        await ctx.tick()
        assert ctx.get(dut.mode) == ChannelMode.BONDING
        ctx.set(dut.bonded, 1)
        await ctx.tick()
        assert ctx.get(dut.mode) == ChannelMode.WAITING
        # As long as the remote end is not ready, nothing happens.
        await words(ctx, dut, WordKind.NOT_READY, 300)
        assert ctx.get(dut.mode) == ChannelMode.WAITING
        await words(ctx, dut, WordKind.IDLE, 63)
        await words(ctx, dut, WordKind.NOT_READY, 1)
        await words(ctx, dut, WordKind.IDLE, 64)
        assert not ctx.get(dut.ready)
        await ctx.tick()
        assert ctx.get(dut.ready)
        assert ctx.get(dut.mode) == ChannelMode.READY

    simulate(dut, testbench)


@pytest.mark.parametrize("stage", ["LANES", "BOND"])
def test_a_stage_that_takes_too_long(simulate, stage):
    dut = Initialisation(slip_cycles=1, reset_cycles=32)

    async def testbench(ctx):
        while ctx.get(dut.clear):
            await ctx.tick()
        ctx.set(dut.locked, stage == "BOND")
        cycles = 0
        while not ctx.get(dut.clear):
            await ctx.tick()
            cycles += 1
        assert cycles == 128 * 3 + 512 + 1 + (stage == "BOND")

    simulate(dut, testbench)


@pytest.mark.parametrize("loss", ["locked", "bonded", "overflow", "hold", "silence", "not ready"])
@pytest.mark.parametrize("ready", [False, True])
def test_losses(simulate, loss, ready):
    dut = Initialisation(slip_cycles=1, reset_cycles=32)

    async def testbench(ctx):
        await bring_up(ctx, dut)
        if not ready:
            ctx.set(dut.hold, 1)
            await ctx.tick()
            ctx.set(dut.hold, 0)
            await ctx.tick().repeat(33)
            await words(ctx, dut, WordKind.NOT_READY, 3)
            assert ctx.get(dut.mode) == ChannelMode.WAITING
        # One bit error is no loss.
        await words(ctx, dut, WordKind.NOT_READY, 3)
        await words(ctx, dut, WordKind.DATA, 1)
        assert not ctx.get(dut.clear)
        if loss in ("locked", "bonded"):
            ctx.set(getattr(dut, loss), 0)
            await ctx.tick()
        elif loss in ("overflow", "hold"):
            ctx.set(getattr(dut, loss), 1)
            await ctx.tick()
        elif loss == "silence":
            ctx.set(dut.word_valid, 0)
            await ctx.tick().repeat(64)
            assert not ctx.get(dut.clear)
            await ctx.tick()
        else:
            await words(ctx, dut, WordKind.NOT_READY, 4)
            assert not ctx.get(dut.clear)
            await ctx.tick()
            assert ctx.get(dut.clear) == ready
            return
        assert ctx.get(dut.clear)
        if loss == "hold":
            await ctx.tick().repeat(100)
            assert ctx.get(dut.clear)

    simulate(dut, testbench)


@pytest.mark.parametrize("parameters, text", [
    ({"slip_cycles": 0}, "Slip cycles must be an integer between 1 and 64, not 0"),
    ({"reset_cycles": 31}, "Reset time must be an integer between 32 and 65536, not 31"),
])
def test_errors(parameters, text):
    with pytest.raises(ValueError) as raised:
        Initialisation(**parameters)
    assert str(raised.value) == text
