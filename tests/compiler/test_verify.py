"""The assembler's check: a right program passes, and each mistake is named."""

import pytest

from dfx_rtl.compiler import CompileError, verify
from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode

NANO = CONFIGS["nano"]
FLOW = (Opcode.TOKEN, Opcode.LAYER, Opcode.NEXT_LAYER, Opcode.LM_HEAD, Opcode.END)


def product(opcode=Opcode.CONV1D, **fields):
    return Instruction(opcode, **{
        "source": 0, "rows": 8, "columns": 8, "block": 4, "tile": 0, "tiles": 4, "first": 1,
        "last": 1, "write": 1, "destination": 1, "layer_relative": 1, "token_rows": 1} | fields)


def load(**fields):
    return Instruction(Opcode.LOAD, **{"chunk": 0, "chunks": 1} | fields)


def store_key(**fields):
    return Instruction(Opcode.STORE_KEY, **{"chunk": 1, "chunks": 1, "heads": 1, "tile": 8,
                                            "tiles": 16, "layer_relative": 1} | fields)


def scores(**fields):
    return product(Opcode.MASKED_MM, **{
        "source": 1, "columns": 0, "columns_from_position": 1, "block": 1, "tile": 8, "tiles": 1,
        "key_value": 1, "destination": 2} | fields)


def context(**fields):
    return product(Opcode.MM, **{"rows": 0, "rows_from_position": 1, "source": 2, "tile": 8,
                                 "tiles": 4, "key_value": 1, "transposed": 1,
                                 "destination": 9} | fields)


def sync(**fields):
    return Instruction(Opcode.SYNC, **{"source": 1, "chunks": 1, "destination": 0, "total": 4}
                       | fields)


def check(*body, setup=(), head=(), flow=FLOW, cores=1):
    token, layer, *rest = [Instruction(opcode) for opcode in flow]
    verify([*setup, token, layer, *body, *rest[:2], *head, *rest[2:]], NANO, positions=20, layers=2,
           layer_stride=64, core_count=cores)


def test_right_programs_pass():
    check(load(), product(), store_key(), scores())
    check(load(), product(last=0, write=0), product(first=0))
    check(load(chunks=8), Instruction(Opcode.LAYERNORM, destination=8, source1=0, source2=1,
                                      source3=2, length=8))


VECTOR = {"destination": 1, "source1": 0, "length": 8}


@pytest.mark.parametrize("body, message", [
    ([load(), product(rows=0)], "instruction 3 (CONV1D), rows: must be at least 1, not 0"),
    ([load(), product(columns=0)], "instruction 3 (CONV1D), columns: must be at least 1, not 0"),
    ([load(), product(token_rows=0)], "instruction 3 (CONV1D), token_rows: must be 1, not 0"),
    ([load(), product(block=0)], "instruction 3 (CONV1D), block: must be in 1..32, not 0"),
    ([load(), product(block=33)], "instruction 3 (CONV1D), block: must be in 1..32, not 33"),
    ([load(), product(tiles=5)], "instruction 3 (CONV1D), tiles: must be 4, not 5"),
    ([load(), product(write=0)], "instruction 3 (CONV1D), write: the result goes nowhere"),
    ([load(), product(last=0)],
     "instruction 3 (CONV1D), write: nothing leaves a segment that is not the last"),
    ([load(), product(last=0, write=0, arg_max=1)],
     "instruction 3 (CONV1D), arg_max: nothing leaves a segment that is not the last"),
    ([load(), product(last=0, write=0, block=3)],
     "instruction 3 (CONV1D), block: 4 column groups of a segment must fit one block, not 3"),
    ([load(), product(last=0, write=0), product()],
     "instruction 4 (CONV1D), first: the sums of the segment before have not left the "
     "accumulators"),
    ([load(), product(first=0)],
     "instruction 3 (CONV1D), first: the segment before has 0 columns, this one 8"),
    ([load(), product(last=0, write=0), product(first=0, columns=7)],
     "instruction 4 (CONV1D), first: the segment before has 8 columns, this one 7"),
    ([load(), product(last=0, write=0)],
     "instruction 4 (NEXT_LAYER), opcode: the sums of the segment before have not left the "
     "accumulators"),
    *(([load(), product(last=0, write=0, **{field: 1})],
       f"instruction 3 (CONV1D), {field}: nothing leaves a segment that is not the last")
      for field in ("logits", "maximum_enable", "scale_enable", "bias_enable", "residual_enable",
                    "gelu", "mask")),
    ([load(), product(arg_max_base=1)],
     "instruction 3 (CONV1D), arg_max_base: must be 0 without arg_max, not 1"),
    ([load(), product(arg_max=1, arg_max_base=(1 << 17) - 8)],
     "instruction 3 (CONV1D), arg_max_base: the last index must be at most 131070, not 131071"),
    ([load(), product(), store_key(), scores(block=2)],
     "instruction 5 (MASKED_MM), block: must be 1 where the columns follow the position, not 2"),
    ([load(), product(), store_key(), scores(tiles=2)],
     "instruction 5 (MASKED_MM), tiles: must be 1, not 2"),
    ([load(), product(), store_key(), scores(rows_from_position=1)],
     "instruction 5 (MASKED_MM), columns_from_position: rows follow the position already"),
    ([load(), context(block=3)],
     "instruction 3 (MM), block: 4 column groups must fit one block where the rows follow the "
     "position, not 3"),
    ([load(), Instruction(Opcode.MOVE, **VECTOR | {"length": 0})],
     "instruction 3 (MOVE), length: must be at least 1, not 0"),
    ([load(chunks=0)], "instruction 2 (LOAD), chunks: must be at least 1, not 0"),
    ([load(), product(), store_key(heads=0)],
     "instruction 4 (STORE_KEY), heads: must be at least 1, not 0"),
    ([load(), product(), Instruction(Opcode.STORE_VALUE, chunk=1, chunks=1, heads=1)],
     "instruction 4 (STORE_VALUE), groups: must be at least 1, not 0"),
    ([Instruction(Opcode.COPY)], "instruction 2 (COPY), tiles: must be at least 1, not 0"),
    ([Instruction(Opcode.SYNC)], "instruction 2 (SYNC), opcode: a single core has no ring"),
    ([Instruction(Opcode.ARG_MAX)], "instruction 2 (ARG_MAX), opcode: a single core has no ring"),
    ([load(address=8)], "instruction 2 (LOAD), address: must be a multiple of 16, not 8"),
    ([load(stride=24)], "instruction 2 (LOAD), stride: must be a multiple of 16, not 24"),
    ([load(address=1 << 24)],
     "instruction 2 (LOAD), address: DDR ends at 16777216, not 16777232"),
    ([load(chunk=1023, chunks=2)],
     "instruction 2 (LOAD), chunk: the register file holds 1024 chunks, not 1025"),
    ([load(), product(maximum_enable=1, maximum=64)],
     "instruction 3 (CONV1D), maximum: the register file holds 64 scalars, not 65"),
    ([load(), product(tile=61)],
     "instruction 3 (CONV1D), tile: a layer's block holds 64 tiles, not 65"),
    ([load(), product(tile=(1 << 20) - 3, layer_relative=0)],
     "instruction 3 (CONV1D), tile: HBM holds 1048576 tiles, not 1048577"),
    ([load(), product(source=1, destination=2)],
     "instruction 3 (CONV1D), source: chunk 1 is read before it is written"),
    ([load(), product(scale_enable=1, scale=2)],
     "instruction 3 (CONV1D), scale: scalar 2 is read before it is written"),
    ([load(), product(destination=0)],
     "instruction 3 (CONV1D), destination: overlaps source: the claim would wait for its own "
     "reader"),
    ([load(), Instruction(Opcode.SCALAR_MOVE, immediate_enable=1),
      Instruction(Opcode.RECIP)],
     "instruction 4 (RECIP), scalar_destination: overlaps scalar_source1: the claim would wait "
     "for its own reader"),
    ([load(), product(), scores()],
     "instruction 4 (MASKED_MM), tile: K or V is fetched, but no store of this layer stands "
     "before"),
    ([load(), product(), scores(), store_key()],
     "instruction 4 (MASKED_MM), tile: K or V is fetched, but no store of this layer stands "
     "before"),
    ([load(), product(), store_key(), scores(tile=30)],
     "instruction 5 (MASKED_MM), tile: K or V is fetched, but no store of this layer stands "
     "before"),
    ([load(), product(), store_key(), scores(key_value=0)],
     "instruction 5 (MASKED_MM), key_value: K or V is fetched without waiting for its store"),
])
def test_mistakes(body, message):
    with pytest.raises(CompileError) as error:
        check(*body)
    assert str(error.value) == message


HEAD = product(Opcode.MM, layer_relative=0, write=0, arg_max=1, arg_max_base=(1 << 17) - 9)
ARG_MAX = Instruction(Opcode.ARG_MAX)


def test_right_programs_of_a_ring_pass():
    check(load(), product(), sync(), product(source=3, destination=5),
          head=[HEAD, ARG_MAX], cores=2)
    check(load(), product(), sync(chunks=0), sync(source=0, chunks=2), sync(source=4, chunks=0),
          sync(source=0, chunks=2, total=2), cores=8)


@pytest.mark.parametrize("body, message", [
    ([load(), product(), sync(total=0)], "instruction 4 (SYNC), total: must be at least 1, not 0"),
    ([load(), product(), sync(destination=2)],
     "instruction 4 (SYNC), source: the own share 1..1 must be in the vector 2..5"),
    ([load(), product(), sync(chunks=4)],
     "instruction 4 (SYNC), source: the own share 1..4 must be in the vector 0..3"),
    ([load(), product(), sync(source=5, chunks=0)],
     "instruction 4 (SYNC), source: the own share 5..4 must be in the vector 0..3"),
    ([load(), product(), sync(chunks=2)],
     "instruction 4 (SYNC), source: chunk 2 is sent before this layer has written it"),
    ([load(), sync(), product()],
     "instruction 3 (SYNC), source: chunk 1 is sent before this layer has written it"),
    ([load(), product(), sync(destination=1, total=1024)],
     "instruction 4 (SYNC), destination: the register file holds 1024 chunks, not 1025"),
])
def test_mistakes_in_a_sync(body, message):
    with pytest.raises(CompileError) as error:
        check(*body, cores=2)
    assert str(error.value) == message


@pytest.mark.parametrize("head, message", [
    ([ARG_MAX], "instruction 6 (ARG_MAX), opcode: no arg max stands before"),
    ([HEAD, ARG_MAX, ARG_MAX], "instruction 8 (ARG_MAX), opcode: no arg max stands before"),
    ([HEAD], "instruction 7 (END), opcode: the arg max before has not gone round the ring"),
    ([HEAD, HEAD], "instruction 7 (MM), arg_max: the one before has not gone round the ring"),
])
def test_mistakes_in_an_arg_max(head, message):
    with pytest.raises(CompileError) as error:
        check(load(), product(), head=head, cores=2)
    assert str(error.value) == message


def test_what_is_stored_must_be_of_this_layer():
    with pytest.raises(CompileError) as error:
        check(store_key(), scores(), setup=[load(), product(layer_relative=0)])
    assert str(error.value) == (
        "instruction 4 (STORE_KEY), chunk: chunk 1 is stored before this layer has written it")


@pytest.mark.parametrize("flow, message", [
    (FLOW[:-1], "the program's flow must be TOKEN, LAYER, NEXT_LAYER, LM_HEAD, END, the last "
                "instruction, not TOKEN, LAYER, NEXT_LAYER, LM_HEAD"),
    ((*FLOW[1:-1], Opcode.TOKEN, Opcode.END),
     "the program's flow must be TOKEN, LAYER, NEXT_LAYER, LM_HEAD, END, the last instruction, "
     "not LAYER, NEXT_LAYER, LM_HEAD, TOKEN, END"),
])
def test_flow(flow, message):
    with pytest.raises(CompileError) as error:
        check(flow=flow)
    assert str(error.value) == message
