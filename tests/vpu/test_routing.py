import itertools

import pytest

from dfx_rtl.isa import Opcode
from dfx_rtl.vpu.jobs import PARTS
from dfx_rtl.vpu.routing import BeatRouter
from tests.vpu.bench import Clocked, beat_payload

VECTOR = [Opcode.ADD, Opcode.EXP, Opcode.ACCUM, Opcode.LAYERNORM, Opcode.SOFTMAX, Opcode.RSTD]
SUMS = (Opcode.ACCUM, Opcode.RSTD)


@pytest.mark.parametrize("opcode", VECTOR, ids=lambda opcode: opcode.name)
def test_beats(simulate, opcode):
    dut = BeatRouter(2)
    parts = PARTS[opcode]
    normalise = opcode == Opcode.LAYERNORM

    async def testbench(ctx):
        ctx.set(dut.job, parts)
        for valid, room, coefficients, first, statistics in itertools.product((0, 1), repeat=5):
            if statistics and not normalise:
                continue
            ctx.set(dut.beats.payload, beat_payload([11, 12], chunk_first=first, last=first,
                                                    statistics=statistics))
            ctx.set(dut.beats.valid, valid)
            ctx.set(dut.room, room)
            ctx.set(dut.coefficients_ready, coefficients)
            await ctx.delay(1e-9)
            if statistics or opcode in SUMS:
                ready = True
            else:
                ready = (room or not first) and (coefficients or not normalise)
            fire = ready and valid
            assert ctx.get(dut.beats.ready) == ready
            makes = opcode not in SUMS and not statistics
            assert ctx.get(dut.reserve) == (fire and makes and first)
            assert ctx.get(dut.function_stb) == (fire and makes and not normalise)
            assert ctx.get(dut.normalise_stb) == (fire and makes and normalise)
            if opcode != Opcode.SOFTMAX:
                assert ctx.get(dut.reduction_stb) == (fire and not makes)
                assert ctx.get(dut.reduction_values.as_value()) == 11 | 12 << 16
                assert ctx.get(dut.reduction_last) == first

    simulate(Clocked(dut), testbench)


@pytest.mark.parametrize("opcode", VECTOR, ids=lambda opcode: opcode.name)
def test_results(simulate, opcode):
    dut = BeatRouter(2)

    async def testbench(ctx):
        ctx.set(dut.job, PARTS[opcode])
        ctx.set(dut.function_result.values.as_value(), 21 | 22 << 16)
        ctx.set(dut.function_result.last, 1)
        ctx.set(dut.normalise_result.values.as_value(), 31 | 32 << 16)
        for function_done, normalise_done in ((1, 0), (0, 1)):
            ctx.set(dut.function_done, function_done)
            ctx.set(dut.normalise_done, normalise_done)
            await ctx.delay(1e-9)
            if opcode == Opcode.LAYERNORM:
                assert ctx.get(dut.result_stb) == normalise_done
                assert ctx.get(dut.result.values.as_value()) == 31 | 32 << 16
            else:
                assert ctx.get(dut.result_stb) == function_done
                assert ctx.get(dut.result.values.as_value()) == 21 | 22 << 16
            if opcode == Opcode.SOFTMAX:
                assert ctx.get(dut.reduction_stb) == function_done
                assert ctx.get(dut.reduction_values.as_value()) == 21 | 22 << 16
                assert ctx.get(dut.reduction_last)

    simulate(Clocked(dut), testbench)
