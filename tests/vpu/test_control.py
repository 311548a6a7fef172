from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.vpu.control import VectorControl

PROGRAM = [
    (Instruction(Opcode.ADD, length=3), 1, 0),
    (Instruction(Opcode.ACCUM, length=3), 0, 1),
    (Instruction(Opcode.SOFTMAX, length=3), 1, 1),
    (Instruction(Opcode.LAYERNORM, length=3), 1, 0),
    (Instruction(Opcode.RECIP), 0, 1),
    (Instruction(Opcode.RSTD, length=3), 0, 1),
]


def test_sequence(simulate):
    """Both results are waited for, in either order, and the next command follows at once."""
    dut = VectorControl()

    async def testbench(ctx):
        ctx.set(dut.requests.ready, 1)
        ctx.set(dut.commands.valid, 1)
        for vector_moment, scalar_moment in ((4, 6), (6, 4), (5, 5)):
            for index, (instruction, vector, scalar) in enumerate(PROGRAM):
                ctx.set(dut.commands.payload.as_value(), instruction.encode() | index << 256)
                assert ctx.get(dut.commands.ready) and ctx.get(dut.requests.valid)
                assert ctx.get(dut.requests.payload.length) == instruction.length
                assert not ctx.get(dut.busy)
                await ctx.tick()
                last = max(vector_moment * vector, scalar_moment * scalar)
                for cycle in range(1, last + 1):
                    assert ctx.get(dut.busy) and not ctx.get(dut.commands.ready)
                    assert not ctx.get(dut.requests.valid)
                    assert ctx.get(dut.job.tag.instruction) == index
                    assert ctx.get(dut.scalar_pending) == (scalar and cycle <= scalar_moment)
                    ctx.set(dut.vector_finished, vector and cycle == vector_moment)
                    ctx.set(dut.scalar_finished, scalar and cycle == scalar_moment)
                    assert ctx.get(dut.retired) == (cycle == last)
                    await ctx.tick()
                ctx.set(dut.vector_finished, 0)
                ctx.set(dut.scalar_finished, 0)

    simulate(dut, testbench)


def test_request_is_waited_for(simulate):
    dut = VectorControl()

    async def testbench(ctx):
        ctx.set(dut.commands.payload.as_value(), PROGRAM[0][0].encode())
        ctx.set(dut.commands.valid, 1)
        for _ in range(3):
            assert not ctx.get(dut.commands.ready)
            assert ctx.get(dut.requests.valid)
            await ctx.tick()
        ctx.set(dut.requests.ready, 1)
        assert ctx.get(dut.commands.ready)
        await ctx.tick()
        assert ctx.get(dut.busy)

    simulate(dut, testbench)
