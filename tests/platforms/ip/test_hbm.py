# amaranth: UnusedElaboratable=no
"""The HBM: the IP's ports, and the model that stands for it."""

import random

import pytest

from platforms.ip.hbm import HbmIp
from sim.memory import Storage, Violation, serve


def test_ports_and_properties():
    module = HbmIp(34).module()
    assert module.properties["USER_HBM_DENSITY"] == "16GB"
    ports = {port.name: port for port in module.ports}
    assert len(ports) == len(module.ports) == 2 * 6 + 32 * 33
    assert ports["AXI_31_ARADDR"].width == 34
    assert (ports["AXI_00_WDATA"].width, ports["AXI_00_WSTRB"].width) == (256, 32)
    assert ports["AXI_07_RVALID"].direction == "output"
    assert HbmIp(33).module().properties["USER_HBM_DENSITY"] == "8GB"


def test_all_ports_reach_all_bytes(simulate, manager):
    """The switch is on: what is written at one port is read at another."""
    hbm = HbmIp(12, (0, 3), data_width=64)
    storage = Storage(1 << 12, 8)
    rng = random.Random(1)
    ends = [manager(hbm.port(index), "hbm") for index in (0, 3)]
    words = [rng.getrandbits(64) for _ in range(16)]

    async def main(ctx):
        assert ctx.get(hbm.ready) and not ctx.get(hbm.too_hot)
        for model in hbm.models.values():
            ctx.set(model.timing.outstanding, 4)
        await ctx.tick("hbm")
        await ends[0].addresses(ctx, "aw", [(5, 0x800, 16)])
        await ends[0].data(ctx, [[(word, 0xFF) for word in words]])
        assert [identifier for identifier, _ in await ends[0].answers(ctx, 1)] == [5]
        await ends[1].addresses(ctx, "ar", [(6, 0x800, 16)])
        (identifier, beats), = await ends[1].beats(ctx, [16])
        assert identifier == 6 and [value for value, _ in beats] == words
        for model in hbm.models.values():
            assert ctx.get(model.violation) == Violation.NONE

    from amaranth import Module, Signal
    top = Module()
    top.submodules.hbm = hbm
    top.d.sync += Signal().eq(1)
    simulate(top, main, clocks={"sync": (1e-8, 0), "hbm": (.8e-8, .4e-8)},
             background=[serve(hbm.hub, [storage] * 2, domain="hbm")])


def test_errors():
    with pytest.raises(ValueError, match=r"^HBM port must be in 0\.\.31, not 32$"):
        HbmIp(33, (0, 32))
    with pytest.raises(ValueError, match="^HBM address width must be 33 or 34 on a card, not 20$"):
        HbmIp(20).module()
    with pytest.raises(ValueError, match="^HBM data width must be 256 on a card, not 64$"):
        HbmIp(33, data_width=64).module()
