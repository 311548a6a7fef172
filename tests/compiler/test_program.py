"""The order of the program, and that it fits."""

import dataclasses

import pytest

from dfx_rtl.compiler import CompileError, verify
from dfx_rtl.compiler.layout import plan_layout
from dfx_rtl.compiler.program import assemble
from dfx_rtl.compiler.registers import plan_registers
from dfx_rtl.compiler.shape import Shape
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Gpt2Config
from dfx_rtl.isa import Opcode

SMALL = Gpt2Config(emb=40, layers=3, heads=5, vocabulary=65, positions=20)
SIZES = {"124M": (768, 12, 12), "345M": (1024, 24, 16), "774M": (1280, 36, 20),
         "1.5B": (1600, 48, 25)}


def program(config, model, *, logits=False):
    shape = Shape(config, model, model.positions)
    layout = plan_layout(shape, logits=logits)
    registers, lag = plan_registers(shape)
    instructions = assemble(shape, layout, registers, lag, logits=logits)
    verify(instructions, config, positions=model.positions, layers=model.layers,
           layer_stride=layout.layer_stride)
    return instructions, layout, registers


@pytest.mark.parametrize("size", list(SIZES))
def test_published_models_fit_a_u280(size):
    emb, layers, heads = SIZES[size]
    model = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257, positions=1024)
    instructions, _, _ = program(CONFIGS["u280"], model, logits=True)
    assert len(instructions) < 128


def test_order_of_attention():
    instructions, layout, _ = program(CONFIGS["nano"], SMALL)
    order = []
    for entry in instructions:
        if entry.format_name == "matrix" and entry.layer_relative:
            name = layout.find_tile(entry.tile, True).name
            order.append(name.removeprefix("attn.").replace(".cache", ""))
        elif entry.opcode in (Opcode.STORE_KEY, Opcode.STORE_VALUE):
            order.append(entry.opcode.name)
    assert order == [
        "key", "value", "STORE_KEY", "query.0-1", "query.2-3", "key.0", "key.1", "STORE_VALUE",
        "query.4", "key.2", "key.3", "key.4", "value.0", "value.1", "value.2", "value.3",
        "value.4", "projection", "mlp.fc", "mlp.projection",
    ]


def test_every_vector_is_loaded_before_the_stage_that_reads_it():
    """Between a load and its reader stands a product with weights, which hides the load."""
    instructions, _, registers = program(CONFIGS["nano"], SMALL)
    start = next(n for n, entry in enumerate(instructions) if entry.opcode == Opcode.LAYER) + 1
    end = next(n for n, entry in enumerate(instructions) if entry.opcode == Opcode.NEXT_LAYER)
    body = instructions[start:end]
    body = body + body  # the second time round, what the first has loaded ahead is read
    loaded, seen = {}, set()
    for entry in body:
        if entry.opcode == Opcode.LOAD:
            loaded |= dict.fromkeys(range(entry.chunk, entry.chunk + entry.chunks), False)
            continue
        for name in ("bias", "source2", "source3"):
            chunk = entry.fields.get(name)
            if chunk in loaded and entry.fields.get("bias_enable", 1):
                assert loaded[chunk], (entry, registers.find_chunk(chunk))
                seen.add(registers.find_chunk(chunk).name)
        if entry.opcode == Opcode.CONV1D:
            loaded = dict.fromkeys(loaded, True)
    assert seen == {"ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "attn.key.bias",
                    "attn.value.bias", "attn.query.bias", "attn.projection.bias", "mlp.fc.bias",
                    "mlp.projection.bias"}


def test_logits_are_written_only_if_asked_for():
    for logits in (False, True):
        instructions, _, _ = program(CONFIGS["nano"], SMALL, logits=logits)
        assert [entry.logits for entry in instructions if entry.opcode == Opcode.MM][-1] == logits


def test_instruction_memory_too_small():
    with pytest.raises(CompileError) as error:
        program(dataclasses.replace(CONFIGS["nano"], instructions=32), SMALL)
    assert str(error.value) == (
        "instruction memory of configuration 'nano' holds 32 instructions, the program has 45")
