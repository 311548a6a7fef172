import numpy as np
import pytest

from dfx_rtl.vpu.normaliser import Normaliser
from tests.vpu.bench import beat_payload, pack
from tests.vpu.golden import Effect, half, half_bits, random_bits, single


def golden(x, gamma, beta, mean, rstd):
    effect = Effect()
    with np.errstate(all="ignore"):
        x, gamma, beta = (half(bits).astype(np.float32) for bits in (x, gamma, beta))
        centred = effect.see(x - mean, x, mean)
        scaled = effect.see(centred * rstd, centred, rstd)
        weighted = effect.see(scaled * gamma, scaled, gamma)
        shifted = effect.see(weighted + beta, weighted, beta)
        return half_bits(effect.see(shifted.astype(np.float16), shifted)), effect


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("mean,rstd", [
    (0x3F912345, 0x3DCCCCCD), (0x7F800000, 0x3F800000), (0x7FC00000, 0x7FC00000),
    (0xC47A0000, 0x7F800000), (0x00000000, 0x6F800000)])
def test_random(simulate, lanes, gap, mean, rstd):
    rng = np.random.default_rng(lanes)
    beats = [None if rng.random() < gap else
             ([list(random_bits(rng, lanes)) for _ in range(3)], int(rng.integers(1, lanes + 1)))
             for _ in range(60)]
    dut = Normaliser(lanes)
    assert dut.latency == 16

    async def testbench(ctx):
        ctx.set(dut.mean.as_value(), mean)
        ctx.set(dut.rstd.as_value(), rstd)
        overflow = invalid = wanted_overflow = wanted_invalid = False
        for cycle in range(len(beats) + dut.latency):
            beat = beats[cycle] if cycle < len(beats) else None
            ctx.set(dut.stb, beat is not None)
            if beat is not None:
                operands, count = beat
                gated = [[x if k < count else 0 for k, x in enumerate(bits)] for bits in operands]
                ctx.set(dut.beat, beat_payload(*gated, enable=(1 << count) - 1,
                                               chunk_last=cycle % 2, last=cycle % 3 == 0))
            done = ctx.get(dut.done)
            before = cycle - dut.latency
            assert done == (before >= 0 and beats[before] is not None)
            if done:
                operands, count = beats[before]
                wanted, effect = golden(*(np.array(bits[:count]) for bits in operands),
                                        single(mean), single(rstd))
                wanted = [*wanted, *[0] * (lanes - count)]
                assert f"{ctx.get(dut.result.values.as_value()):x}" == f"{pack(wanted):x}"
                assert ctx.get(dut.result.chunk_last) == before % 2
                assert ctx.get(dut.result.last) == (before % 3 == 0)
                wanted_overflow |= effect.overflow
                wanted_invalid |= effect.invalid
            _, _, *flags = await ctx.tick().sample(dut.overflow, dut.invalid)
            overflow |= bool(flags[0])
            invalid |= bool(flags[1])
        assert (overflow, invalid) == (wanted_overflow, wanted_invalid)

    simulate(dut, testbench)
