import random

import pytest

from dfx_rtl.link import BlockType, PacketTransmitter
from tests.link.reference import control

PARAMETERS = {"packet_words": 8, "buffer_words": 16, "remote_words": 16, "retry_cycles": 200,
              "retries": 3}


class Driver:
    """The remote end of a transmitter, by hand."""

    def __init__(self, dut, lanes=1, *, busy=0.0):
        self.dut, self.lanes = dut, lanes
        self.words, self.cycle, self.causes = [], 0, set()
        self.generator = random.Random(1)
        self.busy = busy

    async def watch(self, ctx):
        """Notes what is sent as pairs of type (0: data) and word, and checks each CRC."""
        dut, packet = self.dut, []
        ctx.set(dut.words.ready, 1)
        async for _, _, valid, ready, data, is_control, exhausted, out_of_range, too_long, up in \
                ctx.tick().sample(dut.words.valid, dut.words.ready, dut.words.payload.data,
                                  dut.words.payload.control, dut.exhausted, dut.out_of_range,
                                  dut.too_long, dut.ready):
            self.cycle += 1
            self.causes |= {name for name, high in (
                ("exhausted", exhausted), ("too_long", too_long),
                ("out_of_range", out_of_range)) if high}
            if not up:
                packet = []
            if valid and ready:
                kind = data >> 56 & 0xFF if is_control else 0
                if kind:
                    fields = data >> 48 & 0xFF, data >> 40 & 0xFF, data >> 32 & 0xFF
                    before = packet if kind == BlockType.END else ()
                    assert data == control(kind, *fields, before=before, lanes=self.lanes)
                    if kind in (BlockType.END, BlockType.REPLAY):
                        packet = []
                    self.words.append((kind, fields[0]))
                else:
                    packet.append(data)
                    self.words.append((0, data))
            ctx.set(dut.words.ready, self.generator.random() >= self.busy)

    async def hear(self, ctx, acknowledge, credit=16, *, kind=BlockType.ACKNOWLEDGE):
        ctx.set(self.dut.control, {"type": kind, "acknowledge": acknowledge, "credit": credit})
        ctx.set(self.dut.control_valid, 1)
        await ctx.tick()
        ctx.set(self.dut.control_valid, 0)

    async def start(self, ctx, credit=16):
        ctx.set(self.dut.ready, 1)
        await self.hear(ctx, 0, credit, kind=BlockType.HELLO)
        ctx.set(self.dut.up, 1)
        await ctx.tick().repeat(12)
        self.words.clear()

    def packets(self):
        """What was sent without acknowledgements."""
        return [word for word in self.words if word[0] != BlockType.ACKNOWLEDGE]


async def send(ctx, put, dut, *words):
    for index, word in enumerate(words):
        await put(ctx, dut.send, {"data": word, "last": index == len(words) - 1})


def end(number):
    return BlockType.END, number


REPLAY = BlockType.REPLAY, 0


@pytest.mark.parametrize("lanes, busy", [(1, 0.0), (1, 0.5), (3, 0.2)])
def test_packets(simulate, put, lanes, busy):
    dut = PacketTransmitter(lanes, **PARAMETERS)
    driver = Driver(dut, lanes, busy=busy)
    generator = random.Random(lanes)
    expected = []

    async def testbench(ctx):
        await driver.start(ctx)
        for number in range(270):
            words = [generator.getrandbits(64 * lanes) for _ in range(generator.randrange(1, 9))]
            await send(ctx, put, dut, *words)
            expected.extend([*((0, word) for word in words), end(number % 256)])
            if generator.random() < 0.2:
                await ctx.tick().repeat(5)
            while end(number % 256) not in driver.words[-3:]:
                await ctx.tick()
            await driver.hear(ctx, (number + 1) % 256)

    simulate(dut, testbench, background=[driver.watch], deadline=20_000)
    assert driver.packets() == expected


def test_latency_and_throughput(simulate):
    dut = PacketTransmitter(1, **{**PARAMETERS, "buffer_words": 64, "remote_words": 64})
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx, 64)
        for index in range(24):
            ctx.set(dut.send.valid, 1)
            ctx.set(dut.send.payload, {"data": index, "last": index % 8 == 7})
            assert ctx.get(dut.send.ready)
            await ctx.tick()
            assert ctx.get(dut.words.valid) == (index >= 2)
        ctx.set(dut.send.valid, 0)
        await ctx.tick().repeat(8)
        assert driver.words == [*((0, index) for index in range(8)), end(0),
                                *((0, index) for index in range(8, 16)), end(1),
                                *((0, index) for index in range(16, 24)), end(2)]

    simulate(dut, testbench, background=[driver.watch])


def test_retry_on_request_and_on_time(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        for number in range(3):
            await send(ctx, put, dut, number, number + 10)
        await ctx.tick().repeat(10)
        driver.words.clear()
        await driver.hear(ctx, 1, kind=BlockType.RETRY)
        await ctx.tick().repeat(15)
        replayed = [REPLAY, (0, 1), (0, 11), end(1), (0, 2), (0, 12), end(2)]
        assert driver.packets() == replayed
        driver.words.clear()
        await ctx.tick().repeat(170)
        assert driver.packets() == []
        await ctx.tick().repeat(40)
        assert driver.packets() == replayed
        assert ctx.get(dut.retry_count) == 2
        # Nothing to send again: the request is answered all the same.
        await driver.hear(ctx, 3)
        driver.words.clear()
        await driver.hear(ctx, 3, kind=BlockType.RETRY)
        await ctx.tick().repeat(10)
        assert driver.packets() == [REPLAY]

    simulate(dut, testbench, background=[driver.watch])
    assert driver.causes == set()


def test_acknowledged_while_it_is_sent_again(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        for number in range(3):
            await send(ctx, put, dut, *range(number * 10, number * 10 + 4))
        await ctx.tick().repeat(10)
        driver.words.clear()
        await driver.hear(ctx, 0, kind=BlockType.RETRY)
        await ctx.tick().repeat(2)
        await driver.hear(ctx, 2)
        await ctx.tick().repeat(20)
        # It breaks off, and goes on with what is not acknowledged.
        last = driver.packets()[-6:]
        assert last == [REPLAY, (0, 20), (0, 21), (0, 22), (0, 23), end(2)]
        assert len(driver.packets()) < 13
        await driver.hear(ctx, 3)
        await send(ctx, put, dut, 77)
        await ctx.tick().repeat(10)
        assert driver.packets()[-2:] == [(0, 77), end(3)]

    simulate(dut, testbench, background=[driver.watch])


def test_gives_up(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, 1)
        await ctx.tick().repeat(3 * 206 + 190)
        assert not driver.causes
        await ctx.tick().repeat(30)
        assert driver.causes == {"exhausted"}
        assert ctx.get(dut.retry_count) == 4

    simulate(dut, testbench, background=[driver.watch])


def test_progress_makes_it_patient_again(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, 1)
        await send(ctx, put, dut, 2)
        await ctx.tick().repeat(650)
        await driver.hear(ctx, 1)
        await ctx.tick().repeat(650)
        assert not driver.causes and ctx.get(dut.retry_count) == 6

    simulate(dut, testbench, background=[driver.watch])


def test_sends_no_more_than_there_is_room_for(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx, 5)
        await send(ctx, put, dut, *range(8))
        await ctx.tick().repeat(20)
        assert driver.packets() == [(0, index) for index in range(5)]
        await driver.hear(ctx, 0, 7)
        await ctx.tick().repeat(20)
        assert driver.packets() == [(0, index) for index in range(7)]
        # The older news are not true any more, and cannot come; if they did, nothing is sent.
        await driver.hear(ctx, 0, 6)
        await ctx.tick().repeat(20)
        assert driver.packets() == [(0, index) for index in range(7)]
        await driver.hear(ctx, 0, 8)
        await ctx.tick().repeat(20)
        assert driver.packets() == [*((0, index) for index in range(8)), end(0)]

    simulate(dut, testbench, background=[driver.watch])


def test_takes_no_more_than_it_can_keep(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, *range(8))
        await send(ctx, put, dut, *range(8))
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.send.ready)
        await driver.hear(ctx, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.send.ready)

    simulate(dut, testbench, background=[driver.watch])


def test_a_full_buffer_with_half_a_packet_is_sent_again(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, *range(8))
        await send(ctx, put, dut, *range(6))
        for index in range(2):
            await put(ctx, dut.send, {"data": index, "last": 0})
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.send.ready)
        driver.words.clear()
        await driver.hear(ctx, 0, kind=BlockType.RETRY)
        await ctx.tick().repeat(5)
        assert driver.packets()[0] == REPLAY

    simulate(dut, testbench, background=[driver.watch])


def test_number_of_packets_in_flight(simulate, put):
    dut = PacketTransmitter(1, **{**PARAMETERS, "buffer_words": 256, "remote_words": 256,
                                  "retry_cycles": 5000})
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx, 128)
        for number in range(127):
            await send(ctx, put, dut, number)
        await ctx.tick().repeat(300)
        assert not ctx.get(dut.send.ready)
        assert driver.packets()[-1] == end(126)
        await driver.hear(ctx, 127, 128)
        await send(ctx, put, dut, 5)
        await ctx.tick().repeat(10)
        assert driver.packets()[-1] == end(127)
        assert not driver.causes

    simulate(dut, testbench, background=[driver.watch])


def test_replies(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await ctx.tick().repeat(250)
        driver.words.clear()
        ctx.set(dut.reply, {"acknowledge": 3, "credit": 4})
        await ctx.tick().repeat(6)
        assert driver.words == [(BlockType.ACKNOWLEDGE, 0)]
        # The same news again only as a heartbeat.
        await ctx.tick().repeat(250)
        assert len(driver.words) == 1
        await ctx.tick().repeat(10)
        assert len(driver.words) == 2
        ctx.set(dut.repeat_reply, 1)
        await ctx.tick()
        ctx.set(dut.repeat_reply, 0)
        await ctx.tick().repeat(5)
        assert len(driver.words) == 3
        ctx.set(dut.request_retry, 1)
        await ctx.tick()
        ctx.set(dut.request_retry, 0)
        await ctx.tick().repeat(5)
        assert driver.words[3:] == [(BlockType.RETRY, 0)]

    simulate(dut, testbench, background=[driver.watch])


def test_a_lost_channel_starts_from_what_is_acknowledged(simulate, put):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, 1)
        await send(ctx, put, dut, 2)
        await send(ctx, put, dut, 3, 4, 5)
        await ctx.tick().repeat(3)
        ctx.set(dut.ready, 0)
        ctx.set(dut.up, 0)
        await ctx.tick().repeat(20)
        driver.words.clear()
        ctx.set(dut.ready, 1)
        await ctx.tick().repeat(20)
        assert {kind for kind, _ in driver.words} == {BlockType.HELLO}
        await driver.hear(ctx, 1, kind=BlockType.HELLO)
        ctx.set(dut.up, 1)
        await ctx.tick().repeat(20)
        sent = [word for word in driver.packets() if word[0] != BlockType.HELLO]
        assert sent == [(0, 2), end(1), (0, 3), (0, 4), (0, 5), end(2)]

    simulate(dut, testbench, background=[driver.watch])


@pytest.mark.parametrize("acknowledge, wrong", [(0, False), (2, False), (3, True), (255, True)])
def test_impossible_acknowledgement(simulate, put, acknowledge, wrong):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, 1)
        await send(ctx, put, dut, 2)
        await ctx.tick().repeat(10)
        await driver.hear(ctx, acknowledge)
        await ctx.tick().repeat(3)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.causes == ({"out_of_range"} if wrong else set())


@pytest.mark.parametrize("words, wrong", [(8, False), (9, True)])
def test_packet_that_is_too_long(simulate, put, words, wrong):
    dut = PacketTransmitter(1, **PARAMETERS)
    driver = Driver(dut)

    async def testbench(ctx):
        await driver.start(ctx)
        await send(ctx, put, dut, *range(words))
        await ctx.tick().repeat(3)

    simulate(dut, testbench, background=[driver.watch])
    assert driver.causes == ({"too_long"} if wrong else set())


@pytest.mark.parametrize("changes, error, text", [
    ({"lanes": 5}, ValueError, "Lanes must be an integer between 1 and 4, not 5"),
    ({"buffer_words": 24}, ValueError,
     "Buffer words must be a power of two between 8 and 32768, not 24"),
    ({"remote_words": 4}, ValueError,
     "Remote words must be a power of two between 8 and 32768, not 4"),
    ({"packet_words": 17}, ValueError, "Packet words must be an integer between 1 and 16, not 17"),
    ({"packet_words": 0}, ValueError, "Packet words must be an integer between 1 and 16, not 0"),
    ({"retry_cycles": 135}, ValueError,
     "Retry time must be an integer between 136 and 16777216, not 135"),
    ({"retries": 0}, ValueError, "Retries must be an integer between 1 and 65536, not 0"),
    ({"retries": 1.5}, TypeError, "Retries must be an integer between 1 and 65536, not 1.5"),
])
def test_errors(changes, error, text):
    with pytest.raises(error) as raised:
        PacketTransmitter(**{"lanes": 1, **PARAMETERS, **changes})
    assert str(raised.value) == text
