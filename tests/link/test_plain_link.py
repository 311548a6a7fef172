import random

import pytest

from dfx_rtl.link import AuroraLink, DownCause, PlainLink, link_members


@pytest.mark.parametrize("latency", [1, 2, 3, 10, 61])
def test_latency_and_throughput(simulate, latency):
    dut = PlainLink(1, latency=latency)
    got = []

    async def send(ctx):
        ctx.set(dut.send.valid, 1)
        for index in range(100):
            assert ctx.get(dut.send.ready)
            ctx.set(dut.send.payload, {"data": index, "last": index % 4 == 3})
            await ctx.tick()
        ctx.set(dut.send.valid, 0)
        await ctx.tick().repeat(latency + 1)
        assert got == [(index, index + latency) for index in range(100)]
        assert ctx.get(dut.packet_count) == 25
        assert ctx.get(dut.up) and ctx.get(dut.down_cause) == DownCause.NONE

    async def receive(ctx):
        ctx.set(dut.receive.ready, 1)
        cycle = 0
        sample = ctx.tick().sample(dut.receive.valid, dut.receive.payload.data)
        async for _, _, valid, data in sample:
            if valid:
                got.append((data, cycle))
            cycle += 1

    simulate(dut, send, background=[receive])


@pytest.mark.parametrize("latency, lanes", [(1, 1), (7, 4)])
def test_stalls(simulate, put, get, latency, lanes):
    dut = PlainLink(lanes, latency=latency)
    generator = random.Random(latency)
    words = [{"data": generator.getrandbits(64 * lanes), "last": generator.randrange(2)}
             for _ in range(300)]

    async def send(ctx):
        for word in words:
            if generator.random() < 0.3:
                await ctx.tick().repeat(5)
            await put(ctx, dut.send, word)

    async def receive(ctx):
        for word in words:
            if generator.random() < 0.3:
                await ctx.tick().repeat(7)
            got = await get(ctx, dut.receive)
            assert {"data": got.data, "last": got.last} == word

    simulate(dut, send, receive)


def test_restart_forgets(simulate, put):
    dut = PlainLink(1, latency=5)

    async def testbench(ctx):
        for _ in range(3):
            await put(ctx, dut.send, {"data": 1, "last": 1})
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.receive.valid)

    simulate(dut, testbench)


def test_has_the_surface_of_the_real_link():
    plain, real = PlainLink(2, latency=1).signature, AuroraLink(2).signature
    assert dict(plain.members) == link_members(2)
    assert {name: real.members[name] for name in plain.members} == link_members(2)


@pytest.mark.parametrize("lanes, latency, error, text", [
    (0, 1, ValueError, "Lanes must be an integer between 1 and 4, not 0"),
    (1, 0, ValueError, "Latency must be an integer between 1 and 4096, not 0"),
    (1, 4097, ValueError, "Latency must be an integer between 1 and 4096, not 4097"),
    (1, None, TypeError, "Latency must be an integer between 1 and 4096, not None"),
])
def test_errors(lanes, latency, error, text):
    with pytest.raises(error) as raised:
        PlainLink(lanes, latency=latency)
    assert str(raised.value) == text
