"""The controller: runs a whole generation, from start to done, without the host."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..isa import ADDRESS, INSTRUCTION_BITS, LENGTH
from .causes import Cause
from .state import State

__all__ = ["Controller", "ErrorLayout", "ParameterLayout"]

# What the host sets before a run.
ParameterLayout = data.StructLayout({
    "program_base": ADDRESS,
    "program_length": 13,
    "token_base": ADDRESS,
    "output_base": ADDRESS,
    "first_position": 16,
    "input_count": 16,
    "output_count": 16,
    "vocabulary": LENGTH,
    "end_of_text": LENGTH,
    "end_of_text_enable": 1,
    "watchdog": 32,
})

# Why the core stopped.
ErrorLayout = data.StructLayout({"place": 16, "cause": Cause, "response": 2})


class Controller(wiring.Component):
    """The state of the core: loads the program, starts the sequencers, feeds tokens, ends the run.

    A run: the program goes from DDR into the instruction memory; both sequencers start; for each
    position the id of its token is handed to the DMA, from the prompt in DDR or from the arg max of
    the position before; each generated id is written to DDR and counted. The run ends after the
    last instruction, or early after the end-of-text id. An error stops the core: the cause and the
    place stay until a reset.

    Ending early and resetting both drain the memory ports first (``stop`` until ``drained``) and
    then clear the units (``clear``). A start clears them too: a run never sees another's state. If
    a port never drains the state stays STOPPING; then only a full reset helps.

    Source: DFX paper, section 4.2 (controller).

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    start, reset : In(1)
        Strobes from the host.
    parameters : In(ParameterLayout)
        What the run is; constant from ``start`` to the end.
    state : Out(State)
        What the core does.
    error : Out(ErrorLayout)
        Why it stopped; cause NONE if it did not.
    token_count : Out(16)
        Tokens generated in this run.
    done_stb, error_stb, token_stb : Out(1)
        Events for the interrupt.
    program_requests : Out(stream of {address, beats}), program_beats : In(stream of ddr_bits)
        Reads the program.
    program_write, program_address, program_word : Out
        Write port of the instruction memory.
    prompt_requests : Out(stream of {address}), prompt_ids : In(stream of 32 bits)
        Reads a token id of the prompt.
    token_ids : Out(stream of 17 bits)
        The token id of each position, to the unit that loads its embedding.
    results : In(stream of {id, found})
        Arg max of a position; always taken.
    output_writes : Out(stream of {address, data})
        Writes a generated token id.
    sequencing : In(1)
        A sequencer runs, or has an instruction to hand over.
    busy : In(1)
        A unit has work, or a memory owes an answer.
    begin_stb : Out(1)
        A run begins.
    start_stb : Out(1)
        The sequencers begin.
    halt, stop, clear : Out(1)
        Sequencers stop; the DMA stops and drains; everything behind the ports is reset.
    drained : In(1)
        No memory port owes anything.
    fault : In(ErrorLayout)
        An error, if its cause is not NONE.
    progress : In(1)
        Something moved; keeps the watchdog quiet.
    owing : In(ErrorLayout)
        What the watchdog reports.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "start": In(1),
            "reset": In(1),
            "parameters": In(ParameterLayout),
            "state": Out(State),
            "error": Out(ErrorLayout),
            "token_count": Out(16),
            "done_stb": Out(1),
            "error_stb": Out(1),
            "token_stb": Out(1),
            "program_requests": Out(stream.Signature(
                data.StructLayout({"address": ADDRESS, "beats": 16}))),
            "program_beats": In(stream.Signature(config.ddr_bits)),
            "program_write": Out(1),
            "program_address": Out(range(config.instructions)),
            "program_word": Out(INSTRUCTION_BITS),
            "prompt_requests": Out(stream.Signature(ADDRESS)),
            "prompt_ids": In(stream.Signature(32)),
            "token_ids": Out(stream.Signature(LENGTH)),
            "results": In(stream.Signature(
                data.StructLayout({"id": LENGTH, "found": 1}))),
            "output_writes": Out(stream.Signature(
                data.StructLayout({"address": ADDRESS, "data": 32}))),
            "sequencing": In(1),
            "busy": In(1),
            "begin_stb": Out(1),
            "start_stb": Out(1),
            "halt": Out(1),
            "stop": Out(1),
            "clear": Out(1),
            "drained": In(1),
            "fault": In(ErrorLayout),
            "progress": In(1),
            "owing": In(ErrorLayout),
        })

    def elaborate(self, platform):
        m = Module()
        parameters = self.parameters
        state = self.state
        error = Signal.like(self.error)
        ending = Signal()  # where STOPPING leads to: 1 DONE, 0 IDLE
        fault = Signal.like(self.error)
        finish = Signal()  # the end-of-text id came
        m.d.comb += self.error.eq(error)

        loaded = self._load_program(m, state)
        token_fault = self._feed_tokens(m, state, finish)

        # The watchdog counts cycles in which nothing moved.
        idle_cycles = Signal(32)
        expired = Signal()
        working = Signal()
        m.d.comb += [
            working.eq((state == State.LOADING) | (state == State.RUNNING)
                       | (state == State.FINISHING)),
            expired.eq((idle_cycles == parameters.watchdog) & (parameters.watchdog != 0)),
        ]
        with m.If(self.progress | ~working):
            m.d.sync += idle_cycles.eq(0)
        with m.Else():
            m.d.sync += idle_cycles.eq(idle_cycles + 1)

        # The first error is kept. A fault of a unit comes before the watchdog, which follows it.
        with m.If(self.fault.cause != Cause.NONE):
            m.d.comb += fault.eq(self.fault)
        with m.Elif(token_fault.cause != Cause.NONE):
            m.d.comb += fault.eq(token_fault)
        with m.Elif(expired):
            m.d.comb += fault.eq(self.owing)

        m.d.comb += [
            self.begin_stb.eq(self.start & ~self.reset
                              & ((state == State.IDLE) | (state == State.DONE))),
            self.stop.eq((state == State.FAILED) | (state == State.STOPPING) | self.begin_stb),
            self.halt.eq(self.stop),
        ]
        with m.If(working & (fault.cause != Cause.NONE)):
            m.d.comb += self.error_stb.eq(1)
            m.d.sync += [state.eq(State.FAILED), error.eq(fault)]
        with m.Elif(self.reset):
            m.d.sync += [state.eq(State.STOPPING), ending.eq(0)]
        with m.Else():
            with m.Switch(state):
                with m.Case(State.IDLE, State.DONE):
                    with m.If(self.begin_stb):
                        m.d.comb += self.clear.eq(1)
                        m.d.sync += [
                            state.eq(State.LOADING),
                            error.eq(0),
                            self.token_count.eq(0),
                        ]
                with m.Case(State.LOADING):
                    with m.If(loaded):
                        m.d.comb += self.start_stb.eq(1)
                        m.d.sync += state.eq(State.RUNNING)
                with m.Case(State.RUNNING):
                    with m.If(finish):
                        m.d.sync += [state.eq(State.STOPPING), ending.eq(1)]
                    with m.Elif(~self.sequencing & ~self.start_stb):
                        m.d.sync += state.eq(State.FINISHING)
                with m.Case(State.FINISHING):
                    with m.If(finish):
                        m.d.sync += [state.eq(State.STOPPING), ending.eq(1)]
                    with m.Elif(~self.busy & ~self.output_writes.valid & ~self.results.valid):
                        m.d.comb += self.done_stb.eq(1)
                        m.d.sync += state.eq(State.DONE)
                with m.Case(State.STOPPING):
                    # The last token is on its way to DDR before the ports are drained.
                    with m.If(self.drained):
                        m.d.comb += self.clear.eq(1)
                        with m.If(ending):
                            m.d.comb += self.done_stb.eq(1)
                            m.d.sync += state.eq(State.DONE)
                        with m.Else():
                            m.d.sync += [state.eq(State.IDLE), error.eq(0)]
        return m

    def _load_program(self, m, state):
        """Reads the program; returns the signal that says it is in the instruction memory."""
        beat_bits = self._config.ddr_bits
        parameters = self.parameters
        loaded = Signal()
        requested = Signal()
        address = Signal(range(self._config.instructions + 1))
        per_beat = max(1, beat_bits // INSTRUCTION_BITS)   # instructions in a beat
        beats = max(1, INSTRUCTION_BITS // beat_bits)      # beats in an instruction
        m.d.comb += [
            self.program_requests.p.address.eq(parameters.program_base),
            self.program_requests.p.beats.eq(
                ((parameters.program_length + per_beat - 1) >> exact_log2(per_beat))
                << exact_log2(beats)),
            self.program_requests.valid.eq((state == State.LOADING) & ~requested),
            self.program_address.eq(address),
            loaded.eq(address >= parameters.program_length),
        ]
        part = Signal(range(max(per_beat, beats)))
        with m.If(self.clear):
            m.d.sync += [requested.eq(0), address.eq(0), part.eq(0)]
        with m.If(self.program_requests.valid & self.program_requests.ready):
            m.d.sync += requested.eq(1)

        last = Signal()
        m.d.comb += last.eq(part == max(per_beat, beats) - 1)
        beat = self.program_beats.payload
        taken = Signal()
        m.d.comb += taken.eq(self.program_beats.valid & (state == State.LOADING))
        if beats > 1:  # gather an instruction from several beats
            gathered = Signal(INSTRUCTION_BITS - beat_bits, reset_less=True)
            m.d.comb += [
                self.program_beats.ready.eq(state == State.LOADING),
                self.program_word.eq(Cat(gathered, beat)),
                self.program_write.eq(taken & last),
            ]
            with m.If(taken):
                m.d.sync += [
                    gathered.eq(Cat(gathered, beat) >> beat_bits),
                    part.eq(Mux(last, 0, part + 1)),
                ]
        else:  # split a beat into instructions
            words = data.View(data.ArrayLayout(INSTRUCTION_BITS, per_beat), beat)
            m.d.comb += [
                self.program_beats.ready.eq((state == State.LOADING) & last),
                self.program_word.eq(words[part] if per_beat > 1 else words[0]),
                self.program_write.eq(taken & (address < parameters.program_length)),
            ]
            with m.If(taken):
                m.d.sync += part.eq(Mux(last, 0, part + 1))
        with m.If(self.program_write):
            m.d.sync += address.eq(address + 1)
        return loaded

    def _feed_tokens(self, m, state, finish):
        """Hands the token id of each position on; returns the fault, if an id is none."""
        parameters = self.parameters
        position = Signal(16)        # whose id is handed on next
        result_position = Signal(16)  # whose arg max comes next
        held = Signal()
        identity = Signal(LENGTH, reset_less=True)
        asked = Signal()
        in_prompt = Signal()
        read_id = Signal(32)
        fault = Signal.like(self.error)
        m.d.comb += in_prompt.eq(position < parameters.input_count)

        m.d.comb += [
            self.results.ready.eq(1),
            self.token_ids.p.eq(identity),
            self.token_ids.valid.eq(held),
            self.prompt_requests.p.eq(parameters.token_base + (position << 2)),
            self.prompt_requests.valid.eq((state == State.RUNNING) & in_prompt & ~held & ~asked),
            self.prompt_ids.ready.eq(asked),
            read_id.eq(self.prompt_ids.payload),
        ]
        with m.If(self.token_ids.valid & self.token_ids.ready):
            m.d.sync += [held.eq(0), position.eq(position + 1)]
        with m.If(self.prompt_requests.valid & self.prompt_requests.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.prompt_ids.valid & self.prompt_ids.ready):
            m.d.sync += [asked.eq(0), held.eq(1), identity.eq(read_id)]
            with m.If(read_id >= parameters.vocabulary):
                m.d.comb += [fault.cause.eq(Cause.TOKEN_RANGE), fault.place.eq(position)]

        # A generated id goes to DDR and to the next position.
        output = Signal(32, reset_less=True)
        output_address = Signal(ADDRESS, reset_less=True)
        writing = Signal()
        m.d.comb += [
            self.output_writes.p.address.eq(output_address),
            self.output_writes.p.data.eq(output),
            self.output_writes.valid.eq(writing),
        ]
        with m.If(self.output_writes.valid & self.output_writes.ready):
            m.d.sync += writing.eq(0)
        with m.If(self.results.valid):
            result = self.results.p
            m.d.comb += self.token_stb.eq(result.found)
            m.d.sync += [
                held.eq(1),
                identity.eq(result.id),
                result_position.eq(result_position + 1),
                output.eq(result.id),
                output_address.eq(parameters.output_base + (self.token_count << 2)),
                writing.eq(1),
                self.token_count.eq(self.token_count + 1),
            ]
            with m.If(~result.found):
                m.d.comb += [
                    fault.cause.eq(Cause.NUMERIC),
                    fault.place.eq(result_position + parameters.input_count - 1),
                ]
                m.d.sync += [writing.eq(0), held.eq(0), self.token_count.eq(self.token_count)]

        # The end-of-text id ends the run once it is on its way to DDR.
        ended = Signal()
        with m.If(self.results.valid & self.results.p.found & parameters.end_of_text_enable
                  & (self.results.p.id == parameters.end_of_text)):
            m.d.sync += ended.eq(1)
        m.d.comb += finish.eq(ended & ~writing)

        with m.If(self.clear):
            m.d.sync += [
                position.eq(parameters.first_position), result_position.eq(0), held.eq(0),
                asked.eq(0), writing.eq(0), ended.eq(0),
            ]
        return fault
