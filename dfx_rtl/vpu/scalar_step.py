"""The scalar result of an instruction: its operands, its operation, its write."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.formats import Fp32
from ..registers.ports import ScalarWriteSignature
from .jobs import Job, ScalarPair, ScalarRequest

__all__ = ["ScalarStep"]


class ScalarStep(wiring.Component):
    """Asks the scalar unit for an instruction's scalar result and writes it.

    The first operand is the reduction's sum if the instruction reduces, or else a scalar; the
    request leaves in the cycle after it is there. LayerNorm and RSTD leave the scalar unit to
    LayerNorm; what is written of RSTD is the last of its results. ``scalar_write.valid`` and
    ``results.ready`` are combinational in each other's other half: a result stays in the scalar
    unit until it is written.

    Members
    -------
    job : In(Job)
        What the instruction asks for.
    pending : In(1)
        Its scalar has not been written.
    scalars : In(ScalarPair), scalars_valid : In(1)
        The scalar operands.
    sum_done : In(1)
        Strobe: ``sum`` is valid.
    sum : In(Fp32)
        The sum of the vector.
    layernorm_requests, layernorm_results
        LayerNorm's access to the scalar unit.
    rstd_next : In(1)
        LayerNorm's next result is the one that RSTD writes.
    requests, results
        The scalar unit.
    scalar_write : Out(ScalarWriteSignature())
        The write port of the scalar register file.
    finished : Out(1)
        Strobe: the scalar is written in this cycle.
    """

    job: In(Job)
    pending: In(1)
    scalars: In(ScalarPair)
    scalars_valid: In(1)
    sum_done: In(1)
    sum: In(Fp32)
    layernorm_requests: In(stream.Signature(ScalarRequest))
    layernorm_results: Out(stream.Signature(Fp32))
    rstd_next: In(1)
    requests: Out(stream.Signature(ScalarRequest))
    results: In(stream.Signature(Fp32))
    scalar_write: Out(ScalarWriteSignature())
    finished: Out(1)

    def elaborate(self, platform):
        m = Module()
        job = self.job
        reduces = Signal()
        sum_valid = Signal()
        total = Signal(Fp32, reset_less=True)
        sent = Signal()
        request = self.requests.payload
        immediate = job.immediates[0]
        m.d.comb += reduces.eq((job.accumulate | job.accumulate_result) & ~job.deviation)
        with m.If(job.deviation):
            connect(m, flipped(self.layernorm_requests), flipped(self.requests))
            connect(m, flipped(self.results), flipped(self.layernorm_results))
            with m.If(job.scalar_write & self.rstd_next):
                # LayerNorm goes on when the result is written, so that both see it leave.
                m.d.comb += [
                    self.scalar_write.valid.eq(self.results.valid),
                    self.results.ready.eq(self.scalar_write.ready),
                    self.layernorm_results.valid.eq(self.results.valid & self.scalar_write.ready),
                ]
        with m.Else():
            m.d.comb += [
                self.requests.valid.eq(self.pending & ~sent
                                       & Mux(reduces, sum_valid, self.scalars_valid)),
                request.operation.eq(job.scalar_operation),
                request.b.eq(Mux(job.immediate, immediate.as_value(),
                                 self.scalars.second.as_value())),
                self.scalar_write.valid.eq(self.results.valid),
                self.results.ready.eq(self.scalar_write.ready),
            ]
            with m.If(reduces):
                m.d.comb += request.a.eq(total)
            with m.Elif(job.move_immediate):
                m.d.comb += request.a.eq(immediate)
            with m.Else():
                m.d.comb += request.a.eq(self.scalars.first)
        m.d.comb += [
            self.scalar_write.payload.address.eq(job.scalar_destination),
            self.scalar_write.payload.data.eq(self.results.payload),
            self.scalar_write.payload.tag.eq(job.tag),
            self.finished.eq(self.scalar_write.valid & self.scalar_write.ready),
        ]
        with m.If(self.sum_done & reduces):
            m.d.sync += [sum_valid.eq(1), total.eq(self.sum)]
        with m.If(~job.deviation & self.requests.valid & self.requests.ready):
            m.d.sync += [sent.eq(1), sum_valid.eq(0)]
        with m.If(self.finished):
            m.d.sync += sent.eq(0)
        return m
