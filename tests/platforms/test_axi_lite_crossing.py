# amaranth: UnusedElaboratable=no
"""AXI4-Lite between two clock domains."""

import random

import pytest

from dfx_rtl.bus.axi import Axi3Signature, AxiLiteSignature, Response
from platforms.axi_lite_crossing import AxiLiteCrossing


@pytest.mark.parametrize("period", [1.44e-8, 1.8e-8, 5e-8])
def test_reads_and_writes(simulate, manager, period):
    crossing = AxiLiteCrossing(AxiLiteSignature(9), manager_domain="pcie",
                               subordinate_domain="sync")
    rng = random.Random(1)
    words = [rng.getrandbits(32) for _ in range(8)]
    host = manager(crossing.manager, "pcie", stall=.2)
    core = manager(crossing.subordinate, "sync", seed=3, stall=.2)
    found = []

    async def main(ctx):
        for index, word in enumerate(words):
            await host.send(ctx, "aw", addr=4 * index)
            await host.send(ctx, "w", data=word, strb=15)
            assert await host.take(ctx, "b", "resp") == (Response.SLVERR,)
            await host.send(ctx, "ar", addr=4 * index)
            assert await host.take(ctx, "r", "data", "resp") == (word ^ 0xFF, Response.DECERR)

    async def subordinate(ctx):
        for _ in words:
            address, = await core.take(ctx, "aw", "addr")
            word, strobe = await core.take(ctx, "w", "data", "strb")
            assert strobe == 15
            found.append(word)
            assert address == 4 * (len(found) - 1)
            await core.send(ctx, "b", resp=Response.SLVERR)
            address, = await core.take(ctx, "ar", "addr")
            await core.send(ctx, "r", data=found[address // 4] ^ 0xFF, resp=Response.DECERR)

    simulate(crossing, main, subordinate,
             clocks={"sync": (1.8e-8, 0.9e-8), "pcie": (period, period / 3)})
    assert found == words


def test_the_domains_can_be_asked():
    crossing = AxiLiteCrossing(AxiLiteSignature(9), manager_domain="pcie",
                               subordinate_domain="sync")
    assert (crossing.manager_domain, crossing.subordinate_domain) == ("pcie", "sync")


def test_errors():
    with pytest.raises(TypeError, match=r"^Signature must be AXI4-Lite, not "
                                        r"Axi3Signature\(9, 32, 1\)$"):
        AxiLiteCrossing(Axi3Signature(9, 32, 1), manager_domain="a", subordinate_domain="b")
