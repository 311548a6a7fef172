"""The compiler as a whole."""

import dataclasses

import numpy as np
import pytest

from dfx_rtl.compiler import CompileError, compile, compile_copy
from dfx_rtl.config import CONFIGS
from dfx_rtl.model import Machine

NANO = CONFIGS["nano"]


def test_run_parameters(checkpoint):
    compiled = compile(checkpoint(emb=40, heads=5, layers=2, vocabulary=65, positions=20,
                                  end_of_text=7), NANO, logits=True, positions=12)
    layout = compiled.layout
    assert dataclasses.asdict(compiled.run) == {
        "program_base": 0, "program_length": len(compiled.instructions),
        "token_base": layout["prompt"].start, "output_base": layout["output"].start,
        "logits_base": layout["logits"].start, "logits_stride": 272,
        "layer_stride": layout.layer_stride, "layers": 2, "heads": 5, "emb": 40,
        "vocabulary": 65, "positions": 12, "end_of_text": 7, "core_id": 0, "core_count": 1,
        "bidirectional": True}
    assert compiled.hbm.shape == (2, layout.hbm_tiles * NANO.word_bytes)
    assert compiled.ddr.shape == (layout.image_bytes,)
    assert compiled.ddr_bytes == layout.ddr_bytes
    assert layout["wpe"].size == 12 * 5 * 16


def test_images_in_files_are_the_same(checkpoint, tmp_path):
    source = checkpoint(layers=2)
    inside = compile(source, NANO, logits=True)
    mapped = compile(source, NANO, logits=True, directory=tmp_path / "images")
    assert isinstance(mapped.hbm, np.memmap)
    assert np.array_equal(inside.hbm, mapped.hbm) and np.array_equal(inside.ddr, mapped.ddr)
    before = mapped.hbm.copy()
    machines = Machine(inside), Machine(mapped)
    first, second = (machine.run([1, 2], 5) for machine in machines)
    assert first == second
    assert np.array_equal(machines[0].logits(4), machines[1].logits(4))
    assert np.array_equal(mapped.hbm, before)  # the machine keeps its writes to itself


@pytest.mark.parametrize("core, message", [
    ({"core_count": 0}, "core_count must be in 1..8, not 0"),
    ({"core_count": 9}, "core_count must be in 1..8, not 9"),
    ({"core_count": 2.0}, "core_count must be in 1..8, not 2.0"),
    ({"core_id": 1}, "core_id must be in 0..0, not 1"),
    ({"core_id": 3, "core_count": 3}, "core_id must be in 0..2, not 3"),
    ({"core_id": -1, "core_count": 3}, "core_id must be in 0..2, not -1"),
    ({"ring": "star"}, "ring must be 'bidirectional' or 'unidirectional', not 'star'"),
    ({"core_count": 5}, "core_count must be at most 4, the chunks of the vocabulary, not 5"),
    ({"positions": 17}, "positions must be in 1..16, the model's, not 17"),
])
def test_errors(checkpoint, core, message):
    with pytest.raises(CompileError) as error:
        compile(checkpoint(), NANO, **core)
    assert str(error.value) == message


@pytest.mark.parametrize("name, parts", [("nano", 1), ("small8", 3)])
def test_copy_brings_the_weights_to_hbm(checkpoint, name, parts):
    compiled = compile(checkpoint(layers=2), CONFIGS[name])
    copy = compile_copy(compiled, parts=parts)
    assert not copy.hbm.any()
    machine = Machine(copy)
    assert machine.run([0], 0) == []
    found = machine.hbm.read(0, compiled.layout.hbm_tiles)
    size = CONFIGS[name].word_bytes
    expected = compiled.hbm.reshape(len(compiled.hbm), -1, size).transpose(1, 0, 2)
    assert np.array_equal(found, np.ascontiguousarray(expected).reshape(len(found), -1)
                          .view(np.uint16))


def test_copy_errors(checkpoint):
    compiled = compile(checkpoint(layers=2), NANO)
    with pytest.raises(CompileError) as error:
        compile_copy(compiled, parts=0)
    assert str(error.value) == "parts must be a positive integer, not 0"
    small = dataclasses.replace(compiled, config=dataclasses.replace(NANO, ddr_bytes=1 << 15))
    with pytest.raises(CompileError) as error:
        compile_copy(small)
    assert str(error.value) == ("DDR of configuration 'nano' holds 32768 bytes, the staged weights "
                                "need 46112")
    few = dataclasses.replace(compiled, config=dataclasses.replace(NANO, instructions=8))
    with pytest.raises(CompileError) as error:
        compile_copy(few, parts=2)
    assert str(error.value) == ("instruction memory of configuration 'nano' holds 8 instructions, "
                                "the program has 11")
