"""The host of a core that has none: a line of text comes in, the text that goes on from it out."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dfx_rtl.bus.axi import AxiLiteSignature
from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.control.state import State

from .memory import WordSignature
from .script import start_script

__all__ = ["Console"]

_RETURN, _NEWLINE, _ALARM = (ord(character) for character in "\r\n!")
#: Characters of a byte: those beyond have no id.
_CODES = 256

_EntryLayout = data.StructLayout({"known": 1, "id": 8})
_ScriptLayout = data.StructLayout({
    "offset": REGISTERS.address_width, "word": 32, "input_count": 1, "output_count": 1})


class Console(wiring.Component):
    """Maps characters to ids, starts runs, and sends the characters of the ids that come.

    Each character of the prompt that the vocabulary has is echoed; others are ignored, and so is
    what comes behind the longest prompt. A carriage return or a line feed starts the run, if there
    is a prompt, which goes on until the model's positions are full. Then CR and LF follow, and the
    next prompt may come. A core that stops with an error gives ``!`` and its cause in two
    hexadecimal digits, CR and LF.

    Source of the registers' values: the host's driver, see :mod:`.script`.

    Parameters
    ----------
    run : RunParameters
        Of the compiled model.
    vocabulary : list of str
        The token of each id, a character each.
    memory_address_width, memory_data_width : int
        Of the memory beside the core, in words and bits.

    Members
    -------
    typed, shown : In(stream), Out(stream) of bytes
    registers : Out(AxiLiteSignature)
        To the core.
    words : Out(WordSignature)
        To the memory beside the core.

    Raises
    ------
    ValueError
        If a token is not one character of a byte, or there are more than 256.
    """

    def __init__(self, run, vocabulary, memory_address_width, memory_data_width):
        for token, text in enumerate(vocabulary):
            if len(text) != 1 or ord(text) >= _CODES:
                raise ValueError(f"token {token} must be one character of a byte, not {text!r}")
        if len(vocabulary) > _CODES:
            raise ValueError(f"vocabulary must have at most {_CODES} tokens, "
                             f"not {len(vocabulary)}")
        self._run = run
        self._characters = [ord(text) for text in vocabulary]
        self._script = start_script(run)
        super().__init__({
            "typed": In(stream.Signature(8)),
            "shown": Out(stream.Signature(8)),
            "registers": Out(AxiLiteSignature(REGISTERS.address_width)),
            "words": Out(WordSignature(memory_address_width, memory_data_width)),
        })

    def _roms(self, m):
        """Characters to ids, ids to characters, and the register writes."""
        entries = [{"known": 0, "id": 0}] * _CODES
        for token, code in enumerate(self._characters):
            entries[code] = {"known": 1, "id": token}
        script = [{"offset": write.offset, "word": write.word,
                   "input_count": write.name == "INPUT_COUNT",
                   "output_count": write.name == "OUTPUT_COUNT"} for write in self._script]
        ports = []
        for name, shape, init in (("ids", _EntryLayout, entries),
                                  ("characters", 8, self._characters),
                                  ("script", _ScriptLayout, script)):
            rom = memory.Memory(shape=shape, depth=len(init), init=init)
            m.submodules[name] = rom
            ports.append(rom.read_port())
        return ports

    def elaborate(self, platform):
        m = Module()
        ids, characters, script = self._roms(m)
        run, registers, words = self._run, self.registers, self.words
        positions = run.positions
        prompt_count = Signal(range(positions + 1))
        sent = Signal(range(positions + 2))
        count = Signal(32)
        state = Signal(State)
        step = Signal(range(len(self._script) + 1))
        code = Signal(8)
        cause = Signal(8)
        # What the state SHOW sends, and where it goes on.
        pending = Signal(8)

        lane_bits = exact_log2(len(words.data) // 32)

        def word(base, index):
            """The word and the place in it of a 32-bit value in memory."""
            place = Signal(len(words.address) + lane_bits, name="place")
            m.d.comb += place.eq(base // 4 + index)
            return place[lane_bits:], place[:lane_bits]

        prompt_word, prompt_lane = word(run.token_base, prompt_count)
        output_word, output_lane = word(run.output_base, sent)

        m.d.comb += [
            ids.addr.eq(self.typed.payload),
            script.addr.eq(step),
            characters.addr.eq(words.result.word_select(output_lane, 32)),
            registers.awaddr.eq(script.data.offset),
            registers.wdata.eq(script.data.word),
            registers.wstrb.eq(~0),
            registers.bready.eq(1),
            registers.rready.eq(1),
            words.data.eq(Cat(ids.data.id, C(0, 24)).replicate(len(words.data) // 32)),
            words.strobe.eq(C(0xF, 4) << (4 * prompt_lane)),
        ]
        with m.If(script.data.input_count):
            m.d.comb += registers.wdata.eq(prompt_count)
        with m.Elif(script.data.output_count):
            m.d.comb += registers.wdata.eq(positions + 1 - prompt_count)
        for valid, ready in ((registers.awvalid, registers.awready),
                             (registers.wvalid, registers.wready),
                             (registers.arvalid, registers.arready)):
            with m.If(ready):
                m.d.sync += valid.eq(0)

        def read(name, then):
            """A state that reads a register, and one that takes what comes."""
            with m.State(f"READ_{name}"):
                m.d.sync += [registers.araddr.eq(REGISTERS[name].offset), registers.arvalid.eq(1)]
                m.next = f"TAKE_{name}"
            with m.State(f"TAKE_{name}"), m.If(registers.rvalid):
                register = REGISTERS[name]
                then(data.View(register.layout, registers.rdata[:register.width]))

        def show(name, value, following):
            """States that send a byte."""
            with m.State(name):
                m.d.sync += pending.eq(value)
                m.next = f"{name}_SENT"
            with m.State(f"{name}_SENT"):
                m.d.comb += [self.shown.valid.eq(1), self.shown.payload.eq(pending)]
                with m.If(self.shown.ready):
                    m.next = following

        with m.FSM():
            with m.State("PROMPT"):
                # The memory of ids answers a cycle later.
                with m.If(self.typed.valid):
                    m.d.sync += code.eq(self.typed.payload)
                    m.next = "TYPED"
            with m.State("TYPED"):
                m.d.comb += self.typed.ready.eq(1)
                with m.If((code == _RETURN) | (code == _NEWLINE)):
                    m.d.sync += [step.eq(0), sent.eq(0)]
                    with m.If(prompt_count != 0):
                        m.next = "SCRIPT"
                    with m.Else():
                        m.next = "PROMPT"
                with m.Elif(ids.data.known & (prompt_count != positions)):
                    m.next = "STORE"
                with m.Else():
                    m.next = "PROMPT"
            with m.State("STORE"):
                m.d.comb += [words.valid.eq(1), words.write.eq(1), words.address.eq(prompt_word)]
                with m.If(words.ready):
                    m.d.sync += prompt_count.eq(prompt_count + 1)
                    m.next = "ECHO"
            show("ECHO", code, "PROMPT")

            with m.State("SCRIPT"):
                with m.If(step == len(self._script)):
                    m.next = "READ_STATUS"
                with m.Else():
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.sync += [registers.awvalid.eq(1), registers.wvalid.eq(1)]
                m.next = "WRITTEN"
            with m.State("WRITTEN"), m.If(registers.bvalid):
                m.d.sync += step.eq(step + 1)
                m.next = "SCRIPT"

            def status(fields):
                m.d.sync += state.eq(fields.state)
                m.next = "READ_TOKENS"
            read("STATUS", status)

            def tokens(fields):
                m.d.sync += count.eq(fields.count)
                m.next = "DECIDE"
            read("TOKENS", tokens)

            with m.State("DECIDE"):
                # The last id may still be on its way to the memory.
                with m.If(sent + (state != State.DONE) < count):
                    m.next = "FETCH"
                with m.Elif(state == State.DONE):
                    m.d.sync += prompt_count.eq(0)
                    m.next = "END_RETURN"
                with m.Elif(state == State.FAILED):
                    m.next = "READ_ERROR"
                with m.Else():
                    m.next = "READ_STATUS"
            with m.State("FETCH"):
                m.d.comb += [words.valid.eq(1), words.address.eq(output_word)]
                with m.If(words.ready):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                m.next = "TOKEN"
            show("TOKEN", characters.data, "TOKEN_DONE")
            with m.State("TOKEN_DONE"):
                m.d.sync += sent.eq(sent + 1)
                m.next = "READ_STATUS"
            show("END_RETURN", _RETURN, "END_NEWLINE")
            show("END_NEWLINE", _NEWLINE, "PROMPT")

            def error(fields):
                m.d.sync += [cause.eq(fields.cause), prompt_count.eq(0)]
                m.next = "ALARM"
            read("ERROR", error)
            digit = Array(ord(character) for character in "0123456789abcdef")
            show("ALARM", _ALARM, "CAUSE_HIGH")
            show("CAUSE_HIGH", digit[cause[4:]], "CAUSE_LOW")
            show("CAUSE_LOW", digit[cause[:4]], "END_RETURN")
        return m
