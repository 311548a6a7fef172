"""What instructions touch."""

import pytest

from dfx_rtl.compiler.operands import operands_of
from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode

NANO = CONFIGS["nano"]


def touched(opcode, **fields):
    """(reads, writes) as sets of places: ``c`` chunks, ``s`` scalars, ``t`` tiles."""
    operands = operands_of(Instruction(opcode, **fields), NANO, 20)
    reads, writes = (
        {f"{letter}{place}" for letter, entries in zip("cst", lists, strict=True)
         for entry in entries for place in entry.places}
        for lists in ((operands.chunk_reads, operands.scalar_reads, operands.tile_reads),
                      (operands.chunk_writes, operands.scalar_writes, operands.tile_writes)))
    return reads, writes


def test_matrix():
    reads, writes = touched(
        Opcode.CONV1D, source=1, rows=9, columns=9, destination=10, write=1, bias_enable=1,
        bias=20, residual_enable=1, residual=30, scale_enable=1, scale=4, maximum_enable=1,
        maximum=5, tile=100, tiles=10, first=1, last=1)
    assert reads == {"c1", "c2", "c20", "c21", "c30", "c31", "s4", *(f"t{n}" for n in
                                                                     range(100, 110))}
    assert writes == {"c10", "c11", "s5"}
    reads, writes = touched(Opcode.MASKED_MM, source=1, rows=8, columns_from_position=1, tile=0,
                            tiles=1, destination=5, write=1, bias=9, scale=9)
    assert reads == {"c1", *(f"t{n}" for n in range(10))} and writes == {"c5", "c6", "c7"}
    reads, writes = touched(Opcode.MM, source=1, rows_from_position=1, columns=8, tile=0, tiles=4)
    assert reads == {"c1", "c2", "c3", *(f"t{n}" for n in range(12))} and writes == set()


@pytest.mark.parametrize("opcode, extra, reads, writes", [
    (Opcode.ADD, {}, {"c1", "c2", "c5", "c6"}, {"c10", "c11"}),
    (Opcode.SUB, {"scalar_enable": 1}, {"c1", "c2", "s3"}, {"c10", "c11"}),
    (Opcode.MUL, {"immediate_enable": 1}, {"c1", "c2"}, {"c10", "c11"}),
    (Opcode.EXP, {}, {"c1", "c2"}, {"c10", "c11"}),
    (Opcode.MOVE, {}, {"c1", "c2"}, {"c10", "c11"}),
    (Opcode.ACCUM, {}, {"c1", "c2"}, {"s1"}),
    (Opcode.SCALAR_MOVE, {}, {"s2"}, {"s1"}),
    (Opcode.SCALAR_MOVE, {"immediate_enable": 1}, set(), {"s1"}),
    (Opcode.SCALAR_ADD, {}, {"s2", "s3"}, {"s1"}),
    (Opcode.SCALAR_MUL, {"immediate_enable": 1}, {"s2"}, {"s1"}),
    (Opcode.RECIP, {}, {"s2"}, {"s1"}),
    (Opcode.RECIP_SQRT, {}, {"s2"}, {"s1"}),
    (Opcode.LAYERNORM, {}, {"c1", "c2", "c5", "c6", "c8", "c9"}, {"c10", "c11"}),
    (Opcode.RSTD, {}, {"c1", "c2"}, {"s1"}),
    (Opcode.SOFTMAX, {}, {"c1", "c2", "s2"}, {"c10", "c11", "s1"}),
])
def test_vector(opcode, extra, reads, writes):
    found = touched(opcode, destination=10, source1=1, source2=5, source3=8,
                    scalar_destination=1, scalar_source1=2, scalar_source2=3, length=9, **extra)
    assert found == (reads, writes)


def test_dma_and_router():
    assert touched(Opcode.LOAD, chunk=3, chunks=2) == (set(), {"c3", "c4"})
    assert touched(Opcode.STORE, chunk=3, chunks=2) == ({"c3", "c4"}, set())
    assert touched(Opcode.COPY, tile=3, tiles=2) == (set(), {"t3", "t4"})
    reads, writes = touched(Opcode.STORE_KEY, chunk=3, chunks=2, heads=2, tile=100, tiles=50)
    assert reads == {"c3", "c4", "c5", "c6"}
    assert writes == {f"t{n}" for n in (*range(100, 120), *range(150, 170))}
    reads, writes = touched(Opcode.STORE_VALUE, chunk=3, chunks=2, heads=2, groups=3, tile=100,
                            tiles=50)
    assert reads == {"c3", "c5"}
    assert writes == {f"t{n}" for n in (*range(100, 109), *range(150, 159))}
    assert touched(Opcode.ARG_MAX) == (set(), set())
    assert touched(Opcode.END) == (set(), set())


@pytest.mark.parametrize("source, chunks, reads, writes", [
    (8, 2, {"c8", "c9"}, {"c10", "c11", "c12"}),
    (9, 3, {"c9", "c10", "c11"}, {"c8", "c12"}),
    (12, 1, {"c12"}, {"c8", "c9", "c10", "c11"}),
    (10, 0, set(), {"c8", "c9", "c10", "c11", "c12"}),
    (13, 0, set(), {"c8", "c9", "c10", "c11", "c12"}),
    (8, 5, {"c8", "c9", "c10", "c11", "c12"}, set()),
])
def test_sync_reads_its_share_and_writes_the_rest(source, chunks, reads, writes):
    fields = {"source": source, "chunks": chunks, "destination": 8, "total": 5}
    assert touched(Opcode.SYNC, **fields) == (reads, writes)
    operands = operands_of(Instruction(Opcode.SYNC, **fields), NANO, 20)
    assert len(operands.chunk_writes) <= 2
    assert all(entry.count for entry in (*operands.chunk_reads, *operands.chunk_writes))
