"""The control unit: registers for the host, controller, sequencers, scheduler."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..bus.axi import AxiLiteSignature
from ..bus.registers import AxiLiteRegisters
from ..config import MAX_CORES
from ..isa import INSTRUCTION_BITS, Unit
from .accounting import Accounting
from .activity import Account, Activity
from .causes import Cause
from .commands import FetchLayout
from .controller import Controller
from .faults import ErrorKind, MemoryErrorLayout
from .fetch import FetchIssuer
from .registers import COUNTERS, IDENTIFIER, REGISTERS
from .ring import DIRECTIONS, FLIT_RUN, FaultPlace
from .scheduler import Scheduler
from .sequencer import RunLayout, Sequencer
from .state import State

__all__ = ["ControlUnit"]


class ControlUnit(wiring.Component):
    """Controller, scheduler and what they need; holds the instruction memory.

    The instruction memory has two read ports: one for the sequencer in front of the scheduler, one
    for the sequencer in front of the weight fetch.

    Source: DFX paper, section 4.2 (control unit).

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    host : In(AxiLiteSignature)
        The registers of ``control/registers.py``.
    interrupt : Out(1)
        An enabled event has happened and was not cleared.
    commands_* : Out(stream)
        To the units.
    retired, chunk_written, chunk, scalar_written, scalar, valid, awaited
        As of :class:`~.scheduler.Scheduler`.
    fetches : Out(stream of FetchLayout)
        To the weight fetch.
    program_*, prompt_*, token_ids, results, output_writes, stop, clear, drained
        As of :class:`~.controller.Controller`.
    memory_busy : In(1)
        The DMA has work, or a memory owes an answer.
    memory_error : In(MemoryErrorLayout)
        An error response of a memory.
    hbm_waiting, ddr_waiting : In(channels), In(1)
        Memory ports that owe an answer: what the watchdog names.
    memory_progress : In(1)
        Data moved between a memory and the core.
    router_fault, router_place : In(1), In(FaultPlace)
        A flit has broken a rule.
    router_awaited, router_blocked : In(2), In(2)
        Directions in which the router waits: what the watchdog names.
    router_progress : In(1)
        A flit moved.
    link_error : In(8), for each of the two links
        Not 0: the link to the next core, or to the one before, has failed, and why. It counts only
        if there are other cores.
    activity : In(Activity)
        What the MPU does.
    account : Out(Account)
        What the cycle is spent on.
    overflow, invalid : In(1)
        Events of the arithmetic.
    core_count, bidirectional, run, logits_base, logits_stride, output_index : Out
        Registers and state that the units use.
    """

    def __init__(self, config):
        self._config = config
        controller = Controller(config)
        scheduler = Scheduler(config)
        self._controller = controller
        self._scheduler = scheduler
        shared = {name: member for name, member in controller.signature.members.items()
                  if name in ("program_requests", "program_beats", "prompt_requests", "prompt_ids",
                              "token_ids", "results", "output_writes", "stop", "clear",
                              "drained")}
        shared |= {name: member for name, member in scheduler.signature.members.items()
                   if name.startswith("commands_") or name in (
                       "retired", "chunk_written", "chunk", "scalar_written", "scalar", "valid",
                       "awaited")}
        self._shared = tuple(shared)
        super().__init__({
            "host": In(AxiLiteSignature(REGISTERS.address_width)),
            "interrupt": Out(1),
            **shared,
            "fetches": Out(stream.Signature(FetchLayout)),
            "memory_busy": In(1),
            "memory_error": In(MemoryErrorLayout()),
            "hbm_waiting": In(config.channels),
            "ddr_waiting": In(1),
            "memory_progress": In(1),
            "router_fault": In(1),
            "router_place": In(FaultPlace),
            "router_awaited": In(DIRECTIONS),
            "router_blocked": In(DIRECTIONS),
            "router_progress": In(1),
            "link_error": In(8).array(DIRECTIONS),
            "activity": In(Activity),
            "account": Out(Account),
            "overflow": In(1),
            "invalid": In(1),
            "core_count": Out(4),
            "bidirectional": Out(1),
            "run": Out(FLIT_RUN),
            "logits_base": Out(40),
            "logits_stride": Out(32),
            "output_index": Out(16),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        controller, scheduler = self._controller, self._scheduler
        clear = ResetInserter(controller.clear)
        m.submodules.controller = controller
        m.submodules.registers = registers = AxiLiteRegisters(REGISTERS)
        connect(m, flipped(self.host), registers.bus)
        m.submodules.instructions = instructions = memory.Memory(
            shape=INSTRUCTION_BITS, depth=config.instructions, init=[])
        dispatch, ahead = Sequencer(config.instructions), Sequencer(config.instructions)
        issuer = FetchIssuer(config)
        m.submodules.scheduler = clear(scheduler)
        m.submodules.dispatch_sequencer = clear(dispatch)
        m.submodules.fetch_sequencer = clear(ahead)
        m.submodules.fetch_issuer = clear(issuer)

        # Pass the shared ports through.
        for name in self._shared:
            owner = scheduler if name in scheduler.signature.members else controller
            member = owner.signature.members[name]
            inner, outer = getattr(owner, name), getattr(self, name)
            if member.is_signature:
                connect(m, inner, flipped(outer))
            elif member.flow == Out:
                m.d.comb += outer.eq(inner)
            else:
                m.d.comb += inner.eq(outer)

        # Instruction memory.
        write = instructions.write_port()
        m.d.comb += [
            write.en.eq(controller.program_write),
            write.addr.eq(controller.program_address),
            write.data.eq(controller.program_word),
        ]
        for sequencer, consumer in ((dispatch, scheduler), (ahead, issuer)):
            read = instructions.read_port()
            m.d.comb += [
                read.addr.eq(sequencer.program_address),
                sequencer.program_data.eq(read.data),
                sequencer.start.eq(controller.start_stb),
                sequencer.stop.eq(controller.halt),
            ]
            connect(m, sequencer.issues, consumer.issues)
        connect(m, issuer.fetches, flipped(self.fetches))

        self._parameters(m, registers, controller, scheduler, (dispatch, ahead))
        self._status(m, registers, controller, scheduler)

        m.d.comb += [
            controller.sequencing.eq(dispatch.running | ahead.running),
            controller.busy.eq(scheduler.busy | issuer.busy | self.memory_busy),
            controller.progress.eq(self.memory_progress | self.router_progress
                                   | self.retired.any() | (self.activity == Activity.BUSY)),
        ]
        self._faults(m, controller, scheduler, issuer)
        return m

    def _faults(self, m, controller, scheduler, issuer):
        """Everything that can stop the core, and where it happened."""
        fault, owing, error = controller.fault, controller.owing, self.memory_error
        with m.If(scheduler.cause != Cause.NONE):
            m.d.comb += [fault.cause.eq(scheduler.cause), fault.place.eq(scheduler.place)]
        with m.Elif(issuer.cause != Cause.NONE):
            m.d.comb += [fault.cause.eq(issuer.cause), fault.place.eq(issuer.place)]
        with m.Elif(error.stb):
            m.d.comb += fault.response.eq(error.response)
            with m.Switch(error.kind):
                for kind in ErrorKind:
                    with m.Case(kind):
                        m.d.comb += fault.cause.eq(Cause[kind.name])
            with m.If((error.kind == ErrorKind.HBM_READ) | (error.kind == ErrorKind.HBM_WRITE)):
                m.d.comb += fault.place.eq(error.channel)
        with m.Elif(scheduler.ring & (self.link_error[0] | self.link_error[1]).any()):
            first = self.link_error[0].any()
            m.d.comb += [
                fault.cause.eq(Cause.LINK),
                fault.place.eq(Cat(Mux(first, *self.link_error), ~first)),
            ]
        with m.Elif(self.router_fault):
            m.d.comb += [fault.cause.eq(Cause.ROUTER_PROTOCOL), fault.place.eq(self.router_place)]

        with m.If(self.hbm_waiting.any()):
            m.d.comb += owing.cause.eq(Cause.WATCHDOG_HBM)
            for channel in reversed(range(len(self.hbm_waiting))):
                with m.If(self.hbm_waiting[channel]):
                    m.d.comb += owing.place.eq(channel)
        with m.Elif(self.ddr_waiting):
            m.d.comb += owing.cause.eq(Cause.WATCHDOG_DDR)
        with m.Elif((self.router_awaited | self.router_blocked).any()):
            m.d.comb += [
                owing.cause.eq(Cause.WATCHDOG_LINK),
                owing.place.eq(Cat(self.router_awaited, self.router_blocked)),
            ]
        with m.Else():
            m.d.comb += [owing.cause.eq(Cause.WATCHDOG_CORE), owing.place.eq(scheduler.in_flight)]

    def _parameters(self, m, registers, controller, scheduler, sequencers):
        """What the host has set, to those who need it."""
        def long(name):
            low, high = getattr(registers, f"{name}_low"), getattr(registers, f"{name}_high")
            return Cat(low.value, high.value)

        parameters = controller.parameters
        m.d.comb += [
            controller.start.eq(registers.control_stb & registers.control.start),
            controller.reset.eq(registers.control_stb & registers.control.reset),
            parameters.program_base.eq(long("program_base")),
            parameters.program_length.eq(registers.program_length.value),
            parameters.token_base.eq(long("token_base")),
            parameters.output_base.eq(long("output_base")),
            parameters.first_position.eq(registers.first_position.value),
            parameters.input_count.eq(registers.input_count.value),
            parameters.output_count.eq(registers.output_count.value),
            parameters.vocabulary.eq(registers.vocabulary.value),
            parameters.end_of_text.eq(registers.end_of_text.id),
            parameters.end_of_text_enable.eq(registers.end_of_text.enable),
            parameters.watchdog.eq(registers.watchdog.value),
            scheduler.vocabulary.eq(registers.vocabulary.value),
            scheduler.ring.eq((registers.core_count.value >= 2)
                              & (registers.core_count.value <= MAX_CORES)),
            self.core_count.eq(registers.core_count.value),
            self.bidirectional.eq(registers.ring.bidirectional),
            self.run.eq(registers.ring.run),
            self.logits_base.eq(long("logits_base")),
            self.logits_stride.eq(registers.logits_stride.value),
            self.output_index.eq(controller.token_count),
        ]
        run = Signal(RunLayout)
        output_count = registers.output_count.value
        m.d.comb += [
            run.program_length.eq(registers.program_length.value),
            run.layers.eq(registers.layers.value),
            run.layer_stride.eq(registers.layer_stride.value),
            run.input_count.eq(registers.input_count.value),
            run.output_count.eq(output_count),
            run.first_position.eq(registers.first_position.value),
            run.last_position.eq(registers.input_count.value
                                 + Mux(output_count == 0, 1, output_count) - 2),
        ]
        for sequencer in sequencers:
            m.d.comb += sequencer.run.eq(run)

    def _status(self, m, registers, controller, scheduler):
        """What the host reads: state, error, counters, interrupt."""
        config = self._config
        overflow, invalid = Signal(), Signal()
        m.d.comb += [
            registers.identifier.value.eq(IDENTIFIER),
            registers.shape.tile.eq(config.tile),
            registers.shape.lanes.eq(config.lanes),
            registers.shape.channels.eq(config.channels),
            registers.status.state.eq(controller.state),
            registers.status.overflow.eq(overflow),
            registers.status.invalid.eq(invalid),
            registers.error.eq(controller.error),
            registers.tokens.count.eq(controller.token_count),
            registers.interrupt_status_set.done.eq(controller.done_stb),
            registers.interrupt_status_set.error.eq(controller.error_stb),
            registers.interrupt_status_set.token.eq(controller.token_stb),
        ]
        m.d.sync += self.interrupt.eq(
            (registers.interrupt_status.as_value() & registers.interrupt_enable.as_value()).any())
        with m.If(controller.state == State.LOADING):
            m.d.sync += [overflow.eq(0), invalid.eq(0)]
        with m.Else():
            with m.If(self.overflow):
                m.d.sync += overflow.eq(1)
            with m.If(self.invalid):
                m.d.sync += invalid.eq(1)

        m.submodules.accounting = accounting = Accounting()
        m.d.comb += [
            accounting.activity.eq(self.activity),
            accounting.writer.eq(scheduler.writer),
            accounting.in_flight.eq(scheduler.in_flight[Unit.MPU]),
            accounting.clear.eq(controller.begin_stb),
            accounting.enable.eq((controller.state == State.LOADING)
                                 | (controller.state == State.RUNNING)
                                 | (controller.state == State.FINISHING)),
            self.account.eq(accounting.account),
        ]
        for name, counter in zip(COUNTERS, (accounting.cycles, *accounting.counts), strict=True):
            m.d.comb += [
                getattr(registers, f"{name.lower()}_low").value.eq(counter[:32]),
                getattr(registers, f"{name.lower()}_high").value.eq(counter[32:]),
            ]
        return m
