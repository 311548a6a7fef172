# amaranth: UnusedElaboratable=no
"""Flits between two cards, over the link layer and the model of the transceivers."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring

from dfx_rtl.router.layouts import FlitLayout
from platforms.ring_link import RingLink

CLOCKS = {"sync": (1.8e-8, 0.9e-8),
          **{f"link{index}_{side}": (0.92e-8, 0.5e-8)
             for index in range(2) for side in ("transmit", "receive")}}


class _Cable(wiring.Component):
    """Two links, each other's remote end: blocks come as they are sent, one cycle later."""

    def __init__(self, tile):
        self.ends = [RingLink(tile, index, reset_cycles=64) for index in range(2)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for index, end in enumerate(self.ends):
            m.submodules[f"end{index}"] = end
            here, there = end.transceiver, self.ends[1 - index].transceiver
            m.d.comb += [here.transmit_ready.eq(1), here.receive_valid.eq(-1)]
            for lane in range(4):
                m.d[f"link{index}_receive"] += [
                    here.receive_data[lane].eq(there.transmit_data[lane]),
                    here.receive_header[lane].eq(there.transmit_header[lane]),
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
