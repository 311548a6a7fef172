"""The output function unit, SFU_M: from exact sums to chunks, maxima, logits and the token."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.checks import check_positive
from ..arith.exact import ExactToFp32
from ..arith.formats import ExactSum, Fp32
from ..arith.fp32 import Fp32Adder, Fp32Multiplier, Fp32ToFp16, fp16_to_fp32
from ..arith.functions import Fp16Function
from ..control.results import LogitsLayout, TokenLayout
from ..registers.ports import (
    ScalarReadSignature,
    ScalarWriteSignature,
    VectorReadSignature,
    VectorWriteSignature,
)
from .layouts import OutputCommand, OutputGroup
from .output_operand import OutputOperand
from .output_sequencer import OutputSequencer
from .reduce import ArgMax, RunningMaximum
from .vectorizer import Vectorizer

__all__ = ["OutputFunctionUnit"]


class OutputFunctionUnit(wiring.Component):
    """The output pass, for instructions in a queue of ``depth``.

    v is the sum in binary32, times the scale, plus the bias, plus the residual, each rounded; h is
    v in binary16; GELU of h may follow.

    Every group goes through every step; those that its instruction has not switched on pass it
    on. Sums and operands of invalid lanes are +0, so that these raise no flag. h is made, and can
    overflow, only if it is written or its maximum is asked for. After ``sums`` a group cannot
    be stalled: the logits have room in a queue of ``logits_depth`` groups, the token in a register,
    and the register files must accept a write of this unit in the cycle it is offered.

    Latency: ``latency`` cycles from a transfer of ``sums`` to ``vector_write``,
    ``maximum_latency`` to ``scalar_write``, ``logits_latency`` + 1 to ``logits``,
    ``token_latency`` to ``token``, ``end_latency`` to ``retired``. Throughput: a group a cycle,
    of logits ``logits_depth`` in as many cycles and ``logits_latency`` + 2 more; an instruction
    with bias or residual leaves one cycle unused before its first group.

    Source: DFX paper, section 5.3 (SFU_M).

    Parameters
    ----------
    tile : int
        d, values in a chunk.
    lanes : int
        l, values in a group; a power of two that divides ``tile``.

    Members
    -------
    commands : In(stream)
        See :func:`OutputCommand`.
    sums : In(stream)
        Groups of exact sums.
    bias, residual : Out(VectorReadSignature)
        Read these operands.
    scale : Out(ScalarReadSignature)
        Reads the scale.
    vector_write : Out(stream)
        Result chunks. It must always be ready.
    scalar_write : Out(stream)
        Maxima. It must always be ready.
    logits : Out(stream)
        v, group by group, of an instruction with ``logits``.
    token : Out(stream)
        The arg max of an instruction with ``arg_max``.
    retired : Out(1)
        An instruction has ended, all its register writes are done.
    overflow, invalid : Out(1)
        An operation overflowed, or was invalid, in this cycle.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    ValueError
        If ``lanes`` does not divide ``tile``.
    """

    depth = 16
    logits_depth = 8

    def __init__(self, tile, lanes):
        check_positive("Tile of an output function unit", tile)
        check_positive("Lanes of an output function unit", lanes)
        if tile % lanes:
            raise ValueError(f"Lanes of an output function unit must divide its tile {tile}, "
                             f"which {lanes} does not")
        self._tile = tile
        self._lanes = lanes
        self._exact = ExactToFp32(lanes)
        self._multiplier = Fp32Multiplier(lanes)
        self._bias_adder = Fp32Adder(lanes)
        self._residual_adder = Fp32Adder(lanes)
        self._rounding = Fp32ToFp16(lanes)
        self._gelu = Fp16Function("gelu", lanes)
        self._maximum = RunningMaximum(lanes)
        self._arg_max = ArgMax(lanes)
        super().__init__({
            "commands":     In(stream.Signature(OutputCommand(lanes))),
            "sums":         In(stream.Signature(data.ArrayLayout(ExactSum(), lanes))),
            "bias":         Out(VectorReadSignature(tile)),
            "residual":     Out(VectorReadSignature(tile)),
            "scale":        Out(ScalarReadSignature()),
            "vector_write": Out(VectorWriteSignature(tile)),
            "scalar_write": Out(ScalarWriteSignature()),
            "logits":       Out(stream.Signature(LogitsLayout(lanes))),
            "token":        Out(stream.Signature(TokenLayout())),
            "retired":      Out(1),
            "overflow":     Out(1),
            "invalid":      Out(1),
        })

    @property
    def scale_latency(self):
        """Cycles from the sums to the multiplication by the scale."""
        return self._exact.latency

    @property
    def bias_latency(self):
        """Cycles from the sums to the addition of the bias."""
        return self.scale_latency + self._multiplier.latency

    @property
    def residual_latency(self):
        """Cycles from the sums to the addition of the residual."""
        return self.bias_latency + self._bias_adder.latency

    @property
    def logits_latency(self):
        """Cycles from the sums to v."""
        return self.residual_latency + self._residual_adder.latency

    @property
    def latency(self):
        """Cycles from the sums of a chunk's last group to the write of the chunk."""
        return self.logits_latency + self._rounding.latency + self._gelu.latency

    @property
    def token_latency(self):
        """Cycles from the sums of an instruction's last group to the token."""
        return self.logits_latency + self._arg_max.latency + 1

    @property
    def maximum_latency(self):
        """Cycles from the sums of an instruction's last group to the write of its maximum."""
        return self.latency + self._maximum.latency

    @property
    def end_latency(self):
        """Cycles from the sums of an instruction's last group to its end."""
        return max(self.maximum_latency, self.token_latency - 1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = OutputSequencer(self._tile, self._lanes,
                                                             self.logits_depth)
        m.submodules.queue = queue = fifo.SyncFIFO(width=OutputCommand(self._lanes).size,
                                                   depth=self.depth)
        connect(m, sequencer.scale, flipped(self.scale))
        m.d.comb += [
            queue.w_data.eq(self.commands.payload),
            queue.w_en.eq(self.commands.valid),
            self.commands.ready.eq(queue.w_rdy),
            sequencer.commands.payload.eq(queue.r_data),
            sequencer.commands.valid.eq(queue.r_rdy),
            queue.r_en.eq(sequencer.commands.ready),
            sequencer.sums_available.eq(self.sums.valid),
            self.sums.ready.eq(sequencer.drain),
        ]

        # stages[k] and strobes[k] belong to the group whose sums went k cycles ago.
        strobes = Signal(self.end_latency)
        m.d.sync += strobes.eq(Cat(sequencer.stb, strobes))
        strobes = Cat(sequencer.stb, strobes)
        stages = [sequencer.group]
        for number in range(1, self.end_latency + 1):
            stage = Signal(OutputGroup(self._tile, self._lanes), name=f"s{number}",
                           reset_less=True)
            with m.If(strobes[number - 1]):
                m.d.sync += stage.eq(stages[-1])
            stages.append(stage)

        values = self._elaborate_binary32(m, sequencer, stages, strobes)
        self._elaborate_token(m, sequencer, stages, strobes, values)
        self._elaborate_logits(m, sequencer, stages, strobes, values)
        self._elaborate_binary16(m, stages, values)
        m.d.comb += [
            self.retired.eq(strobes[self.end_latency] & stages[-1].last),
            self.overflow.eq(Cat(unit.done & unit.overflow for unit in (
                self._multiplier, self._bias_adder, self._residual_adder, self._rounding,
                self._gelu)).any()),
            self.invalid.eq(Cat(unit.done & unit.invalid for unit in (
                self._exact, self._multiplier, self._bias_adder, self._residual_adder,
                self._rounding, self._gelu)).any()),
        ]
        return m

    def _elaborate_binary32(self, m, sequencer, stages, strobes):
        """The steps in binary32; returns v."""
        m.submodules.exact = exact = self._exact
        m.submodules.multiplier = multiplier = self._multiplier
        m.submodules.bias_adder = bias_adder = self._bias_adder
        m.submodules.residual_adder = residual_adder = self._residual_adder
        m.d.comb += exact.stb.eq(sequencer.drain)
        # An invalid lane's weights are +0, but an infinity in x still makes its sum a NaN.
        for lane in range(self._lanes):
            with m.If(sequencer.group.lanes_valid[lane]):
                m.d.comb += exact.a[lane].eq(self.sums.payload[lane])

        # The scale's data comes one cycle after its read, and stays for the last group's sake
        # until one cycle after the next command's read.
        group = stages[self.scale_latency]
        scale = self.scale.data
        for number in range(1, self.scale_latency):
            register = Signal(Fp32, name=f"s{number + 1}_scale", reset_less=True)
            with m.If(strobes[number]):
                m.d.sync += register.eq(scale)
            scale = register
        m.d.comb += [
            multiplier.stb.eq(exact.done),
            multiplier.skip.eq(~group.scale_enable),
            multiplier.a.eq(exact.result),
            multiplier.b.eq(Cat(Mux(valid, scale.as_value(), 0) for valid in group.lanes_valid)),
        ]

        before = multiplier
        for name, adder, latency in (("bias", bias_adder, self.bias_latency),
                                     ("residual", residual_adder, self.residual_latency)):
            m.submodules[f"{name}_operand"] = operand = OutputOperand(self._tile, self._lanes,
                                                                      latency)
            connect(m, operand.read, flipped(getattr(self, name)))
            command = sequencer.commands.payload
            group = stages[latency]
            m.d.comb += [
                operand.start.eq(sequencer.start),
                operand.enable.eq(command[f"{name}_enable"] & ~command.empty),
                operand.address.eq(command[name]),
                operand.last_chunk.eq(command.last_group // (self._tile // self._lanes)),
                operand.take.eq(sequencer.drain & sequencer.group[f"{name}_enable"]),
                getattr(sequencer, f"{name}_available").eq(operand.available),
                operand.lanes_valid.eq(group.lanes_valid),
                adder.stb.eq(before.done),
                adder.skip.eq(~group[f"{name}_enable"]),
                adder.a.eq(before.result),
                adder.b.eq(operand.values),
            ]
            before = adder
        return before.result

    def _elaborate_token(self, m, sequencer, stages, strobes, values):
        m.submodules.arg_max = arg_max = self._arg_max
        group = stages[self.logits_latency]
        end = stages[self.token_latency - 1]
        token = Signal(TokenLayout(), reset_less=True)
        valid = Signal()
        m.d.comb += [
            arg_max.stb.eq(self._residual_adder.done & group.arg_max),
            arg_max.first.eq(group.first),
            arg_max.group.eq(group.group),
            arg_max.values.eq(values),
            arg_max.lanes_valid.eq(group.lanes_valid),
            self.token.valid.eq(valid),
            self.token.payload.eq(token),
            sequencer.token_taken.eq(valid & self.token.ready),
        ]
        with m.If(self.token.ready):
            m.d.sync += valid.eq(0)
        with m.If(arg_max.done & end.last):
            m.d.sync += [
                valid.eq(1),
                token.id.eq(arg_max.index + end.arg_max_base),
                token.logit.eq(arg_max.value),
                token.found.eq(arg_max.found),
                token.tag.eq(end.tag),
            ]

    def _elaborate_logits(self, m, sequencer, stages, strobes, values):
        logits = Signal(LogitsLayout(self._lanes))
        m.submodules.logits_queue = queue = fifo.SyncFIFO(width=len(logits.as_value()),
                                                          depth=self.logits_depth)
        group = stages[self.logits_latency]
        m.d.comb += [
            queue.w_en.eq(self._residual_adder.done & group.logits),
            queue.w_data.eq(logits),
            self.logits.payload.eq(queue.r_data),
            self.logits.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.logits.ready),
            sequencer.logits_taken.eq(self.logits.valid & self.logits.ready),
        ]
        with m.If(queue.w_en):
            m.d.comb += [
                logits.values.eq(values),
                logits.group.eq(group.group),
                logits.last.eq(group.last),
                logits.tag.eq(group.tag),
            ]

    def _elaborate_binary16(self, m, stages, values):
        m.submodules.rounding = rounding = self._rounding
        m.submodules.gelu = gelu = self._gelu
        m.submodules.vectorizer = vectorizer = Vectorizer(self._tile, self._lanes)
        m.submodules.maximum = maximum = self._maximum
        group = stages[self.logits_latency]
        group_gelu = stages[self.logits_latency + rounding.latency]
        end = stages[self.latency]
        end_maximum = stages[self.maximum_latency]
        write = self.vector_write
        m.d.comb += [
            rounding.stb.eq(self._residual_adder.done & (group.write | group.maximum_enable)),
            rounding.a.eq(values),
            gelu.stb.eq(rounding.done),
            gelu.skip.eq(~group_gelu.gelu),
            gelu.a.eq(rounding.result),

            vectorizer.stb.eq(gelu.done & end.write),
            vectorizer.values.eq(gelu.result),
            vectorizer.lanes_valid.eq(end.lanes_valid),
            vectorizer.mask.eq(end.mask),
            vectorizer.part.eq(end.part),
            vectorizer.chunk_end.eq(end.chunk_end),
            write.valid.eq(vectorizer.done),
            write.payload.address.eq(end.address),
            write.payload.data.eq(vectorizer.chunk),
            write.payload.tag.eq(end.tag),

            maximum.stb.eq(gelu.done & end.maximum_enable),
            maximum.first.eq(end.first),
            maximum.values.eq(gelu.result),
            maximum.lanes_valid.eq(end.lanes_valid),
            self.scalar_write.valid.eq(maximum.done & end_maximum.last),
            self.scalar_write.payload.address.eq(end_maximum.maximum),
            self.scalar_write.payload.data.eq(
                fp16_to_fp32(m, maximum.maximum, "maximum_binary32")),
            self.scalar_write.payload.tag.eq(end_maximum.tag),
        ]
        with m.If(write.valid):
            m.d.sync += Assert(write.ready, "a register file stalled the MPU's chunk")
        with m.If(self.scalar_write.valid):
            m.d.sync += Assert(self.scalar_write.ready, "a register file stalled the MPU's scalar")
