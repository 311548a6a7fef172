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


def program(config, model, *, logits=False, layernorm="explicit", core_id=0, core_count=1):
    shape = Shape(config, model, model.positions, layernorm, core_id, core_count)
    layout = plan_layout(shape, logits=logits)
    registers, lag = plan_registers(shape)
    instructions = assemble(shape, layout, registers, lag, logits=logits)
    verify(instructions, config, positions=model.positions, layers=model.layers,
           layer_stride=layout.layer_stride, core_count=core_count)
    return instructions, layout, registers


@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
@pytest.mark.parametrize("size", list(SIZES))
def test_published_models_fit_a_u280(size, layernorm):
    emb, layers, heads = SIZES[size]
    model = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257, positions=1024)
    instructions, _, _ = program(CONFIGS["u280"], model, logits=True, layernorm=layernorm)
    assert len(instructions) < 128


@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
@pytest.mark.parametrize("size, cores", [("345M", 2), ("774M", 2), ("1.5B", 4), ("1.5B", 8)])
def test_published_models_fit_a_ring_of_u280(size, cores, layernorm):
    emb, layers, heads = SIZES[size]
    model = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257, positions=1024)
    for core in range(cores):
        instructions, _, _ = program(CONFIGS["u280"], model, logits=True, layernorm=layernorm,
                                     core_id=core, core_count=cores)
        assert len(instructions) < 128
        # The MPU's queue holds what stands between the first score x V and the SYNC.
        sync = next(number for number, entry in enumerate(instructions)
                    if entry.opcode == Opcode.SYNC)
        context = [number for number, entry in enumerate(instructions[:sync])
                   if entry.opcode == Opcode.MM]
        matrix = [entry for entry in instructions[context[0]:sync]
                  if entry.format_name == "matrix"]
        assert context[-1] == sync - 1 and len(matrix) < CONFIGS["u280"].queue_depth


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
        "key", "value", "STORE_KEY", "STORE_VALUE", "query.0-1", "query.2-3", "key.0", "key.1",
        "query.4", "key.2", "key.3", "key.4", "value.0", "value.1", "value.2", "value.3",
        "value.4", "projection", "mlp.fc", "mlp.projection",
    ]


@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
def test_every_vector_is_loaded_before_the_stage_that_reads_it(layernorm):
    """Between a load and its reader stands a product with weights, which hides the load."""
    instructions, _, registers = program(CONFIGS["nano"], SMALL, layernorm=layernorm)
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
    norms = {"ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"}
    assert seen - norms == {"attn.key.bias", "attn.value.bias", "attn.query.bias",
                            "attn.projection.bias", "mlp.fc.bias", "mlp.projection.bias"}
    assert seen & norms == (norms if layernorm == "explicit" else set())


def test_folded_differs_only_around_the_layernorms():
    """RSTD stands where LAYERNORM stood; the products read the residual and its rstd."""
    explicit, _, before = program(CONFIGS["nano"], SMALL)
    folded, _, after = program(CONFIGS["nano"], SMALL, layernorm="folded")
    loads = [entry for entry in explicit if entry.opcode == Opcode.LOAD
             and before.find_chunk(entry.chunk).name == "ln_1.weight"]
    explicit = [entry for entry in explicit if entry not in loads]
    assert len(loads) == 2 and len(folded) == len(explicit)
    number, scaled = None, []
    for old, new in zip(explicit, folded, strict=True):
        if new.opcode == Opcode.RSTD:
            assert old.opcode == Opcode.LAYERNORM
            number = after.find_scalar(new.scalar_destination).name.removeprefix("rstd.")
            assert after.find_chunk(new.source1).name == f"residual.{number}"
            assert new.length == old.length == 40
            assert (new.immediate1, new.immediate2) == (old.immediate1, old.immediate2)
            continue
        assert old.opcode == new.opcode
        if old.opcode == Opcode.CONV1D:
            source = before.find_chunk(old.source).name
            assert new.scale_enable == source.startswith("normal.")
            if new.scale_enable:
                assert source == f"normal.{number}"
                assert after.find_chunk(new.source).name == f"residual.{number}"
                assert after.find_scalar(new.scale).name == f"rstd.{number}"
                scaled.append(number)
    assert scaled == ["0"] * 5 + ["1"]  # K, V, three pairs of Q; the feed-forward layer
    assert explicit[-3].opcode == folded[-3].opcode == Opcode.LAYERNORM
    assert "normal.1" in before.vectors and "normal.1" not in after.vectors


def test_logits_are_written_only_if_asked_for():
    for logits in (False, True):
        instructions, _, _ = program(CONFIGS["nano"], SMALL, logits=logits)
        assert [entry.logits for entry in instructions if entry.opcode == Opcode.MM][-1] == logits


def test_instruction_memory_too_small():
    with pytest.raises(CompileError) as error:
        program(dataclasses.replace(CONFIGS["nano"], instructions=32), SMALL)
    assert str(error.value) == (
        "instruction memory of configuration 'nano' holds 32 instructions, the program has 45")
