"""Writes docs/isa.md from dfx_rtl/isa.py: ``python scripts/isa_doc.py [--check]``."""

import argparse
import sys
from pathlib import Path

from dfx_rtl.isa import FORMATS, INSTRUCTION_BITS, Index, Instruction, Opcode

TARGET = Path(__file__).resolve().parent.parent / "docs" / "isa.md"

INTRODUCTION = f"""\
# The instruction set

This page is written by `python scripts/isa_doc.py` from `dfx_rtl/isa.py`; change it there.

An instruction has {INSTRUCTION_BITS} bits: an opcode and the fields of its format, the first field
in the least significant bits. It is stored little-endian, 32 bytes an instruction. Bits behind the
last field are 0. The types are those of the paper (section 4.2): compute (here *matrix* and
*vector*), *dma* and *router*; a fourth, *flow*, marks the loops. d is the length of the dot product
and of a chunk of the vector register file, l the number of lanes.

What the units compute, rounding by rounding, is executed by `dfx_rtl/model`; the tests hold the
hardware against it.

## A program

```
setup instructions             once a run
TOKEN
    the token's prologue       once a position
LAYER
    a layer                    layers times; the layer base moves on by the layer stride
NEXT_LAYER
    what follows the layers
LM_HEAD                        on a token of the prompt but the last: go on at END
    the LM head
END                            the next position, or the end of the run
```

Positions run from 0 to input count + max(output count, 1) - 2. With an output count of 0 the LM
head is left out at every position. Before the layers the layer number and the layer base are 0;
behind them they are those of the layer after the last.

Instructions are dispatched in program order. One waits at dispatch while a register that it writes
is still to be read or written by an earlier one; what it reads it waits for in its unit, chunk by
chunk. Units are the MPU, the VPU, LOAD (with COPY), STORE and the router; within a unit
instructions run in order. Tiles are fetched ahead of dispatch. A fetch with `key_value` waits until
every store of K, or with `transposed` of V, that stands before it in the program is acknowledged.

In a ring every core has a program of its own. They differ in sizes, addresses and in the order of
rows, and a core leaves out what it has no share of. All execute the same SYNC and ARG_MAX in the
same order, on the same registers.
"""

PROSE = {
    "matrix": """\
Column c is the exact sum over the valid rows i of x[i] * W[i][c]. Rows and columns that are not
valid are gated to +0 before they are multiplied. The tiles come in the order: for each block of
`block` column groups, for each chunk of rows, for each group of the block. In a tile, element
(lane j, row i) is number j * d + i, or with `transposed` number i * l + j.

The sum is rounded to binary32; then, each step rounded to binary32, `* scale`, `+ bias`,
`+ residual`, where enabled. The result is rounded to binary16, and GELU is taken of that. Results
that fill up the last chunk are +0, with `mask` -infinity. The maximum is that of the stored
binary16 values, NaN above all, -0 below +0. The arg max compares binary32 values, the lowest index
wins a tie, a NaN never wins.

A product may be several instructions on the same sums, the *segments*: `first` starts at zero,
`last` lets the sums leave. Segments have the same columns, at most `block` groups of them, and no
other matrix instruction between them. What follows the sum stands in the last.
""",
    "vector": """\
Operands are widened to binary32, every operation is rounded by itself, and what is stored is
rounded to binary16. Values beyond the length are +0 where they fill up the last chunk.
""",
    "dma": """\
An address moves with the index: `address + stride * index`. Tile t is word t of every channel: the
tile's bits in order, channel 0 first. K and V of a position p and a head h, with `tile` from the
layer's base on:

- `STORE_KEY`: chunk r of the head goes to tile `tile + h * tiles + (p // l) * chunks + r`, to its
  elements from `(p % l) * d` on.
- `STORE_VALUE`: group g of l values goes to tile `tile + h * tiles + (p // d) * groups + g`, to its
  elements from `(p % d) * l` on.
""",
    "router": """\
Only for several cores. In a SYNC every core has a share of the vector, perhaps none, and the shares
follow each other in the order of the cores. A core reads its own share from
[source, source + chunks), each chunk as soon as it is written, and sends it to all others; theirs
it writes to the rest of [destination, destination + total), which it claims. So the own share lies
within that range.

ARG_MAX follows a product with `arg_max` on every core and takes its result as the core's candidate.
The largest logit of all cores in binary32 wins, the lowest index wins a tie, +0 equals -0, and a
core of nothing but NaN has no candidate. It uses no operands.
""",
    "flow": "",
}

MEANING = {
    Opcode.CONV1D: "product with weights: Q, K, V, projection, feed-forward",
    Opcode.MASKED_MM: "scores: product with K, `mask` and maximum",
    Opcode.MM: "score x V; LM head",
    Opcode.ADD: "destination = source1 + second operand",
    Opcode.SUB: "destination = source1 - second operand",
    Opcode.MUL: "destination = source1 * second operand",
    Opcode.EXP: "destination = e ^ source1, correctly rounded to binary16",
    Opcode.MOVE: "destination = source1",
    Opcode.ACCUM: "scalar_destination = exact sum of source1, rounded once",
    Opcode.SCALAR_MOVE: "scalar_destination = scalar_source1 or immediate0",
    Opcode.SCALAR_ADD: "scalar_destination = scalar_source1 + (scalar_source2 or immediate0)",
    Opcode.SCALAR_SUB: "scalar_destination = scalar_source1 - (scalar_source2 or immediate0)",
    Opcode.SCALAR_MUL: "scalar_destination = scalar_source1 * (scalar_source2 or immediate0)",
    Opcode.RECIP: "scalar_destination = 1 / scalar_source1",
    Opcode.RECIP_SQRT: "scalar_destination = 1 / sqrt(scalar_source1)",
    Opcode.LAYERNORM: "with exact S1 = sum x, S2 = sum x^2: mean = S1 * immediate0, "
                      "var = (n * S2 - S1^2) * immediate1, destination = (x - mean) * "
                      "recip_sqrt(var + immediate2) * source2 + source3",
    Opcode.SOFTMAX: "destination = e ^ (source1 - scalar_source1), scalar_destination = "
                    "1 / exact sum of the destination",
    Opcode.RSTD: "with S1, S2 and var as in LAYERNORM: scalar_destination = "
                 "recip_sqrt(var + immediate2)",
    Opcode.LOAD: "chunks from DDR to the vector register file",
    Opcode.STORE_KEY: "a position's K of all heads to HBM",
    Opcode.STORE_VALUE: "a position's V of all heads to HBM",
    Opcode.STORE: "chunks from the vector register file to DDR",
    Opcode.COPY: "tiles from DDR to HBM",
    Opcode.SYNC: "every core's share of a vector, to every core",
    Opcode.ARG_MAX: "the best of all cores' candidates is the next token, on every core",
    Opcode.TOKEN: "the loop over positions starts here",
    Opcode.LAYER: "the loop over layers starts here",
    Opcode.NEXT_LAYER: "the loop over layers ends here",
    Opcode.LM_HEAD: "the part that most tokens of the prompt leave out starts here",
    Opcode.END: "the loop over positions ends here",
}


def document():
    """The text of docs/isa.md."""
    lines = [INTRODUCTION]
    for name, entries in FORMATS.items():
        lines.append(f"## Format: {name}\n")
        if PROSE[name]:
            lines.append(PROSE[name])
        lines += ["| opcode | | |", "|---|---|---|"]
        lines += [f"| {opcode.value} | `{opcode.name}` | {MEANING[opcode]} |" for opcode in Opcode
                  if Instruction(opcode).format_name == name]
        lines += ["", "| bits | field | |", "|---|---|---|"]
        offset = 0
        for entry in entries:
            end = offset + entry.width - 1
            bits = f"{end}:{offset}" if entry.width > 1 else f"{offset}"
            lines.append(f"| {bits} | `{entry.name}` | {entry.doc} |")
            offset += entry.width
        lines.append("")
    lines += ["## Index of a DDR address", "", "| value | |", "|---|---|"]
    lines += [f"| {index.value} | {index.name} |" for index in Index]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    options = parser.parse_args(arguments)
    if not options.check:
        TARGET.write_text(document())
    elif TARGET.read_text() != document():
        print(f"{TARGET} is not up to date: run python scripts/isa_doc.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
