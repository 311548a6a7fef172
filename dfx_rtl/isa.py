"""The instruction set, once, as data: RTL, assembler, numpy machine and documents derive from it.

An instruction is 256 bits: an opcode and the fields of its format, least significant first. The
paper's three types (compute, dma, router; section 4.2) are kept; compute has a matrix and a vector
format, and a fourth type, flow, marks the loops over tokens and layers.

Addresses: a *chunk* names a word of the vector register file, a *scalar* one of the scalar
register file, a *tile* a tile of HBM (the same word of every channel), an *address* a byte of DDR.
"""

import enum
from dataclasses import dataclass, field

from amaranth.lib import data

__all__ = [
    "ADDRESS", "CHUNK", "FORMATS", "INSTRUCTION_BITS", "LENGTH", "OPCODE", "SCALAR", "TAG", "TILE",
    "TILES", "Field", "Index", "Instruction", "Opcode",
    "Unit", "layout", "unit_of",
]

INSTRUCTION_BITS = 256
OPCODE = 6
CHUNK = 12
SCALAR = 8
LENGTH = 17
TILE = 32
TILES = 24
ADDRESS = 40


class Opcode(enum.IntEnum):
    """What an instruction does. 0 is illegal, so that empty memory cannot run."""

    # compute, matrix: paper section 4.2
    CONV1D = 1
    MASKED_MM = 2
    MM = 3
    # compute, vector
    ADD = 8
    SUB = 9
    MUL = 10
    EXP = 11
    MOVE = 12
    ACCUM = 13
    SCALAR_MOVE = 14
    SCALAR_ADD = 15
    SCALAR_SUB = 16
    SCALAR_MUL = 17
    RECIP = 18
    RECIP_SQRT = 19
    LAYERNORM = 20
    SOFTMAX = 21
    RSTD = 22
    # dma
    LOAD = 32
    STORE_KEY = 33
    STORE_VALUE = 34
    STORE = 35
    COPY = 36
    # router
    SYNC = 40
    ARG_MAX = 41
    # flow
    TOKEN = 48
    LAYER = 49
    NEXT_LAYER = 50
    LM_HEAD = 51
    END = 52


class Unit(enum.IntEnum):
    """The queues that instructions go to. Within a unit they execute in order."""

    MPU = 0
    VPU = 1
    LOAD = 2
    STORE = 3
    ROUTER = 4


class Index(enum.IntEnum):
    """What multiplies the stride of a DDR address."""

    NONE = 0
    TOKEN = 1
    POSITION = 2
    LAYER = 3


@dataclass(frozen=True)
class Field:
    """One field of a format: its name, its width in bits, what it means."""

    name: str
    width: int
    doc: str


FORMATS = {
    "matrix": (
        Field("opcode", OPCODE, "CONV1D, MASKED_MM or MM"),
        Field("destination", CHUNK, "first chunk of the result, if `write`"),
        Field("source", CHUNK, "first chunk of the input vector"),
        Field("rows", LENGTH, "valid values of the input vector"),
        Field("columns", LENGTH, "valid results"),
        Field("block", 6, "column groups in a zig-zag block, 1..32; the last block may be short"),
        Field("tile", TILE, "first tile of the operand in HBM; tiles follow in the order block, "
                            "row, group"),
        Field("tiles", TILES, "tiles in all, or tiles a step if rows or columns follow the "
                              "position"),
        Field("layer_relative", 1, "`tile` counts from the base of the layer"),
        Field("rows_from_position", 1, "rows = position + 1; a step is a chunk of d positions"),
        Field("columns_from_position", 1, "columns = position + 1; a step is a group of l "
                                          "positions"),
        Field("transposed", 1, "tiles are in V's order: a row's l values side by side"),
        Field("key_value", 1, "the fetch waits until every earlier store of K, or of V if "
                              "`transposed`, is acknowledged"),
        Field("first", 1, "the accumulators start at zero"),
        Field("last", 1, "the accumulators leave through the output pass; without it they stay"),
        Field("write", 1, "the results go to the vector register file"),
        Field("scale_enable", 1, "the sum is multiplied by a scalar"),
        Field("scale", SCALAR, "that scalar"),
        Field("bias_enable", 1, "a bias vector is added"),
        Field("bias", CHUNK, "its first chunk"),
        Field("residual_enable", 1, "a residual vector is added"),
        Field("residual", CHUNK, "its first chunk"),
        Field("gelu", 1, "GELU of the rounded result"),
        Field("mask", 1, "results beyond the valid ones are -infinity, not +0"),
        Field("maximum_enable", 1, "the maximum of the valid results, as stored, goes to a scalar"),
        Field("maximum", SCALAR, "that scalar"),
        Field("arg_max", 1, "the index of the largest result, in binary32, is the next token, or "
                            "in a ring the core's candidate"),
        Field("logits", 1, "the results are written to DDR in binary32"),
        Field("token_rows", 4, "token rows that share the weights: 1"),
        Field("arg_max_base", LENGTH, "added to the index that `arg_max` finds: the first column's "
                                      "place among those of all cores"),
    ),
    "vector": (
        Field("opcode", OPCODE, "ADD .. RSTD"),
        Field("destination", CHUNK, "first chunk of the result"),
        Field("source1", CHUNK, "first chunk of the first operand"),
        Field("source2", CHUNK, "first chunk of the second operand (LAYERNORM: gamma)"),
        Field("source3", CHUNK, "LAYERNORM: first chunk of beta"),
        Field("scalar_enable", 1, "the second operand is `scalar_source2`"),
        Field("immediate_enable", 1, "the second operand is `immediate0`"),
        Field("scalar_destination", SCALAR, "scalar result (ACCUM, SCALAR_*, RECIP*, RSTD, "
                                            "SOFTMAX: 1 / sum)"),
        Field("scalar_source1", SCALAR, "first scalar operand (SOFTMAX: the row's maximum)"),
        Field("scalar_source2", SCALAR, "second scalar operand"),
        Field("length", LENGTH, "valid values"),
        Field("length_from_position", 1, "length = position + 1"),
        Field("immediate0", 32, "binary32 (LAYERNORM: 1/n)"),
        Field("immediate1", 32, "binary32 (LAYERNORM, RSTD: 1/n^2)"),
        Field("immediate2", 32, "binary32 (LAYERNORM, RSTD: epsilon)"),
    ),
    "dma": (
        Field("opcode", OPCODE, "LOAD .. COPY"),
        Field("chunk", CHUNK, "first chunk in the vector register file"),
        Field("chunks", CHUNK, "chunks (STORE_KEY, STORE_VALUE: of each head)"),
        Field("address", ADDRESS, "DDR byte address, a multiple of a DDR beat and of a chunk"),
        Field("stride", 24, "bytes that the index moves the address by"),
        Field("index", 2, "what multiplies the stride: 0 nothing, 1 token id, 2 position, 3 layer"),
        Field("tile", TILE, "first tile in HBM"),
        Field("tiles", TILES, "COPY: tiles; STORE_*: tiles from one head's region to the next"),
        Field("layer_relative", 1, "`tile` counts from the base of the layer"),
        Field("heads", 8, "STORE_*: heads"),
        Field("groups", 8, "STORE_VALUE: column groups of a head"),
    ),
    "router": (
        Field("opcode", OPCODE, "SYNC or ARG_MAX"),
        Field("source", CHUNK, "SYNC: first chunk of the core's own share, which is in its place "
                               "in the vector"),
        Field("chunks", CHUNK, "SYNC: chunks of the own share; may be 0"),
        Field("destination", CHUNK, "SYNC: first chunk of the whole vector"),
        Field("total", CHUNK, "SYNC: chunks of the whole vector"),
    ),
    "flow": (
        Field("opcode", OPCODE, "TOKEN .. END"),
    ),
}

# Which write carries what: the token position, the layer and the place of the instruction in the
# program. Every write of a unit carries it to the trace port.
TAG = data.StructLayout({"instruction": 12, "layer": 8, "position": 16})


def _format_of(opcode):
    opcode = Opcode(opcode)
    if opcode <= Opcode.MM:
        return "matrix"
    if opcode <= Opcode.RSTD:
        return "vector"
    if opcode <= Opcode.COPY:
        return "dma"
    if opcode <= Opcode.ARG_MAX:
        return "router"
    return "flow"


def unit_of(opcode):
    """The unit whose queue an instruction goes to; None for flow instructions."""
    return {
        "matrix": Unit.MPU, "vector": Unit.VPU, "router": Unit.ROUTER, "flow": None,
        "dma": Unit.LOAD if opcode in (Opcode.LOAD, Opcode.COPY) else Unit.STORE,
    }[_format_of(opcode)]


def layout(name):
    """The :class:`amaranth.lib.data.StructLayout` of a format, padded to a whole instruction."""
    members = {entry.name: entry.width for entry in FORMATS[name]}
    padding = INSTRUCTION_BITS - sum(members.values())
    assert padding >= 0, name
    return data.StructLayout({**members, "unused": padding})


@dataclass(frozen=True)
class Instruction:
    """One instruction: an opcode and its fields; fields that are not given are 0.

    Raises
    ------
    ValueError
        If a field does not belong to the format of the opcode, or its value does not fit.
    """

    opcode: Opcode
    fields: dict = field(default_factory=dict)

    def __init__(self, opcode, **fields):
        object.__setattr__(self, "opcode", Opcode(opcode))
        known = {entry.name: entry.width for entry in self.format if entry.name != "opcode"}
        for name, value in fields.items():
            if name not in known:
                raise ValueError(f"{self.opcode.name} has no field {name!r}: expected one of "
                                 f"{', '.join(known)}")
            if not 0 <= int(value) < 1 << known[name]:
                raise ValueError(f"{self.opcode.name}.{name} must be in 0..{(1 << known[name]) - 1}"
                                 f", not {value!r}")
        object.__setattr__(self, "fields", {name: int(fields.get(name, 0)) for name in known})

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def format_name(self):
        """The name of the format: a key of :data:`FORMATS`."""
        return _format_of(self.opcode)

    @property
    def format(self):
        """The fields of the format."""
        return FORMATS[self.format_name]

    @property
    def unit(self):
        """The unit that executes the instruction; None for flow."""
        return unit_of(self.opcode)

    def encode(self):
        """The instruction as an integer of 256 bits."""
        word, offset = 0, 0
        for entry in self.format:
            value = int(self.opcode) if entry.name == "opcode" else self.fields[entry.name]
            word |= value << offset
            offset += entry.width
        return word

    @classmethod
    def decode(cls, word):
        """The instruction that an integer of 256 bits encodes.

        Raises
        ------
        ValueError
            If the opcode is none.
        """
        opcode = word & ((1 << OPCODE) - 1)
        if opcode not in Opcode._value2member_map_:
            raise ValueError(f"{opcode:#x} is no opcode")
        fields, offset = {}, 0
        for entry in FORMATS[_format_of(opcode)]:
            if entry.name != "opcode":
                fields[entry.name] = (word >> offset) & ((1 << entry.width) - 1)
            offset += entry.width
        return cls(opcode, **fields)

    def __str__(self):
        given = ", ".join(f"{name}={value}" for name, value in self.fields.items() if value)
        return f"{self.opcode.name.lower()} {given}".rstrip()
