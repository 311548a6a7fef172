# amaranth: UnusedElaboratable=no
"""What each group waits for, and what goes beside it."""

import numpy as np
import pytest

from dfx_rtl.mpu.output_sequencer import OutputSequencer

BASE = {"write": 1, "destination": 9, "lanes_tail": 1, "tag": {"instruction": 1}}


def test_groups(simulate):
    """Commands follow each other without a gap, and each of its groups has its place."""
    dut = OutputSequencer(8, 2, 4)
    lasts = [0, 3, 4, 8]

    async def testbench(ctx):
        ctx.set(dut.sums_available, 1)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, BASE | {"last_group": lasts[0]})
        assert ctx.get(dut.commands.ready)
        await ctx.tick()
        for number, last in enumerate(lasts):
            ctx.set(dut.commands.valid, number + 1 < len(lasts))
            if number + 1 < len(lasts):
                ctx.set(dut.commands.payload, BASE | {"last_group": lasts[number + 1]})
            for index in range(last + 1):
                assert ctx.get(dut.stb)
                assert ctx.get(dut.drain)
                group = ctx.get(dut.group)
                assert (group.group, group.part, group.address) == (
                    index, index % 4, 9 + index // 4)
                assert group.first == (index == 0)
                assert group.last == (index == last)
                assert group.chunk_end == (index == last or index % 4 == 3)
                assert group.lanes_valid == (1 if index == last else 3)
                assert ctx.get(dut.commands.ready) == (index == last)
                await ctx.tick()
        assert not ctx.get(dut.stb)

    simulate(dut, testbench)


@pytest.mark.parametrize("field, inputs", [
    ({}, ["sums_available"]),
    ({"bias_enable": 1}, ["sums_available", "bias_available"]),
    ({"residual_enable": 1}, ["sums_available", "residual_available"]),
    ({"bias_enable": 1, "residual_enable": 1, "scale_enable": 1},
     ["sums_available", "bias_available", "residual_available", "scale"])])
def test_operands(simulate, field, inputs):
    dut = OutputSequencer(8, 2, 4)

    async def testbench(ctx):
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, BASE | {"last_group": 100, "scale": 7} | field)
        await ctx.tick()
        for missing in inputs:
            for name in inputs:
                port = dut.scale.ready if name == "scale" else getattr(dut, name)
                # The scale is read in the first cycle it can be, so it is asked for last.
                ctx.set(port, name not in (missing, "scale"))
            assert not ctx.get(dut.stb)
            await ctx.tick()
        for name in inputs:
            ctx.set(dut.scale.ready if name == "scale" else getattr(dut, name), 1)
        assert ctx.get(dut.stb)
        if "scale" in inputs:
            assert ctx.get(dut.scale.valid)
            assert ctx.get(dut.scale.address) == 7
            await ctx.tick()
            ctx.set(dut.scale.ready, 0)
            assert not ctx.get(dut.scale.valid)
            assert ctx.get(dut.stb)

    simulate(dut, testbench)


def test_room(simulate):
    """As many groups of logits as there are places, one token, and more when they are taken."""
    rng = np.random.default_rng(1)
    dut = OutputSequencer(8, 2, 4)

    async def testbench(ctx):
        ctx.set(dut.sums_available, 1)
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, BASE | {"last_group": 9, "logits": 1})
        await ctx.tick()
        gone = taken = 0
        while gone < 30:
            assert ctx.get(dut.stb) == (gone - taken < 4)
            gone += ctx.get(dut.stb)
            take = bool(gone - ctx.get(dut.stb) > taken and rng.random() < .4)
            ctx.set(dut.logits_taken, take)
            taken += take
            if gone == 30:
                ctx.set(dut.commands.payload, BASE | {"last_group": 1, "arg_max": 1})
            await ctx.tick()
        for expected, take in ((1, 0), (1, 0), (0, 0), (0, 1), (1, 0), (1, 0), (0, 0)):
            ctx.set(dut.token_taken, take)
            assert ctx.get(dut.stb) == expected
            await ctx.tick()

    simulate(dut, testbench)


def test_empty_command(simulate):
    """It needs nothing, takes no sums, and passes as the last group of its instruction."""
    dut = OutputSequencer(8, 2, 4)

    async def testbench(ctx):
        ctx.set(dut.commands.valid, 1)
        ctx.set(dut.commands.payload, BASE | {
            "last_group": 9, "empty": 1, "scale_enable": 1, "bias_enable": 1, "logits": 1,
            "arg_max": 1})
        await ctx.tick()
        ctx.set(dut.commands.valid, 0)
        assert ctx.get(dut.stb)
        assert not ctx.get(dut.drain)
        assert not ctx.get(dut.scale.valid)
        assert ctx.get(dut.group.last)
        assert ctx.get(dut.group.empty)
        await ctx.tick()
        assert not ctx.get(dut.stb)

    simulate(dut, testbench)


def test_errors():
    for arguments, noun in (((0, 1, 2), "Tile"), ((1, 0, 2), "Lanes"), ((1, 1, 0), "Logits depth")):
        with pytest.raises(TypeError) as error:
            OutputSequencer(*arguments)
        assert str(error.value) == (f"{noun} of an output sequencer must be a positive integer, "
                                    f"not 0")
