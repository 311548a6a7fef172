# amaranth: UnusedElaboratable=no
"""Flits between two cards, over the link layer and the model of the transceivers."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from dfx_rtl.link import DownCause
from dfx_rtl.router.layouts import FlitLayout
from platforms.ring_link import RingLink

CLOCKS = {"sync": (1.8e-8, 0.9e-8),
          **{f"link{index}_{side}": (0.92e-8, 0.5e-8)
             for index in range(2) for side in ("transmit", "receive")}}


class _Cable(wiring.Component):
    """Two links, each other's remote end: blocks come as they are sent, one cycle later, while the
    cable is plugged in; and nonsense while it is not."""

    plugged: In(1, init=1)

    def __init__(self, tile, **options):
        self.ends = [RingLink(tile, index, reset_cycles=64, **options) for index in range(2)]
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        for index, end in enumerate(self.ends):
            m.submodules[f"end{index}"] = end
            here, there = end.transceiver, self.ends[1 - index].transceiver
            m.d.comb += [here.transmit_ready.eq(1), here.receive_valid.eq(-1)]
            for lane in range(4):
                m.d[f"link{index}_receive"] += [
                    here.receive_data[lane].eq(there.transmit_data[lane]),
                    here.receive_header[lane].eq(Mux(self.plugged, there.transmit_header[lane], 0)),
                ]
        return m


@pytest.mark.parametrize("tile", [8, 16, 64])
def test_flits_arrive(simulate, put, get, tile):
    """Both ways at once, with stalls: all of them, in order."""
    cable = _Cable(tile)
    rng = random.Random(tile)
    width = Shape.cast(FlitLayout(tile)).width
    flits = [[rng.getrandbits(width) for _ in range(12)] for _ in range(2)]

    def sender(index):
        async def bench(ctx):
            for flit in flits[index]:
                for _ in range(rng.choice((0, 0, 3))):
                    await ctx.tick()
                ctx.set(cable.ends[index].send.payload.as_value(), flit)
                ctx.set(cable.ends[index].send.valid, 1)
                await ctx.tick().until(cable.ends[index].send.ready)
                ctx.set(cable.ends[index].send.valid, 0)
        return bench

    def receiver(index):
        async def bench(ctx):
            receive = cable.ends[index].receive
            for flit in flits[1 - index]:
                for _ in range(rng.choice((0, 0, 5))):
                    await ctx.tick()
                ctx.set(receive.ready, 1)
                found, = await ctx.tick().sample(receive.payload.as_value()).until(receive.valid)
                ctx.set(receive.ready, 0)
                assert found == flit
            assert ctx.get(cable.ends[index].up)
        return bench

    simulate(cable, *(make(index) for make in (sender, receiver) for index in range(2)),
             clocks=CLOCKS)


def test_a_remote_end_is_waited_for_but_not_a_second_time(simulate, put, get):
    """Cards are loaded one after the other; what was handed over before is not lost."""
    cable = _Cable(8, give_up_cycles=1024)
    width = Shape.cast(FlitLayout(8)).width
    flits = [random.Random(index).getrandbits(width) for index in range(3)]
    ends = cable.ends

    async def sender(ctx):
        for flit in flits:
            await put(ctx, ends[0].send, FlitLayout(8).from_bits(flit))

    async def bench(ctx):
        ctx.set(cable.plugged, 0)
        await ctx.tick().repeat(400)
        assert all(ctx.get(end.error) == 0 for end in ends)
        # Longer than it waits for one attempt, and not a multiple of it.
        for _ in range(2000):
            await ctx.tick()
            assert all(ctx.get(end.error) in (0, DownCause.NO_CHANNEL) for end in ends)
        assert all(ctx.get(end.error) == DownCause.NO_CHANNEL for end in ends)
        assert not ctx.get(ends[1].receive.valid)
        ctx.set(cable.plugged, 1)
        for flit in flits:
            assert (await get(ctx, ends[1].receive)).as_bits() == flit
        await ctx.tick().repeat(20)
        assert all(ctx.get(end.error) == 0 and ctx.get(end.up) for end in ends)
        ctx.set(cable.plugged, 0)
        await ctx.tick().repeat(1500)
        causes = [ctx.get(end.error) for end in ends]
        assert all(causes)
        ctx.set(cable.plugged, 1)
        for _ in range(1000):
            await ctx.tick()
            assert [ctx.get(end.error) for end in ends] == causes
        assert not any(ctx.get(end.up) for end in ends)

    simulate(cable, sender, bench, clocks=CLOCKS)
