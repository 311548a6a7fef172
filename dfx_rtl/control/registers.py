"""The registers that the host sees, once: hardware, driver and document derive from them."""

from ..bus.registers import Access, Field, Register, RegisterMap
from ..control.causes import Cause
from ..control.state import State
from .activity import Account
from .ring import FLIT_RUN

__all__ = ["IDENTIFIER", "REGISTERS", "COUNTERS"]

IDENTIFIER = 0x44465831  # "DFX1"


COUNTERS = ("CYCLES", *(f"MPU_{account.name}" for account in Account))

_RW, _RO = Access.READ_WRITE, Access.READ_ONLY


def _word(name, offset, access, doc, width=32, field="value", reset=0):
    return Register(name, offset, access, (Field(field, width, reset, doc),), doc)


def _long(name, offset, access, doc, high=8):
    return (
        _word(f"{name}_LOW", offset, access, f"{doc}, bits 31..0"),
        _word(f"{name}_HIGH", offset + 4, access, f"{doc}, the bits above", width=high),
    )


REGISTERS = RegisterMap((
    _word("IDENTIFIER", 0x000, _RO, f"{IDENTIFIER:#x}: a DFX core"),
    Register("SHAPE", 0x004, _RO, (
        Field("tile", 8, 0, "d, length of the dot product"),
        Field("lanes", 8, 0, "l, columns at once"),
        Field("channels", 8, 0, "HBM channels"),
    ), "what was built"),
    Register("CONTROL", 0x008, Access.WRITE_PULSE, (
        Field("start", 1, 0, "begin a run; ignored unless IDLE or DONE"),
        Field("reset", 1, 0, "soft reset: stop, drain the memory ports, go to IDLE"),
    ), "commands"),
    Register("STATUS", 0x00C, _RO, (
        Field("state", 3, 0, ", ".join(f"{state.value} {state.name}" for state in State)),
        Field("overflow", 1, 0, "some result became infinite since the start"),
        Field("invalid", 1, 0, "some operation was invalid (inf - inf, 0 x inf, a NaN) since the "
                               "start"),
    ), "what the core does"),
    Register("ERROR", 0x010, _RO, (
        Field("place", 16, 0, "channel, instruction, position, unit or direction: see the cause"),
        Field("cause", 5, 0, ", ".join(f"{cause.value} {cause.name}" for cause in Cause)),
        Field("response", 2, 0, "the AXI response, where one is the cause"),
    ), "why it stopped"),
    _word("TOKENS", 0x014, _RO, "tokens generated in this run", width=16, field="count"),
    Register("INTERRUPT_ENABLE", 0x018, _RW, (
        Field("done", 1, 0, "the run ended"),
        Field("error", 1, 0, "the core stopped with an error"),
        Field("token", 1, 0, "a token was generated"),
    ), "which events raise the interrupt"),
    Register("INTERRUPT_STATUS", 0x01C, Access.WRITE_ONE_TO_CLEAR, (
        Field("done", 1, 0, "the run ended"),
        Field("error", 1, 0, "the core stopped with an error"),
        Field("token", 1, 0, "a token was generated"),
    ), "events since they were cleared"),

    _word("CORE_ID", 0x040, _RW, "this core's place in the ring (for the host's information)",
          width=4),
    _word("CORE_COUNT", 0x044, _RW, "cores in the ring, 1 to 8", width=4, reset=1),
    _word("LAYERS", 0x048, _RW, "decoder layers", width=8),
    _word("HEADS", 0x04C, _RW, "attention heads (for the host's information)", width=8),
    _word("EMBEDDING", 0x050, _RW, "embedding size (for the host's information)", width=16),
    _word("VOCABULARY", 0x054, _RW, "number of tokens; a greater id is an error", width=17),
    _word("INPUT_COUNT", 0x058, _RW, "tokens of the prompt, those before FIRST_POSITION included",
          width=16),
    _word("OUTPUT_COUNT", 0x05C, _RW, "tokens to generate; 0 runs the prompt only", width=16),
    Register("END_OF_TEXT", 0x060, _RW, (
        Field("id", 17, 0, "a generated token with this id ends the run"),
        Field("enable", 1, 0, "whether there is one"),
    ), "early end"),
    _word("PROGRAM_LENGTH", 0x064, _RW, "instructions in the program", width=13),
    _word("LAYER_STRIDE", 0x068, _RW, "tiles of HBM from one layer's block to the next"),
    _word("LOGITS_STRIDE", 0x06C, _RW, "bytes of DDR from one token's logits to the next"),
    _word("WATCHDOG", 0x070, _RW, "cycles without progress that are an error; 0 never",
          reset=1 << 16),
    _word("FIRST_POSITION", 0x074, _RW, "where the run begins; the caches hold the positions "
                                        "before it from an earlier run", width=16),
    Register("RING", 0x078, _RW, (
        Field("bidirectional", 1, 0, "chunks go both ways round the ring"),
        Field("run", FLIT_RUN, 0, "number of the run: the same on all cores, another than of any "
                                  "core's last run"),
    ), "how the cores of a ring work together; all must have stopped before one starts"),
    *_long("PROGRAM_BASE", 0x080, _RW, "DDR address of the program"),
    *_long("TOKEN_BASE", 0x088, _RW, "DDR address of the prompt's token ids, 32 bits each"),
    *_long("OUTPUT_BASE", 0x090, _RW, "DDR address of the generated token ids, 32 bits each"),
    *_long("LOGITS_BASE", 0x098, _RW, "DDR address of the logits, binary32"),

    *(register for index, name in enumerate(COUNTERS)
      for register in _long(name, 0x100 + 8 * index, _RO,
                            "cycles since the start" if index == 0 else
                            f"of them, cycles of the MPU: {list(Account)[index - 1].doc}", 16)),
))
