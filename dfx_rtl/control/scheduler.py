"""The scheduler: dispatches instructions in program order, one queue a unit."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import TAG, Unit
from .bounds import Bounds
from .causes import Cause
from .commands import DmaCommand, MatrixCommand, RouterCommand, VectorCommand
from .decoder import DESTINATIONS, SOURCES, Decoder
from .scoreboard import Scoreboard
from .sequencer import IssueLayout

__all__ = ["Scheduler"]

_COMMANDS = {
    Unit.MPU: MatrixCommand, Unit.VPU: VectorCommand, Unit.LOAD: DmaCommand,
    Unit.STORE: DmaCommand, Unit.ROUTER: RouterCommand,
}


class Scheduler(wiring.Component):
    """Decodes an instruction, claims and marks its registers, puts it into its unit's queue.

    Dispatch is in program order. An instruction waits here while a register that it will write is
    still to be written or read by an earlier one (write after write, write after read), or while
    its unit's queue is full. Its sources it waits for in the unit. An instruction that cannot run
    is reported by ``cause`` and ends the dispatch.

    Throughput: an instruction takes 9 cycles and one more for each register that it writes or
    reads. Latency to the queue's output: as many and 2.

    Source: DFX paper, section 4.2 (scheduler, scoreboard).

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    issues : In(stream of IssueLayout)
        Instructions in program order.
    vocabulary : In(17)
        Number of tokens.
    ring : In(1)
        There are other cores.
    commands_mpu, commands_vpu, commands_load, commands_store, commands_router : Out(stream)
        Commands to the units.
    retired : In(5)
        A bit a unit: an instruction of it has ended.
    chunk_written, chunk, scalar_written, scalar : In
        Writes of the register files, for the scoreboard.
    valid : Out(vector_chunks + scalars)
        The scoreboard's valid bits.
    awaited, writer : In(range(vector_chunks)), Out(Unit)
        As of :class:`.Scoreboard`.
    busy : Out(1)
        An instruction is being dispatched, is in a queue or in a unit.
    in_flight : Out(5)
        A bit a unit: it has an instruction that has not ended.
    cause, place : Out(Cause), Out(12)
        NONE, or why dispatch has stopped, and at which instruction.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "issues": In(stream.Signature(IssueLayout)),
            "vocabulary": In(17),
            "ring": In(1),
            **{f"commands_{unit.name.lower()}": Out(stream.Signature(shape))
               for unit, shape in _COMMANDS.items()},
            "retired": In(len(Unit)),
            "chunk_written": In(1),
            "chunk": In(range(config.vector_chunks)),
            "scalar_written": In(1),
            "scalar": In(range(config.scalars)),
            "valid": Out(config.vector_chunks + config.scalars),
            "awaited": In(range(config.vector_chunks)),
            "writer": Out(Unit),
            "busy": Out(1),
            "in_flight": Out(len(Unit)),
            "cause": Out(Cause),
            "place": Out(TAG.members["instruction"]),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.decoder = decoder = Decoder(config)
        m.submodules.bounds = bounds = Bounds(config)
        m.submodules.scoreboard = scoreboard = Scoreboard(config.vector_chunks, config.scalars)

        issue = Signal(IssueLayout, reset_less=True)
        unit = Signal(Unit, reset_less=True)
        ranges = Signal.like(decoder.ranges, reset_less=True)
        index = Signal(range(DESTINATIONS + SOURCES + 1))
        entry = Signal.like(scoreboard.claim, reset_less=True)
        remaining = Signal(13, reset_less=True)
        probing = Signal()
        step = Signal()
        fault = Signal(Cause)
        outside = Signal()

        m.d.comb += [
            decoder.issue.eq(issue),
            bounds.issue.eq(issue),
            bounds.ranges.eq(ranges),
            bounds.vocabulary.eq(self.vocabulary),
            decoder.ring.eq(self.ring),
            scoreboard.probe.eq(entry + step),
            scoreboard.claim.eq(entry),
            scoreboard.claim_unit.eq(unit),
            scoreboard.awaited.eq(self.awaited),
            self.writer.eq(scoreboard.writer),
            scoreboard.mark.eq(entry),
            scoreboard.mark_unit.eq(unit),
            scoreboard.retired.eq(self.retired),
            scoreboard.chunk_written.eq(self.chunk_written),
            scoreboard.chunk.eq(self.chunk),
            scoreboard.scalar_written.eq(self.scalar_written),
            scoreboard.scalar.eq(self.scalar),
            self.valid.eq(scoreboard.valid),
            self.place.eq(issue.tag.instruction),
            outside.eq((index != 0) & (bounds.cause != Cause.NONE)),
        ]

        # The queues. Their order is the unit's order.
        pushes = []
        for number, shape in _COMMANDS.items():
            name = number.name.lower()
            queue = fifo.SyncFIFOBuffered(width=shape.size, depth=config.queue_depth)
            m.submodules[f"queue_{name}"] = queue
            commands = getattr(self, f"commands_{name}")
            m.d.comb += [
                queue.w_data.eq(issue),
                commands.payload.eq(queue.r_data),
                commands.valid.eq(queue.r_rdy),
                queue.r_en.eq(commands.ready),
            ]
            pushes.append(queue)
        push = Signal(len(Unit))
        accepted = Signal(len(Unit))
        m.d.comb += scoreboard.issued.eq(accepted)
        for number, queue in zip(_COMMANDS, pushes, strict=True):
            m.d.comb += [
                queue.w_en.eq(push[number]),
                accepted[number].eq(push[number] & queue.w_rdy),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issues.ready.eq(1)
                with m.If(self.issues.valid):
                    m.d.sync += issue.eq(self.issues.payload)
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += [
                    ranges.eq(decoder.ranges),
                    unit.eq(decoder.unit),
                    fault.eq(decoder.cause),
                    index.eq(0),
                    remaining.eq(0),
                ]
                m.next = "RANGE"
            # The bounds are there a cycle after the first range was looked up, and before its
            # first register is claimed.
            with m.State("RANGE"):
                with m.If(fault != Cause.NONE):
                    m.next = "STOPPED"
                with m.Elif(outside):
                    m.d.sync += fault.eq(bounds.cause)
                    m.next = "STOPPED"
                with m.Elif(index == DESTINATIONS + SOURCES):
                    m.next = "PUSH"
                with m.Else():
                    m.d.sync += [
                        entry.eq(ranges[index].start),
                        remaining.eq(ranges[index].count),
                        index.eq(index + 1),
                        probing.eq(0),
                    ]
                    with m.If(ranges[index].count != 0):
                        m.next = "WALK"
            with m.State("WALK"):
                with m.If(outside):
                    m.d.sync += fault.eq(bounds.cause)
                    m.next = "STOPPED"
                with m.Elif(index <= DESTINATIONS):
                    m.d.sync += probing.eq(1)
                    m.d.comb += step.eq(probing & scoreboard.free)
                    m.d.comb += scoreboard.claim_stb.eq(step)
                with m.Else():
                    m.d.comb += step.eq(1)
                    m.d.comb += scoreboard.mark_stb.eq(1)
                with m.If(step):
                    m.d.sync += [entry.eq(entry + 1), remaining.eq(remaining - 1)]
                    with m.If(remaining == 1):
                        m.next = "RANGE"
            with m.State("PUSH"):
                m.d.comb += push.eq(1 << unit)
                with m.If(accepted.any()):
                    m.next = "IDLE"
            with m.State("STOPPED"):
                m.d.comb += self.cause.eq(fault)
        waiting = Signal()
        m.d.comb += [
            waiting.eq(~self.issues.ready),
            self.in_flight.eq(scoreboard.in_flight),
            self.busy.eq(scoreboard.in_flight.any() | waiting),
        ]
        return m
