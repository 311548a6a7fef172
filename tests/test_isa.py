"""The instruction set: encodings, errors, and that the RTL's layouts are the same bits."""

import random

import pytest

from dfx_rtl.isa import FORMATS, INSTRUCTION_BITS, Instruction, Opcode, Unit, layout, unit_of


def random_instruction(rng, opcode):
    probe = Instruction(opcode)
    return Instruction(opcode, **{entry.name: rng.getrandbits(entry.width)
                                  for entry in probe.format if entry.name != "opcode"})


@pytest.mark.parametrize("opcode", list(Opcode))
def test_encoding_and_layout_agree(opcode):
    rng = random.Random(int(opcode))
    for _ in range(20):
        instruction = random_instruction(rng, opcode)
        word = instruction.encode()
        assert word < 1 << INSTRUCTION_BITS
        again = Instruction.decode(word)
        assert again.opcode is opcode and again.fields == instruction.fields
        view = layout(instruction.format_name).from_bits(word)
        assert view.opcode == opcode
        for name, value in instruction.fields.items():
            assert getattr(view, name) == value == getattr(instruction, name)


def test_layouts_fill_an_instruction():
    for name in FORMATS:
        assert layout(name).size == INSTRUCTION_BITS


def test_units():
    assert unit_of(Opcode.MM) is Unit.MPU
    assert unit_of(Opcode.SOFTMAX) is Unit.VPU
    assert unit_of(Opcode.COPY) is Unit.LOAD
    assert unit_of(Opcode.STORE_KEY) is Unit.STORE
    assert unit_of(Opcode.SYNC) is Unit.ROUTER
    assert unit_of(Opcode.END) is None


def test_errors():
    with pytest.raises(ValueError, match=r"^END has no field 'rows': expected one of $"):
        Instruction(Opcode.END, rows=1)
    with pytest.raises(ValueError, match=r"^MM.block must be in 0..63, not 64$"):
        Instruction(Opcode.MM, block=64)
    with pytest.raises(ValueError, match="^0x3f is no opcode$"):
        Instruction.decode(63)
    with pytest.raises(AttributeError):
        Instruction(Opcode.END).rows  # noqa: B018


def test_text():
    assert str(Instruction(Opcode.LOAD, chunk=3, chunks=2)) == "load chunk=3, chunks=2"
    assert str(Instruction(Opcode.END)) == "end"
