"""The matrix processing unit."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.formats import Fp16
from ..control.activity import Activity
from ..control.commands import MatrixCommand
from ..control.results import LogitsLayout, TokenLayout
from ..registers.ports import (
    ScalarReadSignature,
    ScalarWriteSignature,
    VectorReadSignature,
    VectorWriteSignature,
)
from .mfu import MatrixFunctionUnit
from .operand_collector import OperandCollector
from .output import OutputFunctionUnit

__all__ = ["MatrixProcessingUnit"]


class MatrixProcessingUnit(wiring.Component):
    """Executes matrix instructions: operand collector, matrix function unit, output function unit.

    The collector and the output pass run apart: while results wait for a scalar, a bias or a
    residual, the tiles of later instructions go on, until the accumulators or the queue of
    the output pass are full. Instructions end in their order.

    ``first`` of an instruction may be 0 only if the one before it had ``last`` = 0, and the other
    way round; both then have one block only, and the same columns.

    Latency: ``latency`` cycles from the read of the last input chunk (and the transfer of a
    result chunk's last tile) to ``vector_write``: 2, and the latencies of the dot product, the
    conversion to binary32, the multiplier, two adders, the rounding and GELU. It is 19 at a tile
    of up to 8 and 20 up to 64. Throughput: a tile a cycle, without a gap between instructions.

    Source: DFX paper, section 5.3 (matrix processing unit, Fig. 9).

    Parameters
    ----------
    config : CoreConfig
        ``tile``, ``lanes`` and ``accumulators`` are used.

    Members
    -------
    commands : In(stream)
        Matrix instructions.
    weights : In(stream)
        Tiles in linear memory order, in the order of the program.
    operand, bias, residual : Out(VectorReadSignature)
        Read the input, the bias, the residual.
    scale : Out(ScalarReadSignature)
        Reads the scale.
    vector_write, scalar_write : Out(stream)
        Results and maxima. They must always be ready.
    logits : Out(stream)
        See :func:`LogitsLayout`.
    token : Out(stream)
        See :func:`TokenLayout`.
    retired : Out(1)
        An instruction has ended.
    activity : Out(Activity)
        What this cycle was used for.
    overflow, invalid : Out(1)
        An operation overflowed, or was invalid, in this cycle.
    """

    def __init__(self, config):
        self._collector = OperandCollector(config.tile, config.lanes, config.accumulators)
        self._function = MatrixFunctionUnit(config.tile, config.lanes, config.accumulators)
        self._output = OutputFunctionUnit(config.tile, config.lanes)
        super().__init__({
            "commands":     In(stream.Signature(MatrixCommand)),
            "weights":      In(stream.Signature(data.ArrayLayout(Fp16,
                                                                 config.tile * config.lanes))),
            "operand":      Out(VectorReadSignature(config.tile)),
            "bias":         Out(VectorReadSignature(config.tile)),
            "residual":     Out(VectorReadSignature(config.tile)),
            "scale":        Out(ScalarReadSignature()),
            "vector_write": Out(VectorWriteSignature(config.tile)),
            "scalar_write": Out(ScalarWriteSignature()),
            "logits":       Out(stream.Signature(LogitsLayout(config.lanes))),
            "token":        Out(stream.Signature(TokenLayout())),
            "retired":      Out(1),
            "activity":     Out(Activity),
            "overflow":     Out(1),
            "invalid":      Out(1),
        })

    @property
    def latency(self):
        """Cycles from the read of the operand to the write of the chunk."""
        return 1 + self._function.latency + self._output.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.collector = collector = self._collector
        m.submodules.function = function = self._function
        m.submodules.output = output = self._output

        connect(m, flipped(self.commands), collector.commands)
        connect(m, flipped(self.weights), collector.weights)
        connect(m, collector.operand, flipped(self.operand))
        connect(m, collector.outputs, output.commands)
        connect(m, function.results, output.sums)
        for name in ("bias", "residual", "scale", "vector_write", "scalar_write", "logits",
                     "token"):
            connect(m, getattr(output, name), flipped(getattr(self, name)))
        m.d.comb += [
            collector.released.eq(output.sums.valid & output.sums.ready),
            *(getattr(function, name).eq(getattr(collector, name)) for name in (
                "stb", "x", "operands", "target")),
            self.retired.eq(output.retired),
            self.activity.eq(collector.activity),
            self.overflow.eq(output.overflow),
            self.invalid.eq(output.invalid),
        ]
        return m
