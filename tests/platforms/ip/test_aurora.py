# amaranth: UnusedElaboratable=no
"""The transceivers: a loop in simulation, and what the wizard is told."""

import random

from platforms.ip.aurora import AuroraIp


def test_a_loop(simulate):
    from amaranth import Module, Signal
    cage = AuroraIp(0)
    top = Module()
    top.submodules.cage = cage
    top.d.sync += Signal().eq(1)
    rng = random.Random(1)

    async def main(ctx):
        assert ctx.get(cage.up)
        for _ in range(5):
            await ctx.tick()
            blocks = [(rng.getrandbits(64), rng.randrange(4)) for _ in range(4)]
            lanes = cage.transceiver
            for lane, (data, header) in enumerate(blocks):
                ctx.set(lanes.transmit_data[lane], data)
                ctx.set(lanes.transmit_header[lane], header)
            for lane, block in enumerate(blocks):
                assert (ctx.get(lanes.receive_data[lane]),
                        ctx.get(lanes.receive_header[lane])) == block
            assert ctx.get(lanes.receive_valid) == 15 and ctx.get(lanes.transmit_ready)

    simulate(top, main)


def test_properties():
    cage = AuroraIp(1)
    assert cage.domains == ("link1_transmit", "link1_receive")
    channels = ("X0Y40", "X0Y41", "X0Y42", "X0Y43")
    module = cage.module(channels, 156.25)
    assert module.name == "dfx_gty_1"
    # 12.890625 GHz is 82.5 times 156.25 MHz, and 80 times 161.1328125 MHz.
    assert module.properties["TX_QPLL_FRACN_NUMERATOR"] == 1 << 23
    assert module.properties["CHANNEL_ENABLE"] == "X0Y40 X0Y41 X0Y42 X0Y43"
    assert module.properties["RX_MASTER_CHANNEL"] == "X0Y40"
    assert cage.module(channels, 161.1328125).properties["RX_QPLL_FRACN_NUMERATOR"] == 0
    ports = {port.name: port.width for port in module.ports}
    assert len(ports) == len(module.ports)
    assert (ports["txheader_in"], ports["gtwiz_userdata_tx_in"], ports["gtyrxp_in"]) == (24, 256, 4)
