import random

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.link import AuroraChannel, ChannelWord, ReceivedWord, WordKind
from sim.link import ErrorLayout, LineModel


class Pair(wiring.Component):
    """Two channels on a line that wakes up in some state."""

    def __init__(self, lanes, skews, alignments, latency=5):
        self.channels = {end: AuroraChannel(lanes, slip_cycles=8, reset_cycles=32)
                         for end in "ab"}
        self.lines = {end: LineModel(lanes, latency=latency, skews=skews, alignments=alignments)
                      for end in "ab"}
        super().__init__({
            "words": In(stream.Signature(ChannelWord(lanes))),
            "word_valid": Out(1),
            "word": Out(ReceivedWord(lanes)),
            "ready": Out(2),
            "hold": In(2),
            "error": In(ErrorLayout),
        })

    def elaborate(self, platform):
        m = Module()
        for number, (end, other) in enumerate(("ab", "ba")):
            channel, line = self.channels[end], self.lines[end]
            m.submodules[f"channel_{end}"] = DomainRenamer(
                {"sync": end, "receive": f"{end}_receive"})(channel)
            m.submodules[f"line_{end}"] = DomainRenamer(f"{end}_line")(line)
            port, remote = channel.transceiver, self.channels[other].transceiver
            m.d.comb += [port.transmit_ready.eq(line.transmit_ready),
                         remote.receive_valid.eq(line.valid), line.slip.eq(remote.slip),
                         channel.hold.eq(self.hold[number]), self.ready[number].eq(channel.ready),
                         line.error.eq(self.error)]
            for lane in range(len(line.valid)):
                m.d.comb += [line.header[lane].eq(port.transmit_header[lane]),
                             line.data[lane].eq(port.transmit_data[lane]),
                             remote.receive_header[lane].eq(line.received_header[lane]),
                             remote.receive_data[lane].eq(line.received_data[lane])]
        connect(m, self.channels["a"].words, flipped(self.words))
        m.d.comb += [self.word_valid.eq(self.channels["b"].word_valid),
                     self.word.eq(self.channels["b"].word)]
        return m


@pytest.mark.parametrize("lanes, skews, latency", [
    (1, (0,), 4), (2, (0, 0), 6), (2, (1, 6), 12), (4, (2, 0, 7, 3), 13)])
def test_latency(simulate_pair, lanes, skews, latency):
    line = 5
    dut = Pair(lanes, skews, (64,) * lanes, line)

    async def testbench(ctx):
        await ctx.tick("a").until(dut.ready == 3)
        word = random.Random(1).getrandbits(64 * lanes)
        ctx.set(dut.words.payload.data, word)
        ctx.set(dut.words.valid, 1)
        assert ctx.get(dut.words.ready)
        await ctx.tick("a")
        ctx.set(dut.words.valid, 0)
        cycles = 1
        while not (ctx.get(dut.word_valid) and ctx.get(dut.word.kind) == WordKind.DATA):
            await ctx.tick("a")
            cycles += 1
        assert ctx.get(dut.word.data) == word
        # The sender's register, the line, and what stands in the docstring: 4 with one lane, else
        # 6 and the skew.
        assert cycles == 1 + line + latency

    simulate_pair(dut, testbench)


@pytest.mark.parametrize("alignment", [0, 1, 31, 65])
def test_any_alignment(simulate_pair, alignment):
    dut = Pair(1, (0,), (alignment,))

    async def testbench(ctx):
        await ctx.tick("a").until(dut.ready == 3)

    simulate_pair(dut, testbench, deadline=3000)


@pytest.mark.slow
@pytest.mark.parametrize("alignment", range(66))
def test_every_alignment(simulate_pair, alignment):
    dut = Pair(2, (0, 3), (alignment, 65 - alignment))

    async def testbench(ctx):
        await ctx.tick("a").until(dut.ready == 3)

    simulate_pair(dut, testbench, deadline=3000)


def test_hold_is_seen_by_the_remote_end(simulate_pair):
    dut = Pair(1, (0,), (0,))

    async def testbench(ctx):
        await ctx.tick("a").until(dut.ready == 3)
        ctx.set(dut.hold, 1)
        await ctx.tick("a")
        assert ctx.get(dut.ready) == 2
        await ctx.tick("a").repeat(30)
        assert ctx.get(dut.ready) == 0
        await ctx.tick("a").repeat(1000)
        assert ctx.get(dut.ready) == 0
        ctx.set(dut.hold, 0)
        await ctx.tick("a").until(dut.ready == 3)

    simulate_pair(dut, testbench)


@pytest.mark.parametrize("parameters, text", [
    ({"lanes": 0}, "Lanes must be an integer between 1 and 4, not 0"),
    ({"lanes": 1, "slip_cycles": 0}, "Slip cycles must be an integer between 1 and 64, not 0"),
    ({"lanes": 1, "skew": 0}, "Skew must be an integer between 1 and 7, not 0"),
    ({"lanes": 1, "reset_cycles": 0},
     "Reset time must be an integer between 32 and 65536, not 0"),
])
def test_errors(parameters, text):
    with pytest.raises(ValueError) as raised:
        AuroraChannel(**parameters)
    assert str(raised.value) == text
