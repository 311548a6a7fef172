# amaranth: UnusedElaboratable=no
"""The output pass by itself: its stages in time. Its values are tested in test_unit.py."""

import pytest

from dfx_rtl.arith.formats import FP16_ONE, FP32_ONE
from dfx_rtl.mpu.output import OutputFunctionUnit


def test_latencies(simulate):
    """When each of the results of one group of one value leaves."""
    dut = OutputFunctionUnit(8, 2)
    command = {"write": 1, "destination": 5, "maximum_enable": 1, "maximum": 3, "arg_max": 1,
               "logits": 1, "last_group": 0, "lanes_tail": 1, "tag": {"instruction": 4}}
    seen = {}

    async def testbench(ctx):
        ctx.set(dut.vector_write.ready, 1)
        ctx.set(dut.scalar_write.ready, 1)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, command)
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        ctx.set(dut.sums.payload[0].value, 1 << 48)
        ctx.set(dut.sums.valid, 1)
        await ctx.tick().until(dut.sums.ready)
        ctx.set(dut.sums.valid, 0)
        for cycle in range(1, 30):
            for name, signal in (
                    ("vector", dut.vector_write.valid), ("scalar", dut.scalar_write.valid),
                    ("logits", dut.logits.valid), ("token", dut.token.valid),
                    ("retired", dut.retired)):
                if ctx.get(signal):
                    seen.setdefault(name, cycle)
            if ctx.get(dut.vector_write.valid):
                assert [value.as_bits() for value in ctx.get(dut.vector_write.payload.data)] == (
                    [FP16_ONE] + 7 * [0])
            if ctx.get(dut.scalar_write.valid):
                assert ctx.get(dut.scalar_write.payload.data).as_bits() == FP32_ONE
            await ctx.tick()

    simulate(dut, testbench)
    assert seen == {
        "vector": dut.latency, "scalar": dut.maximum_latency, "retired": dut.end_latency,
        "logits": dut.logits_latency + 1,
        "token": dut.token_latency,
    }
    assert (dut.logits_latency, dut.token_latency) == (14, 16)
    assert (dut.latency, dut.maximum_latency, dut.end_latency) == (17, 18, 18)


def test_errors():
    for tile, lanes, kind, message in (
            (0, 1, TypeError,
             "Tile of an output function unit must be a positive integer, not 0"),
            (8, 0, TypeError,
             "Lanes of an output function unit must be a positive integer, not 0"),
            (8, 3, ValueError,
             "Lanes of an output function unit must divide its tile 8, which 3 does not")):
        with pytest.raises(kind) as error:
            OutputFunctionUnit(tile, lanes)
        assert str(error.value) == message
