# amaranth: UnusedElaboratable=no
import pytest

from dfx_rtl.vpu.delay import DelayLine


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_latency_and_throughput(simulate, cycles):
    dut = DelayLine(8, cycles)
    pattern = [1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]

    async def testbench(ctx):
        for cycle, stb in enumerate(pattern):
            ctx.set(dut.stb, stb)
            ctx.set(dut.i, cycle + 1 if stb else 0xFF)
            done, o = ctx.get(dut.done), ctx.get(dut.o)
            before = cycle - cycles
            assert done == (pattern[before] if before >= 0 else 0)
            if done:
                assert o == before + 1
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("cycles", [0, -1, "2"])
def test_cycles_wrong(cycles):
    with pytest.raises(TypeError) as error:
        DelayLine(8, cycles)
    assert str(error.value) == f"Cycles of a delay line must be a positive integer, not {cycles!r}"
