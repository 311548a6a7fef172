import pytest

from dfx_rtl.link import BlockType, DownCause, Session, SessionState

FRESH, SEEN, ESTABLISHED = SessionState


async def hear(ctx, dut, state=None, heard=0, *, kind=BlockType.HELLO):
    """A control block from the remote end."""
    ctx.set(dut.control.type, kind)
    ctx.set(dut.control.sequence, (state or 0) | heard << 2)
    ctx.set(dut.control_valid, 1)
    await ctx.tick()
    ctx.set(dut.control_valid, 0)


async def establish(ctx, dut):
    ctx.set(dut.ready, 1)
    await hear(ctx, dut, FRESH)
    await hear(ctx, dut, SEEN, 1)
    assert ctx.get(dut.up)


async def lose(ctx, dut):
    ctx.set(dut.ready, 0)
    await ctx.tick()
    ctx.set(dut.ready, 1)
    await ctx.tick()
    assert not ctx.get(dut.up)


def test_handshake_of_fresh_ends(simulate):
    dut = Session(1024)

    async def testbench(ctx):
        ctx.set(dut.ready, 1)
        assert ctx.get(dut.octet.state) == FRESH and not ctx.get(dut.open)
        # What an established end says is not for a fresh one.
        await hear(ctx, dut, ESTABLISHED, 1)
        await hear(ctx, dut, kind=BlockType.ACKNOWLEDGE)
        assert ctx.get(dut.octet.state) == FRESH and not ctx.get(dut.octet.heard)
        await hear(ctx, dut, FRESH)
        assert ctx.get(dut.octet.state) == SEEN and ctx.get(dut.octet.heard) and ctx.get(dut.open)
        await hear(ctx, dut, FRESH)
        assert ctx.get(dut.octet.state) == SEEN and not ctx.get(dut.up)
        await hear(ctx, dut, SEEN)
        assert ctx.get(dut.octet.state) == ESTABLISHED and not ctx.get(dut.up)
        await hear(ctx, dut, SEEN, 1)
        assert ctx.get(dut.up)
        assert ctx.get(dut.cause) == DownCause.NONE

    simulate(dut, testbench)


def test_a_packet_is_as_good_as_a_hello(simulate):
    dut = Session(1024)

    async def testbench(ctx):
        ctx.set(dut.ready, 1)
        await hear(ctx, dut, FRESH)
        await hear(ctx, dut, kind=BlockType.END)
        assert ctx.get(dut.up)

    simulate(dut, testbench)


@pytest.mark.parametrize("state", [SEEN, ESTABLISHED])
def test_channel_that_comes_back(simulate, state):
    dut = Session(1024)

    async def testbench(ctx):
        await establish(ctx, dut)
        await lose(ctx, dut)
        await hear(ctx, dut, state, 1)
        assert ctx.get(dut.up)

    simulate(dut, testbench)


def test_remote_reset(simulate):
    dut = Session(1024)

    async def testbench(ctx):
        await establish(ctx, dut)
        await lose(ctx, dut)
        await hear(ctx, dut, FRESH)
        assert ctx.get(dut.cause) == DownCause.REMOTE_RESET
        assert ctx.get(dut.failed) and not ctx.get(dut.open)

    simulate(dut, testbench)


@pytest.mark.parametrize("cause", [DownCause.NO_CHANNEL, DownCause.NO_SESSION, DownCause.SILENCE])
def test_giving_up(simulate, cause):
    dut = Session(1024)

    async def testbench(ctx):
        if cause == DownCause.NO_SESSION:
            ctx.set(dut.ready, 1)
        elif cause == DownCause.SILENCE:
            await establish(ctx, dut)
            await ctx.tick().repeat(1000)
            await hear(ctx, dut, kind=BlockType.ACKNOWLEDGE)
        await ctx.tick().repeat(1023)
        assert not ctx.get(dut.failed)
        await ctx.tick()
        assert ctx.get(dut.failed)
        assert ctx.get(dut.cause) == cause

    simulate(dut, testbench)


@pytest.mark.parametrize("port, cause", [("exhausted", DownCause.RETRIES),
                                         ("out_of_range", DownCause.PROTOCOL),
                                         ("too_long", DownCause.LENGTH)])
def test_failures_of_the_sender(simulate, port, cause):
    dut = Session(1024)

    async def testbench(ctx):
        await establish(ctx, dut)
        ctx.set(getattr(dut, port), 1)
        await ctx.tick()
        ctx.set(getattr(dut, port), 0)
        assert ctx.get(dut.cause) == cause
        # The first cause stays.
        await ctx.tick().repeat(1100)
        assert ctx.get(dut.cause) == cause and not ctx.get(dut.up)

    simulate(dut, testbench)


@pytest.mark.parametrize("value, error", [(1023, ValueError), (2**32 + 1, ValueError),
                                          (1e6, TypeError)])
def test_errors(value, error):
    with pytest.raises(error) as raised:
        Session(value)
    assert str(raised.value) == \
        f"Give-up time must be an integer between 1024 and {2**32}, not {value!r}"
