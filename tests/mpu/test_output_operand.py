# amaranth: UnusedElaboratable=no
"""An operand's groups come in binary32, a fixed time after they were taken."""

import numpy as np
import pytest

from dfx_rtl.arith import golden
from dfx_rtl.arith.formats import bits32, float16_from_bits
from dfx_rtl.mpu.output_operand import OutputOperand


@pytest.mark.parametrize("latency", [1, 4])
def test_latency_and_gating(simulate, latency):
    rng = np.random.default_rng(latency)
    dut = OutputOperand(4, 2, latency)
    memory = rng.integers(0, 1 << 16, size=(8, 4))
    memory[2] = [0x7E01, 0xFC00, 0x8000, 0x0001]
    groups = bits32(golden.to_fp32(float16_from_bits(memory.reshape(-1, 2))))

    async def testbench(ctx):
        ctx.set(dut.read.ready, 1)
        ctx.set(dut.start, 1)
        ctx.set(dut.enable, 1)
        ctx.set(dut.last_chunk, 7)
        await ctx.tick()
        ctx.set(dut.start, 0)
        taken, shown = [], 0
        while shown < len(groups):
            take = bool(ctx.get(dut.available) and rng.random() < .6)
            ctx.set(dut.take, take)
            taken.append(take)
            if len(taken) > latency and taken[-latency - 1]:
                valid = int(rng.integers(4))
                ctx.set(dut.lanes_valid, valid)
                assert [value.as_bits() for value in ctx.get(dut.values)] == [
                    int(groups[shown][k]) if valid >> k & 1 else 0 for k in range(2)]
                shown += 1
            read = ctx.get(dut.read.address) if ctx.get(dut.read.valid) else None
            await ctx.tick()
            if read is not None:
                for k in range(4):
                    ctx.set(dut.read.data[k].as_value(), int(memory[read][k]))

    simulate(dut, testbench)


def test_errors():
    for arguments, kind, message in (
            ((4, 2, 0), TypeError,
             "Latency of an output operand must be a positive integer, not 0"),
            ((4, 3, 1), ValueError,
             "Lanes of a chunk reader must divide its tile 4, which 3 does not")):
        with pytest.raises(kind) as error:
            OutputOperand(*arguments)
        assert str(error.value) == message
