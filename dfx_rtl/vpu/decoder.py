"""From a command to what the operand collector reads and what the other parts do."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..control.commands import VectorCommand
from ..isa import OPCODE, Opcode
from .jobs import OPERANDS, PARTS, CollectorRequest, Job

__all__ = ["VectorDecoder"]


class VectorDecoder(wiring.Component):
    """The request to the operand collector and the job of a command. Combinational.

    An immediate goes before a scalar if an instruction enables both.

    Members
    -------
    command : In(VectorCommand)
        The command.
    request : Out(CollectorRequest)
        What to read.
    job : Out(Job)
        What to do with it.
    """

    command: In(VectorCommand)
    request: Out(CollectorRequest)
    job: Out(Job)

    def elaborate(self, platform):
        m = Module()
        instruction = self.command.instruction
        request, job = self.request, self.job
        scalar_operand = Signal()
        m.d.comb += [
            scalar_operand.eq(instruction.scalar_enable | instruction.immediate_enable),
            job.length.eq(Mux(instruction.length_from_position,
                              self.command.tag.position + 1, instruction.length)),
            job.destination.eq(instruction.destination),
            job.scalar_destination.eq(instruction.scalar_destination),
            job.immediates.as_value().eq(Cat(instruction.immediate0, instruction.immediate1,
                                             instruction.immediate2)),
            job.tag.eq(self.command.tag),
            request.length.eq(job.length),
            request.sources[0].eq(instruction.source1),
            request.sources[1].eq(instruction.source2),
            request.sources[2].eq(instruction.source3),
            request.first.eq(instruction.scalar_source1),
            request.second.eq(instruction.scalar_source2),
        ]
        with m.Switch(instruction.opcode):
            for opcode, parts in PARTS.items():
                with m.Case(opcode):
                    m.d.comb += [getattr(job, name).eq(value) for name, value in parts.items()]
                    operands = OPERANDS.get(opcode, 0)
                    m.d.comb += [
                        request.vector.eq(operands > 0),
                        request.last_operand.eq(max(operands - 1, 0)),
                        request.statistics.eq(opcode == Opcode.LAYERNORM),
                    ]
        with m.Switch(instruction.opcode):
            with m.Case(Opcode.ADD, Opcode.SUB, Opcode.MUL):
                m.d.comb += [
                    job.scalar_operand.eq(scalar_operand),
                    job.immediate.eq(instruction.immediate_enable),
                    request.second_enable.eq(instruction.scalar_enable
                                             & ~instruction.immediate_enable),
                ]
                with m.If(scalar_operand):
                    m.d.comb += request.last_operand.eq(0)
            with m.Case(Opcode.SCALAR_ADD, Opcode.SCALAR_SUB, Opcode.SCALAR_MUL):
                m.d.comb += [
                    job.immediate.eq(instruction.immediate_enable),
                    request.first_enable.eq(1),
                    request.second_enable.eq(~instruction.immediate_enable),
                ]
            with m.Case(Opcode.SCALAR_MOVE):
                m.d.comb += [
                    job.move_immediate.eq(instruction.immediate_enable),
                    request.first_enable.eq(~instruction.immediate_enable),
                ]
            with m.Case(Opcode.RECIP, Opcode.RECIP_SQRT):
                m.d.comb += request.first_enable.eq(1)
            with m.Case(Opcode.SOFTMAX):
                m.d.comb += [
                    request.second.eq(instruction.scalar_source1),
                    request.second_enable.eq(1),
                ]
        assert len(instruction.opcode) == OPCODE
        return m
