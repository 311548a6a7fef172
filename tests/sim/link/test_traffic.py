import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.link import PacketSink, PacketSource, source_words


class Loop(wiring.Component):
    """A source into a sink, with a way to spoil words."""

    def __init__(self, lanes, **parameters):
        self.source = PacketSource(lanes, **parameters)
        self.sink = PacketSink(lanes, **parameters)
        super().__init__({"spoil_data": In(1), "spoil_last": In(1), "moves": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.source, m.submodules.sink = source, sink = self.source, self.sink
        m.d.comb += [
            sink.packets.valid.eq(source.packets.valid),
            source.packets.ready.eq(sink.packets.ready),
            sink.packets.payload.data.eq(source.packets.payload.data ^ self.spoil_data),
            sink.packets.payload.last.eq(source.packets.payload.last ^ self.spoil_last),
            self.moves.eq(source.packets.valid & source.packets.ready),
        ]
        return m


@pytest.mark.parametrize("lanes, longest, fixed, stall", [
    (1, 8, False, 0), (4, 32, False, 60), (2, 4, True, 100), (1, 1, False, 0)])
def test_packets(simulate, lanes, longest, fixed, stall):
    dut = Loop(lanes, seed=3, longest=longest, fixed=fixed)
    words = []

    async def watch(ctx):
        payload = dut.source.packets.payload
        async for _, _, moves, data, last in ctx.tick().sample(dut.moves, payload.data,
                                                               payload.last):
            if moves:
                words.append((data, last))

    async def testbench(ctx):
        ctx.set(dut.source.stall, stall)
        ctx.set(dut.sink.stall, stall // 2)
        await ctx.tick().repeat(500)
        ctx.set(dut.source.stop, 1)
        await ctx.tick().repeat(60)
        assert not ctx.get(dut.sink.wrong)
        packets = sum(last for _, last in words)
        # It stops between packets.
        assert words[-1][1]
        assert ctx.get(dut.source.packet_count) == ctx.get(dut.sink.packet_count) == packets
        assert ctx.get(dut.source.word_count) == ctx.get(dut.sink.word_count) == len(words)

    simulate(dut, testbench, background=[watch])
    if fixed:
        assert [last for _, last in words] == [0, 0, 0, 1] * (len(words) // 4)
    else:
        assert words == source_words(lanes, 3, longest, len(words))
    assert len(words) > (450 if not stall else 150)


@pytest.mark.parametrize("port", ["spoil_data", "spoil_last"])
def test_what_is_wrong_is_found(simulate, port):
    dut = Loop(1, seed=3, longest=8)

    async def testbench(ctx):
        await ctx.tick().repeat(10)
        assert not ctx.get(dut.sink.wrong)
        ctx.set(getattr(dut, port), 1)
        await ctx.tick()
        ctx.set(getattr(dut, port), 0)
        await ctx.tick()
        assert ctx.get(dut.sink.wrong)

    simulate(dut, testbench)


@pytest.mark.parametrize("parameters, text", [
    ({"lanes": 0, "seed": 1, "longest": 8}, "Lanes must be an integer between 1 and 4, not 0"),
    ({"lanes": 1, "seed": 0, "longest": 8},
     "Seed must be an integer between 1 and 4294967295, not 0"),
    ({"lanes": 1, "seed": 1, "longest": 5},
     "Longest packet must be a power of two between 1 and 32768, not 5"),
])
@pytest.mark.parametrize("component", [PacketSource, PacketSink])
def test_errors(component, parameters, text):
    with pytest.raises(ValueError) as raised:
        component(**parameters)
    assert str(raised.value) == text
