import itertools

import pytest

from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.vpu.decoder import VectorDecoder
from dfx_rtl.vpu.jobs import OPERANDS, PARTS, ScalarOperation, VectorOperation
from tests.vpu.bench import Clocked

VECTOR_OPCODES = [opcode for opcode in Opcode if Opcode.ADD <= opcode <= Opcode.RSTD]
ELEMENTWISE = (Opcode.ADD, Opcode.SUB, Opcode.MUL)
SCALAR = (Opcode.SCALAR_ADD, Opcode.SCALAR_SUB, Opcode.SCALAR_MUL)


def test_every_opcode_has_a_job():
    assert list(PARTS) == VECTOR_OPCODES


@pytest.mark.parametrize("opcode", VECTOR_OPCODES, ids=lambda opcode: opcode.name)
def test_request_and_job(simulate, opcode):
    dut = VectorDecoder()

    async def testbench(ctx):
        for scalar, immediate, positional in itertools.product((0, 1), repeat=3):
            instruction = Instruction(
                opcode, destination=7, source1=11, source2=12, source3=13, scalar_enable=scalar,
                immediate_enable=immediate, scalar_destination=21, scalar_source1=22,
                scalar_source2=23, length=100, length_from_position=positional,
                immediate0=31, immediate1=32, immediate2=33)
            tag = 5 | 6 << 12 | 65535 << 20
            ctx.set(dut.command.as_value(), instruction.encode() | tag << 256)
            await ctx.delay(1e-9)
            request, job = ctx.get(dut.request), ctx.get(dut.job)
            operands = OPERANDS.get(opcode, 0)
            if opcode in ELEMENTWISE and (scalar or immediate):
                operands = 1
            assert request.vector == (operands > 0)
            assert request.last_operand == max(operands - 1, 0)
            assert [request.sources[k] for k in range(3)] == [11, 12, 13]
            assert request.statistics == (opcode == Opcode.LAYERNORM)
            assert request.length == job.length == (65536 if positional else 100)
            assert request.first == 22
            assert request.first_enable == (
                opcode in (*SCALAR, Opcode.RECIP, Opcode.RECIP_SQRT)
                or (opcode == Opcode.SCALAR_MOVE and not immediate))
            assert request.second == (22 if opcode == Opcode.SOFTMAX else 23)
            assert request.second_enable == (
                (opcode in ELEMENTWISE and scalar and not immediate)
                or (opcode in SCALAR and not immediate) or opcode == Opcode.SOFTMAX)
            assert job.immediate == (opcode in (*ELEMENTWISE, *SCALAR) and immediate)
            assert job.move_immediate == (opcode == Opcode.SCALAR_MOVE and immediate)
            assert job.scalar_operand == (
                (opcode in ELEMENTWISE and (scalar or immediate)) or opcode == Opcode.SOFTMAX)
            parts = PARTS[opcode]
            for name in ("function", "normalise", "deviation", "exponential",
                         "accumulate", "accumulate_result", "vector_write", "scalar_write"):
                assert getattr(job, name) == parts.get(name, 0)
            assert job.operation == parts.get("operation", VectorOperation.MOVE)
            assert job.scalar_operation == parts.get("scalar_operation", ScalarOperation.MOVE)
            assert (job.destination, job.scalar_destination) == (7, 21)
            assert [job.immediates[k].fraction for k in range(3)] == [31, 32, 33]
            assert (job.tag.instruction, job.tag.layer, job.tag.position) == (5, 6, 65535)

    simulate(Clocked(dut), testbench)
