from dfx_rtl.isa import Opcode
from dfx_rtl.vpu.jobs import PARTS, ScalarOperation
from dfx_rtl.vpu.scalar_step import ScalarStep

ONE, TWO, THREE, IMMEDIATE = 0x3F800000, 0x40000000, 0x40400000, 0x41200000


def run(simulate, opcode, *, immediate=0, move_immediate=0):
    """The operands and the operation that leave when all is there; checks the write."""
    dut = ScalarStep()
    reduces = opcode in (Opcode.ACCUM, Opcode.SOFTMAX)
    asked = []

    async def testbench(ctx):
        ctx.set(dut.job, {**PARTS[opcode], "immediate": immediate,
                          "move_immediate": move_immediate})
        ctx.set(dut.job.scalar_destination, 9)
        ctx.set(dut.job.tag.instruction, 77)
        ctx.set(dut.job.immediates[0].as_value(), IMMEDIATE)
        ctx.set(dut.scalars.first.as_value(), ONE)
        ctx.set(dut.scalars.second.as_value(), TWO)
        ctx.set(dut.requests.ready, 1)
        ctx.set(dut.scalars_valid, reduces)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.requests.valid)
        ctx.set(dut.pending, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.requests.valid)
        ctx.set(dut.scalars_valid, 1)
        if reduces:
            ctx.set(dut.sum.as_value(), THREE)
            ctx.set(dut.sum_done, 1)
            await ctx.tick()
            ctx.set(dut.sum_done, 0)
            ctx.set(dut.sum.as_value(), 0)
        assert ctx.get(dut.requests.valid)
        request = ctx.get(dut.requests.payload)
        asked.extend([request.operation, request.a.as_value().value, request.b.as_value().value])
        await ctx.tick()
        assert not ctx.get(dut.requests.valid)
        ctx.set(dut.results.payload.as_value(), 0x12345678)
        ctx.set(dut.results.valid, 1)
        for _ in range(3):
            assert ctx.get(dut.scalar_write.valid)
            assert not ctx.get(dut.finished) and not ctx.get(dut.results.ready)
            await ctx.tick()
        ctx.set(dut.scalar_write.ready, 1)
        assert ctx.get(dut.finished) and ctx.get(dut.results.ready)
        write = ctx.get(dut.scalar_write.payload)
        assert (write.address, write.tag.instruction) == (9, 77)
        assert write.data.as_value().value == 0x12345678
        await ctx.tick()
        ctx.set(dut.pending, 0)
        ctx.set(dut.results.valid, 0)
        await ctx.tick()
        assert not ctx.get(dut.requests.valid) and not ctx.get(dut.scalar_write.valid)

    simulate(dut, testbench)
    return asked


def test_operands(simulate):
    assert run(simulate, Opcode.SCALAR_ADD) == [ScalarOperation.ADD, ONE, TWO]
    assert run(simulate, Opcode.SCALAR_MUL, immediate=1) == [ScalarOperation.MUL, ONE, IMMEDIATE]
    assert run(simulate, Opcode.SCALAR_MOVE)[:2] == [ScalarOperation.MOVE, ONE]
    assert run(simulate, Opcode.SCALAR_MOVE, move_immediate=1)[:2] == [ScalarOperation.MOVE,
                                                                       IMMEDIATE]
    assert run(simulate, Opcode.RECIP_SQRT)[:2] == [ScalarOperation.RECIP_SQRT, ONE]
    assert run(simulate, Opcode.ACCUM)[:2] == [ScalarOperation.MOVE, THREE]
    assert run(simulate, Opcode.SOFTMAX)[:2] == [ScalarOperation.RECIP, THREE]


def test_layernorm_has_the_scalar_unit(simulate):
    dut = ScalarStep()

    async def testbench(ctx):
        ctx.set(dut.job, PARTS[Opcode.LAYERNORM])
        ctx.set(dut.scalars_valid, 1)
        ctx.set(dut.layernorm_requests.valid, 1)
        ctx.set(dut.layernorm_requests.payload.a.as_value(), THREE)
        ctx.set(dut.requests.ready, 1)
        ctx.set(dut.results.valid, 1)
        ctx.set(dut.results.payload.as_value(), TWO)
        ctx.set(dut.layernorm_results.ready, 1)
        ctx.set(dut.sum_done, 1)
        await ctx.tick()
        assert ctx.get(dut.requests.valid) and ctx.get(dut.layernorm_requests.ready)
        assert ctx.get(dut.requests.payload.a.as_value()) == THREE
        assert ctx.get(dut.layernorm_results.valid) and ctx.get(dut.results.ready)
        assert ctx.get(dut.layernorm_results.payload.as_value()) == TWO
        assert not ctx.get(dut.scalar_write.valid)
        ctx.set(dut.rstd_next, 1)  # RSTD would write it; LAYERNORM does not
        assert not ctx.get(dut.scalar_write.valid) and ctx.get(dut.layernorm_results.valid)
        # A sum of LayerNorm's must not pass for the next instruction's.
        ctx.set(dut.job, PARTS[Opcode.ACCUM])
        ctx.set(dut.sum_done, 0)
        ctx.set(dut.pending, 1)
        ctx.set(dut.results.valid, 0)
        assert not ctx.get(dut.requests.valid)
        await ctx.tick()

    simulate(dut, testbench)


def test_rstd_writes_the_last_result_of_layernorm(simulate):
    dut = ScalarStep()

    async def testbench(ctx):
        ctx.set(dut.job, PARTS[Opcode.RSTD])
        ctx.set(dut.job.scalar_destination, 9)
        ctx.set(dut.pending, 1)
        ctx.set(dut.scalars_valid, 1)
        ctx.set(dut.sum_done, 1)  # the sum is LayerNorm's
        ctx.set(dut.sum.as_value(), ONE)
        ctx.set(dut.requests.ready, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.requests.valid)
        ctx.set(dut.layernorm_requests.valid, 1)
        assert ctx.get(dut.requests.valid) and ctx.get(dut.layernorm_requests.ready)
        await ctx.tick()
        ctx.set(dut.layernorm_requests.valid, 0)
        ctx.set(dut.layernorm_results.ready, 1)
        ctx.set(dut.results.payload.as_value(), TWO)
        ctx.set(dut.results.valid, 1)
        assert ctx.get(dut.results.ready) and ctx.get(dut.layernorm_results.valid)
        assert not ctx.get(dut.scalar_write.valid) and not ctx.get(dut.finished)
        ctx.set(dut.rstd_next, 1)
        for _ in range(3):
            assert ctx.get(dut.scalar_write.valid) and not ctx.get(dut.finished)
            assert not ctx.get(dut.results.ready) and not ctx.get(dut.layernorm_results.valid)
            await ctx.tick()
        ctx.set(dut.scalar_write.ready, 1)
        assert ctx.get(dut.finished)
        assert ctx.get(dut.results.ready) and ctx.get(dut.layernorm_results.valid)
        write = ctx.get(dut.scalar_write.payload)
        assert (write.address, write.data.as_value().value) == (9, TWO)

    simulate(dut, testbench)
