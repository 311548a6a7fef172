"""Allocation of registers."""

import dataclasses

import pytest

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.registers import RegisterMap, plan_registers
from dfx_rtl.compiler.shape import Shape
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Gpt2Config

NANO = CONFIGS["nano"]


def shape(config=NANO, layernorm="explicit", **sizes):
    model = Gpt2Config(**{"emb": 64, "layers": 1, "heads": 16, "vocabulary": 65,
                          "positions": 64} | sizes)
    return Shape(config, model, model.positions, layernorm)


def test_names_and_numbers():
    registers = RegisterMap(NANO)
    assert registers.add_vector("x", 3) == 0
    assert registers.add_vector("y", 2) == 3
    assert registers.add_scalar("s") == 0
    assert registers.add_scalar("t") == 1
    assert (registers.chunk("y"), registers.scalar("t"), registers.chunks_used) == (3, 1, 5)
    assert registers.find_chunk(4).name == "y" and registers.find_chunk(5) is None
    assert registers.find_scalar(0).name == "s" and registers.find_scalar(2) is None


def test_more_heads_are_in_flight_where_there_is_room():
    registers, lag = plan_registers(shape())
    assert lag == 8
    assert "scores.7" in registers.vectors and "softmax.15" in registers.vectors
    assert [registers.row("scores", head) for head in (0, 7, 8, 15)] == [0, 7, 0, 7]
    fixed = registers.chunks_used - 24 * 8
    registers, lag = plan_registers(shape(dataclasses.replace(NANO, vector_chunks=512),
                                          positions=8 * (511 - fixed) // 4))
    assert lag == 1
    assert "softmax.1" in registers.vectors and "softmax.2" not in registers.vectors


def test_folded_layernorms_need_two_scalars_and_fewer_chunks():
    explicit, _ = plan_registers(shape())
    folded, _ = plan_registers(shape(layernorm="folded"))
    assert set(explicit.vectors) - set(folded.vectors) == {
        "normal.1", "ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"}
    assert folded.chunks_used == explicit.chunks_used - 5 * 8
    assert set(folded.scalars) - set(explicit.scalars) == {"rstd.0", "rstd.1"}


def test_few_heads_need_few_rows():
    registers, _ = plan_registers(shape(heads=1))
    assert "scores.1" not in registers.vectors and "softmax.1" not in registers.vectors


def test_too_few_chunks():
    with pytest.raises(CompileError) as error:
        plan_registers(shape(dataclasses.replace(NANO, vector_chunks=256)))
    assert str(error.value) == (
        "vector register file of configuration 'nano' holds 256 chunks: mlp.fc.bias needs 32, "
        "24 are left")


def test_too_few_scalars():
    with pytest.raises(CompileError) as error:
        plan_registers(shape(dataclasses.replace(NANO, scalars=2)))
    assert str(error.value) == (
        "scalar register file of configuration 'nano' holds 2 scalars: none is left for "
        "inverse_sum.0")
