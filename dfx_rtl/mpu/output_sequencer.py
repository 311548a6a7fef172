"""Decides when the next group of results goes through the output pass."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.checks import check_positive
from ..isa import CHUNK, LENGTH
from ..registers.ports import ScalarReadSignature
from .layouts import OUTPUT_FIELDS, OutputCommand, OutputGroup

__all__ = ["OutputSequencer"]


class OutputSequencer(wiring.Component):
    """Walks the groups of output commands, in order.

    A group goes when its sums, its part of the bias and of the residual, the scale, and room for
    what leaves beside the registers are all there: after that nothing can stop it. The scale is
    read once for each command; its value may come one cycle after the first group went. An empty
    command is one group with nothing in it, so that instructions end in their order.

    Latency: a command's first group can go in the cycle after its transfer, the last group of a
    command and the transfer of the next one share a cycle. Throughput: a group a cycle. ``stb``,
    ``commands.ready`` and ``drain`` are combinational in the inputs.

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Values in a group; a power of two that divides ``tile``.
    logits_depth : int
        Groups of logits that the queue behind the output pass holds.

    Members
    -------
    commands : In(stream)
        See :func:`OutputCommand`.
    start : Out(1)
        A command is transferred: the readers of bias and residual start.
    sums_available, bias_available, residual_available : In(1)
        The operands of the next group are there.
    scale : Out(ScalarReadSignature)
        Reads the scale.
    stb : Out(1)
        A group goes.
    drain : Out(1)
        It takes sums, and its part of the bias and the residual.
    group : Out
        See :func:`OutputGroup`.
    logits_taken, token_taken : In(1)
        A group of logits, the token, has left the queue.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    """

    def __init__(self, tile, lanes, logits_depth):
        check_positive("Tile of an output sequencer", tile)
        check_positive("Lanes of an output sequencer", lanes)
        check_positive("Logits depth of an output sequencer", logits_depth)
        self._groups_per_chunk = tile // lanes
        self._logits_depth = logits_depth
        super().__init__({
            "commands":           In(stream.Signature(OutputCommand(lanes))),
            "start":              Out(1),
            "sums_available":     In(1),
            "bias_available":     In(1),
            "residual_available": In(1),
            "scale":              Out(ScalarReadSignature()),
            "stb":                Out(1),
            "drain":              Out(1),
            "group":              Out(OutputGroup(tile, lanes)),
            "logits_taken":       In(1),
            "token_taken":        In(1),
        })

    def elaborate(self, platform):
        m = Module()
        busy = Signal()
        command = Signal(self.commands.payload.shape(), reset_less=True)
        scale_pending = Signal()
        first = Signal(reset_less=True)
        index = Signal(LENGTH, reset_less=True)
        part = Signal(range(self._groups_per_chunk), reset_less=True)
        address = Signal(CHUNK, reset_less=True)
        logits_room = Signal(range(self._logits_depth + 1), init=self._logits_depth)
        token_busy = Signal()

        group_is_last = Signal()
        last = Signal()
        part_end = Signal()
        room = Signal()
        operands_available = Signal()
        m.d.comb += [
            group_is_last.eq(index == command.last_group),
            last.eq(group_is_last | command.empty),
            part_end.eq(part == self._groups_per_chunk - 1),
            room.eq((~command.logits | (logits_room != 0))
                    & (~(command.arg_max & first) | ~token_busy)),
            operands_available.eq(self.sums_available
                                  & (~command.bias_enable | self.bias_available)
                                  & (~command.residual_enable | self.residual_available)
                                  & (~scale_pending | self.scale.ready)),
            self.stb.eq(busy & (command.empty | (operands_available & room))),
            self.drain.eq(self.stb & ~command.empty),
            self.commands.ready.eq(~busy | (self.stb & last)),
            self.start.eq(self.commands.valid & self.commands.ready),
            self.scale.address.eq(command.scale),
            self.scale.valid.eq(scale_pending),

            *(self.group[name].eq(command[name]) for name in OUTPUT_FIELDS),
            self.group.address.eq(address),
            self.group.part.eq(part),
            self.group.group.eq(index),
            self.group.lanes_valid.eq(Mux(group_is_last, command.lanes_tail, ~0)),
            self.group.chunk_end.eq(part_end | last),
            self.group.first.eq(first),
            self.group.last.eq(last),
            self.group.empty.eq(command.empty),
            self.group.tag.eq(command.tag),
        ]

        with m.If(self.scale.valid & self.scale.ready):
            m.d.sync += scale_pending.eq(0)
        with m.If(self.stb):
            m.d.sync += [index.eq(index + 1), first.eq(0), part.eq(Mux(part_end, 0, part + 1))]
            with m.If(part_end):
                m.d.sync += address.eq(address + 1)
            with m.If(last):
                m.d.sync += busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1),
                command.eq(self.commands.payload),
                scale_pending.eq(self.commands.payload.scale_enable
                                 & ~self.commands.payload.empty),
                first.eq(1),
                index.eq(0),
                part.eq(0),
                address.eq(self.commands.payload.destination),
            ]

        # Places in the queues are taken as a group goes and come back as they are emptied.
        reserves = Signal()
        m.d.comb += reserves.eq(self.drain & command.logits)
        with m.If(reserves & ~self.logits_taken):
            m.d.sync += logits_room.eq(logits_room - 1)
        with m.If(~reserves & self.logits_taken):
            m.d.sync += logits_room.eq(logits_room + 1)
        with m.If(self.drain & command.arg_max & first):
            m.d.sync += token_busy.eq(1)
        with m.Elif(self.token_taken):
            m.d.sync += token_busy.eq(0)
        return m
