# amaranth: UnusedElaboratable=no
"""The queue in registers: order, capacity, one entry a cycle."""

import numpy as np
import pytest

from dfx_rtl.mpu.queue import ShiftQueue


@pytest.mark.parametrize("depth", [1, 3, 8])
@pytest.mark.parametrize("rates", [(1, 1), (.9, .3), (.3, .9), (.5, .5)])
def test_against_a_list(simulate, depth, rates):
    rng = np.random.default_rng(depth)
    dut = ShiftQueue(8, depth)

    async def testbench(ctx):
        model = []
        for _ in range(200):
            value = int(rng.integers(256))
            push, pop = rng.random() < rates[0], rng.random() < rates[1]
            ctx.set(dut.i.valid, push)
            ctx.set(dut.i.payload, value)
            ctx.set(dut.o.ready, pop)
            assert ctx.get(dut.i.ready) == (len(model) < depth)
            assert ctx.get(dut.o.valid) == bool(model)
            if model:
                assert ctx.get(dut.o.payload) == model[0]
            accepted = push and len(model) < depth
            if pop and model:
                model.pop(0)
            if accepted:
                model.append(value)
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("depth", [0, -1, 1.0])
def test_errors(depth):
    with pytest.raises(TypeError) as error:
        ShiftQueue(8, depth)
    assert str(error.value) == f"Depth of a queue must be a positive integer, not {depth!r}"
