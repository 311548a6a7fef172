import random

import pytest

from dfx_rtl.link import BlockType, PacketReceiver, WordKind
from tests.link.reference import control


class Driver:
    """Gives words to a receiver, and notes what it does."""

    def __init__(self, dut, lanes=1):
        self.dut, self.lanes = dut, lanes
        self.packets, self.retries, self.repeats, self.controls = [], 0, 0, []

    async def watch(self, ctx):
        dut, packet = self.dut, []
        async for _, _, valid, ready, data, last, retry, repeat, heard, block in ctx.tick().sample(
                dut.receive.valid, dut.receive.ready, dut.receive.payload.data,
                dut.receive.payload.last, dut.request_retry, dut.repeat_reply,
                dut.control_valid, dut.control.as_value()):
            self.retries += retry
            self.repeats += repeat
            if heard:
                self.controls.append(block >> 56)
            if valid and ready:
                packet.append(data)
                if last:
                    self.packets.append(packet)
                    packet = []

    async def word(self, ctx, kind, data=0):
        ctx.set(self.dut.word, {"kind": kind, "data": data})
        ctx.set(self.dut.word_valid, 1)
        await ctx.tick()
        ctx.set(self.dut.word_valid, 0)

    async def block(self, ctx, kind, sequence=0, *, before=(), wrong=0):
        word = control(kind, sequence, 5, 6, before=before, lanes=self.lanes) ^ wrong
        # What other lanes carry beside it does not matter.
        noise = random.getrandbits(64 * self.lanes) >> 64 << 64
        await self.word(ctx, WordKind.CONTROL, word | noise)

    async def packet(self, ctx, sequence, words, *, wrong=0):
        for word in words:
            await self.word(ctx, WordKind.DATA, word)
        await self.block(ctx, BlockType.END, sequence, before=words, wrong=wrong)

    def start(self, ctx):
        ctx.set(self.dut.ready, 1)
        ctx.set(self.dut.open, 1)
        ctx.set(self.dut.receive.ready, 1)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_packets(simulate, lanes):
    dut = PacketReceiver(lanes, buffer_words=64)
    driver = Driver(dut, lanes)
    generator = random.Random(lanes)
    packets = [[generator.getrandbits(64 * lanes)
                for _ in range(generator.choice((1, 1, 2, 7, 40)))] for _ in range(300)]

    async def testbench(ctx):
        driver.start(ctx)
        for number, packet in enumerate(packets):
            if generator.random() < 0.3:
                await driver.word(ctx, WordKind.IDLE)
            await driver.packet(ctx, number % 256, packet)
            if generator.random() < 0.3:
                await driver.block(ctx, BlockType.ACKNOWLEDGE)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.packet_count) == 300
        assert ctx.get(dut.reply.acknowledge) == 300 % 256
        assert ctx.get(dut.crc_error_count) == 0

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == packets
    assert driver.retries == driver.repeats == 0


def test_latency(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        await driver.packet(ctx, 0, [1, 2, 3])
        assert not ctx.get(dut.receive.valid)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.receive.valid)
        assert ctx.get(dut.receive.payload.data) == 1

    simulate(dut, testbench)


def test_credit_counts_down_and_up(simulate):
    dut = PacketReceiver(1, buffer_words=8)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        ctx.set(dut.receive.ready, 0)
        assert ctx.get(dut.reply.credit) == 8
        await driver.packet(ctx, 0, [1, 2, 3])
        await ctx.tick().repeat(3)
        assert ctx.get(dut.reply.credit) == 5
        await driver.packet(ctx, 1, [4, 5, 6, 7, 8])
        await ctx.tick().repeat(3)
        assert ctx.get(dut.reply.credit) == 0
        # More than there is room for does no harm.
        await driver.packet(ctx, 2, [9] * 20)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.reply.acknowledge) == 2
        ctx.set(dut.receive.ready, 1)
        await ctx.tick().repeat(12)
        assert ctx.get(dut.reply.credit) == 8

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [[1, 2, 3], [4, 5, 6, 7, 8]]
    assert driver.retries == 1


def test_every_single_bit_error_is_found(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)
    words = [0x0123456789ABCDEF, 0]
    end = control(BlockType.END, 0, 5, 6, before=words)

    async def testbench(ctx):
        driver.start(ctx)
        for bit in range(192):
            for index, word in enumerate([*words, end]):
                kind = WordKind.CONTROL if index == 2 else WordKind.DATA
                if index == bit // 64:
                    word ^= 1 << bit % 64
                # A wrong type is no END, and usually none at all.
                if kind == WordKind.CONTROL and bit >= 184:
                    kind = WordKind.BAD_BLOCK
                await driver.word(ctx, kind, word)
            await driver.block(ctx, BlockType.REPLAY)
        assert ctx.get(dut.crc_error_count) == 184
        await driver.packet(ctx, 0, words)
        await ctx.tick().repeat(10)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [words]
    assert driver.retries == 192


@pytest.mark.parametrize("kind", [WordKind.BAD_HEADER, WordKind.BAD_BLOCK])
def test_bad_words(simulate, kind):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        # Between packets: none of them is touched.
        await driver.word(ctx, kind)
        await driver.packet(ctx, 0, [1])
        await driver.word(ctx, kind)
        await driver.packet(ctx, 1, [2])
        await ctx.tick().repeat(4)
        assert driver.retries == 0
        # Within one: it is thrown away although the CRC would be right.
        await driver.word(ctx, WordKind.DATA, 3)
        await driver.word(ctx, kind)
        await driver.block(ctx, BlockType.END, 2, before=[3])
        await ctx.tick().repeat(4)
        assert driver.retries == 1 and ctx.get(dut.packet_count) == 2
        await driver.block(ctx, BlockType.REPLAY)
        await driver.packet(ctx, 2, [3])
        await ctx.tick().repeat(8)
        assert ctx.get(dut.header_error_count) == (3 if kind == WordKind.BAD_HEADER else 0)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [[1], [2], [3]]


def test_order(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        await driver.packet(ctx, 0, [10])
        await driver.packet(ctx, 2, [12])
        await driver.packet(ctx, 3, [13])
        await ctx.tick().repeat(4)
        assert driver.retries == 1
        # The replay brings one that was there already.
        await driver.block(ctx, BlockType.REPLAY)
        await driver.packet(ctx, 0, [10])
        await ctx.tick().repeat(4)
        assert driver.repeats == 1
        await driver.packet(ctx, 1, [11])
        await driver.packet(ctx, 2, [12])
        # A REPLAY in the middle of a packet.
        await driver.word(ctx, WordKind.DATA, 99)
        await driver.word(ctx, WordKind.DATA, 98)
        await driver.block(ctx, BlockType.REPLAY)
        await driver.packet(ctx, 3, [13, 14])
        # An END of nothing.
        await driver.packet(ctx, 4, [])
        await ctx.tick().repeat(8)
        assert driver.retries == 2

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [[10], [11], [12], [13, 14]]


def test_control_blocks_within_a_packet(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        for word in (1, 2, 3):
            await driver.word(ctx, WordKind.DATA, word)
            await driver.block(ctx, BlockType.ACKNOWLEDGE)
            await driver.block(ctx, BlockType.RETRY)
            await driver.block(ctx, BlockType.HELLO)
        await driver.block(ctx, BlockType.END, 0, before=[1, 2, 3])
        await ctx.tick().repeat(8)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [[1, 2, 3]]
    assert driver.controls == [0x99, 0x55, 0xD2] * 3 + [0x1E]


def test_a_lost_channel_loses_half_a_packet_only(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        ctx.set(dut.receive.ready, 0)
        await driver.packet(ctx, 0, [1, 2])
        await driver.word(ctx, WordKind.DATA, 3)
        ctx.set(dut.ready, 0)
        await ctx.tick()
        await driver.word(ctx, WordKind.DATA, 4)
        ctx.set(dut.ready, 1)
        await driver.packet(ctx, 1, [5])
        ctx.set(dut.receive.ready, 1)
        await ctx.tick().repeat(8)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [[1, 2], [5]]


def test_closed(simulate):
    dut = PacketReceiver(1, buffer_words=64)
    driver = Driver(dut)

    async def testbench(ctx):
        driver.start(ctx)
        ctx.set(dut.open, 0)
        await driver.packet(ctx, 0, [1, 2])
        await ctx.tick().repeat(8)
        assert ctx.get(dut.reply.acknowledge) == 0

    simulate(dut, testbench, background=[driver.watch])
    assert driver.packets == [] and driver.retries == 0


@pytest.mark.parametrize("lanes, words, error, text", [
    (0, 8, ValueError, "Lanes must be an integer between 1 and 4, not 0"),
    (1, 4, ValueError, "Buffer words must be a power of two between 8 and 32768, not 4"),
    (1, 12, ValueError, "Buffer words must be a power of two between 8 and 32768, not 12"),
    (1, 65536, ValueError, "Buffer words must be a power of two between 8 and 32768, not 65536"),
    (1, "8", TypeError, "Buffer words must be a power of two between 8 and 32768, not '8'"),
])
def test_errors(lanes, words, error, text):
    with pytest.raises(error) as raised:
        PacketReceiver(lanes, buffer_words=words)
    assert str(raised.value) == text
