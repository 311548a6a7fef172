"""The vector processing unit: wires its parts together and holds no logic."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..control.commands import VectorCommand
from ..registers.ports import (
    ScalarReadSignature,
    ScalarWriteSignature,
    VectorReadSignature,
    VectorWriteSignature,
)
from .control import VectorControl
from .jobs import ScalarOperation, VectorOperation
from .layernorm import LayerNorm
from .normaliser import Normaliser
from .operand_collector import OperandCollector
from .packer import Packer
from .reduction import Reduction
from .routing import BeatRouter
from .scalar import ScalarUnit
from .scalar_step import ScalarStep
from .vfu import VectorFunctionUnit

__all__ = ["VectorProcessingUnit"]


class VectorProcessingUnit(wiring.Component):
    """Executes vector instructions, one after another, ``vector_lanes`` elements a cycle.

    With d = tile, v = vector_lanes and B = d / v beats a chunk: a chunk takes max(B, operands)
    cycles. An instruction's operands are read chunk by chunk as they become ready, so it may start
    before its source is complete. The next instruction's first read is tried 2 cycles after the
    last one retires.

    Source: DFX paper, section 4.3 (vector processing unit).

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    commands : In(stream of VectorCommand)
        The instructions, in order.
    operand : Out(VectorReadSignature)
        Read port of the vector register file.
    scalar : Out(ScalarReadSignature)
        Read port of the scalar register file.
    vector_write : Out(VectorWriteSignature), scalar_write : Out(ScalarWriteSignature)
        Write ports. They may be stalled.
    retired : Out(1)
        Strobe: an instruction has read everything and written everything.
    overflow, invalid : Out(1)
        Strobes: a finite operand became infinite; a result is NaN.
    busy : Out(1)
        An instruction is executed.
    """

    def __init__(self, config):
        self._tile = config.tile
        self._lanes = config.vector_lanes
        self._reduction = Reduction(self._lanes)
        self._scalar_unit = ScalarUnit()
        super().__init__({
            "commands": In(stream.Signature(VectorCommand)),
            "operand": Out(VectorReadSignature(config.tile)),
            "scalar": Out(ScalarReadSignature()),
            "vector_write": Out(VectorWriteSignature(config.tile)),
            "scalar_write": Out(ScalarWriteSignature()),
            "retired": Out(1),
            "overflow": Out(1),
            "invalid": Out(1),
            "busy": Out(1),
        })

    @property
    def packer_depth(self):
        """Chunks on their way while beats never wait: B cycles each, a latency of the longest."""
        beats = self._tile // self._lanes
        longest = max(Normaliser.latency, VectorFunctionUnit.latency(VectorOperation.MOVE, True))
        return -(-(beats + longest + 1) // beats)

    @property
    def layernorm_bubble(self):
        """Cycles from the last chunk of x read to the first chunk of y written, n a whole chunk.

        2 to the chunk's first beat, B - 1 to its last, the sums, the difference, each scalar
        operation and 1 to note it; then B - 1, the normaliser and 1 in the packer.
        """
        beats = self._tile // self._lanes
        return (2 + beats - 1 + self._reduction.latency + self._coefficients
                + beats - 1 + Normaliser.latency + 1)

    @property
    def rstd_bubble(self):
        """Cycles from the last chunk of x read to RSTD's scalar written, n a whole chunk.

        2 to the chunk's first beat, B - 1 to its last, the sums, the difference, each scalar
        operation and 1 to note it, but for the last.
        """
        return 2 + self._tile // self._lanes - 1 + self._reduction.latency + self._coefficients - 1

    @property
    def _coefficients(self):
        """Cycles from the exact sums to the coefficients: LayerNorm's latency."""
        operations = (ScalarOperation.MUL, ScalarOperation.ADD, ScalarOperation.RECIP_SQRT)
        return LayerNorm.difference_latency + sum(
            self._scalar_unit.latency(operation) + 1 for operation in operations)

    @property
    def softmax_bubble(self):
        """Cycles from the last chunk of scores read to the last chunk of exponentials written.

        2 to the chunk's first beat, B - 1 to its last, the vector function unit, the packer.
        """
        beats = self._tile // self._lanes
        return 2 + beats - 1 + VectorFunctionUnit.latency(VectorOperation.SUB, True) + 1

    @property
    def softmax_sum(self):
        """Cycles from the last chunk of exponentials written to the reciprocal of their sum.

        The sum, its rounding, 1 to note it, the reciprocal, less 1 in the packer.
        """
        return (self._reduction.latency + Reduction.rounding_latency
                + self._scalar_unit.latency(ScalarOperation.RECIP))

    def elaborate(self, platform):
        m = Module()
        tile, lanes = self._tile, self._lanes
        m.submodules.control = control = VectorControl()
        m.submodules.collector = collector = OperandCollector(tile, lanes)
        m.submodules.router = router = BeatRouter(lanes)
        m.submodules.vfu = vfu = VectorFunctionUnit(lanes)
        m.submodules.reduction = reduction = self._reduction
        m.submodules.layernorm = layernorm = LayerNorm(lanes)
        m.submodules.scalar_step = scalar_step = ScalarStep()
        m.submodules.scalar_unit = scalar_unit = self._scalar_unit
        m.submodules.packer = packer = Packer(tile, lanes, self.packer_depth)

        connect(m, flipped(self.commands), control.commands)
        connect(m, control.requests, collector.requests)
        connect(m, collector.operand, flipped(self.operand))
        connect(m, collector.scalar, flipped(self.scalar))
        connect(m, collector.beats, router.beats)
        connect(m, layernorm.requests, scalar_step.layernorm_requests)
        connect(m, scalar_step.layernorm_results, layernorm.results)
        connect(m, scalar_step.requests, scalar_unit.requests)
        connect(m, scalar_unit.results, scalar_step.results)
        connect(m, scalar_step.scalar_write, flipped(self.scalar_write))
        connect(m, packer.vector_write, flipped(self.vector_write))

        job = control.job
        beat = collector.beats.payload
        m.d.comb += [
            control.vector_finished.eq(packer.finished),
            control.scalar_finished.eq(scalar_step.finished),
            self.retired.eq(control.retired),
            self.busy.eq(control.busy),

            router.job.eq(job),
            router.room.eq(packer.room),
            router.coefficients_ready.eq(layernorm.coefficients_ready),
            router.function_done.eq(vfu.done),
            router.function_result.eq(vfu.result),
            router.normalise_done.eq(layernorm.done),
            router.normalise_result.eq(layernorm.result),

            vfu.stb.eq(router.function_stb),
            vfu.beat.eq(beat),
            vfu.operation.eq(job.operation),
            vfu.exponential.eq(job.exponential),
            vfu.scalar_operand.eq(job.scalar_operand),
            vfu.scalar.eq(Mux(job.immediate, job.immediates[0].as_value(),
                              collector.scalars.second.as_value())),

            reduction.stb.eq(router.reduction_stb),
            reduction.values.eq(router.reduction_values),
            reduction.last.eq(router.reduction_last),

            layernorm.normalise.eq(job.normalise),
            layernorm.length.eq(job.length),
            layernorm.mean_factor.eq(job.immediates[0]),
            layernorm.variance_factor.eq(job.immediates[1]),
            layernorm.epsilon.eq(job.immediates[2]),
            layernorm.exact_done.eq(reduction.exact_done & job.deviation),
            layernorm.total.eq(reduction.total),
            layernorm.squares.eq(reduction.squares),
            layernorm.sum_done.eq(reduction.done & job.normalise),
            layernorm.sum.eq(reduction.sum),
            layernorm.stb.eq(router.normalise_stb),
            layernorm.beat.eq(beat),

            scalar_step.job.eq(job),
            scalar_step.rstd_next.eq(layernorm.rstd_next),
            scalar_step.pending.eq(control.scalar_pending),
            scalar_step.scalars.eq(collector.scalars),
            scalar_step.scalars_valid.eq(collector.scalars_valid),
            scalar_step.sum_done.eq(reduction.done),
            scalar_step.sum.eq(reduction.sum),

            packer.job.eq(job),
            packer.reserve.eq(router.reserve),
            packer.stb.eq(router.result_stb),
            packer.result.eq(router.result),
        ]
        m.d.comb += [
            self.overflow.eq(vfu.overflow | layernorm.overflow | scalar_unit.overflow),
            self.invalid.eq(vfu.invalid | layernorm.invalid | scalar_unit.invalid
                            | reduction.invalid),
        ]
        return m
