"""The sequence of vector instructions: one after another, from a command to its retirement."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.commands import VectorCommand
from .decoder import VectorDecoder
from .jobs import CollectorRequest, Job

__all__ = ["VectorControl"]


class VectorControl(wiring.Component):
    """Takes a command, starts the operand collector, and waits until the results have left.

    A command is taken in the cycle after the last one retired. ``job`` is valid from the cycle
    after that, and stays until the next command; the collector gets its request with the command.
    ``retired`` is combinational in ``vector_finished`` and ``scalar_finished``.

    Members
    -------
    commands : In(stream of VectorCommand)
        The instructions, in order.
    requests : Out(stream of CollectorRequest)
        What the operand collector reads. It must be ready while nothing is executed.
    job : Out(Job)
        What the other parts do.
    scalar_pending : Out(1)
        The scalar result of the instruction has not been written.
    vector_finished, scalar_finished : In(1)
        Strobes: the last chunk, or the scalar, is written in this cycle.
    retired : Out(1)
        Strobe: the instruction has read everything and written everything.
    busy : Out(1)
        An instruction is executed.
    """

    commands: In(stream.Signature(VectorCommand))
    requests: Out(stream.Signature(CollectorRequest))
    job: Out(Job)
    scalar_pending: Out(1)
    vector_finished: In(1)
    scalar_finished: In(1)
    retired: Out(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = VectorDecoder()
        job = Signal(Job, reset_less=True)
        vector_pending = Signal()
        m.d.comb += [
            self.job.eq(job),
            decoder.command.eq(self.commands.payload),
            self.requests.payload.eq(decoder.request),
            self.requests.valid.eq(self.commands.valid & ~self.busy),
            self.commands.ready.eq(self.requests.ready & ~self.busy),
            self.retired.eq(self.busy & (self.vector_finished | ~vector_pending)
                            & (self.scalar_finished | ~self.scalar_pending)),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [
                self.busy.eq(1),
                job.eq(decoder.job),
                vector_pending.eq(decoder.job.vector_write),
                self.scalar_pending.eq(decoder.job.scalar_write),
            ]
        with m.If(self.vector_finished):
            m.d.sync += vector_pending.eq(0)
        with m.If(self.scalar_finished):
            m.d.sync += self.scalar_pending.eq(0)
        with m.If(self.retired):
            m.d.sync += self.busy.eq(0)
        return m
