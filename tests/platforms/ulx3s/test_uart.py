import random

import pytest
from amaranth import *
from amaranth.lib import wiring

from platforms.ulx3s.uart import UartReceiver, UartTransmitter


class Loop(wiring.Component):
    """What is sent comes back; the line can be held low."""

    def __init__(self, divisor):
        self.transmitter, self.receiver = UartTransmitter(divisor), UartReceiver(divisor)
        super().__init__({"low": wiring.In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter = self.transmitter
        m.submodules.receiver = self.receiver
        m.d.comb += self.receiver.line.eq(self.transmitter.line & ~self.low)
        return m


@pytest.mark.parametrize("divisor", [4, 5, 217])
def test_bytes_cross_the_line(simulate, put, get, divisor):
    dut = Loop(divisor)
    source = random.Random(divisor)
    sent = [0x00, 0xFF, 0x55, *(source.randrange(256) for _ in range(5))]

    async def send(ctx):
        for byte in sent:
            await ctx.tick().repeat(source.randrange(1, 3 * divisor))
            await put(ctx, dut.transmitter.bytes, byte)

    async def take(ctx):
        received = [await get(ctx, dut.receiver.bytes) for _ in sent]
        assert received == sent

    simulate(dut, send, take, deadline=50_000)


def test_ten_bits_a_byte(simulate, put):
    dut = UartTransmitter(6)

    async def send(ctx):
        await put(ctx, dut.bytes, 0b0110_0101)
        frame = []
        for _ in range(10):
            for _ in range(6):
                frame.append(ctx.get(dut.line))
                assert not ctx.get(dut.bytes.ready)
                await ctx.tick()
        assert frame[::6] == [0, 1, 0, 1, 0, 0, 1, 1, 0, 1]
        assert all(len(set(frame[bit:bit + 6])) == 1 for bit in range(0, 60, 6))
        assert ctx.get(dut.bytes.ready)

    simulate(dut, send)


def test_what_is_no_byte_is_dropped(simulate, put):
    """A pulse shorter than half a bit; a frame without a stop bit; a second byte before the first
    one is taken."""
    dut = Loop(8)

    async def bench(ctx):
        ctx.set(dut.low, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.low, 0)
        await ctx.tick().repeat(100)
        assert not ctx.get(dut.receiver.bytes.valid)
        ctx.set(dut.low, 1)
        await ctx.tick().repeat(8 * 10)
        assert not ctx.get(dut.receiver.bytes.valid)
        ctx.set(dut.low, 0)
        await ctx.tick().repeat(100)
        for byte in 0x41, 0x42:
            await put(ctx, dut.transmitter.bytes, byte)
            await ctx.tick().repeat(100)
        assert ctx.get(dut.receiver.bytes.valid)
        assert ctx.get(dut.receiver.bytes.payload) == 0x41

    simulate(dut, bench)


@pytest.mark.parametrize("part", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("divisor", [3, 8.0])
def test_bad_divisors(part, divisor):
    with pytest.raises(ValueError, match=f"^Divisor must be an integer of at least 4, "
                                         f"not {divisor!r}$"):
        part(divisor)
