"""The cores of a ring: what each gets, and that they belong together."""

import dataclasses

import numpy as np
import pytest

from dfx_rtl.compiler import (
    CompileError,
    cluster_roof,
    compile,
    compile_cluster,
    compile_copy,
    listing,
    verify_cluster,
)
from dfx_rtl.compiler.__main__ import main
from dfx_rtl.compiler.operands import operands_of
from dfx_rtl.compiler.tiles import untile
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.isa import Instruction, Opcode

NANO = CONFIGS["nano"]
SIZES = {"emb": 44, "heads": 11, "layers": 2, "vocabulary": 75, "positions": 12}
WIDE = {"emb": 144, "heads": 2, "layers": 2, "vocabulary": 65, "positions": 12, "inner": 200}


def product_of(compiled, product, layer=None):
    """The matrix of a product, out of HBM."""
    config, start = compiled.config, compiled.layout[product.name].start
    if layer is not None:
        start += layer * compiled.layout.layer_stride
    size = config.word_bytes
    tiles = np.stack([
        np.concatenate([channel[tile * size:(tile + 1) * size] for channel in compiled.hbm])
        for tile in range(start, start + product.tiles)]).view("<u2")
    return untile(tiles, product.rows, product.columns, product.block, config, product.row_order)


@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
@pytest.mark.parametrize("sizes, cores", [(SIZES, 2), (SIZES, 4), (WIDE, 2), (WIDE, 5)])
@pytest.mark.parametrize("name", ["nano", "tall"])
def test_together_the_cores_hold_what_one_core_holds(checkpoint, name, sizes, cores, layernorm):
    source = checkpoint(dtype="float32", **sizes | {"vocabulary": 200})
    one = compile(source, CONFIGS[name], layernorm=layernorm)
    models = compile_cluster(source, CONFIGS[name], cores, layernorm=layernorm)
    for layer in (*range(sizes["layers"]), None):
        parts, whole = {}, {}
        for compiled, matrices in ((one, whole), *((model, parts) for model in models)):
            products = [compiled.shape.head_product] if layer is None \
                else compiled.shape.layer_products
            for product in products:
                kind = "attn.query" if "query" in product.name else product.name
                matrices.setdefault(kind, []).append(product_of(compiled, product, layer))
        for kind, matrices in whole.items():
            assert np.array_equal(np.concatenate(parts[kind], axis=1).view(np.uint16),
                                  np.concatenate(matrices, axis=1).view(np.uint16)), kind


def test_registers_and_ddr_are_the_same_on_all_cores(checkpoint):
    source = checkpoint(**SIZES)
    models = compile_cluster(source, NANO, 4, logits=True, ring="unidirectional")
    one, program = compile(source, NANO, logits=True), NANO.instructions * 32
    for core, model in enumerate(models):
        assert model.registers.vectors == models[0].registers.vectors
        assert model.registers.scalars == models[0].registers.scalars
        assert model.layout.ddr == one.layout.ddr
        assert np.array_equal(model.ddr[program:], one.ddr[program:])
        run = model.run
        assert (run.core_id, run.core_count, run.bidirectional) == (core, 4, False)
        assert run.logits_base == one.run.logits_base + 4 * model.shape.first_token
        assert run.logits_stride == one.run.logits_stride
    assert [model.shape.first_token for model in models] == [0, 24, 48, 64]
    assert [model.shape.head_product.columns for model in models] == [24, 24, 16, 11]


def routed(compiled):
    """(name of the vector, own share) of each SYNC of a layer."""
    registers = compiled.registers
    return [(registers.find_chunk(entry.destination).name, entry.source - entry.destination,
             entry.chunks, entry.total)
            for entry in compiled.instructions if entry.opcode == Opcode.SYNC]


def test_syncs(checkpoint):
    models = compile_cluster(checkpoint(**SIZES), NANO, 4)
    assert [counts.count for counts in models[0].shape.sharding.heads] == [3, 3, 3, 2]
    assert [routed(model) for model in models[::3]] == [
        [("context", 0, 3, 11), ("residual.1", 0, 1, 6), ("hidden", 0, 4, 22),
         ("residual.0", 0, 2, 6)],
        [("context", 9, 2, 11), ("residual.1", 3, 3, 6), ("hidden", 15, 7, 22),
         ("residual.0", 5, 1, 6)]]
    for model in models:
        assert [entry.opcode for entry in model.instructions][-3:] == [
            Opcode.MM, Opcode.ARG_MAX, Opcode.END]
        assert model.instructions[-3].arg_max_base == model.shape.first_token


def test_one_core_has_no_ring(checkpoint):
    source = checkpoint(**SIZES)
    alone, = compile_cluster(source, NANO, 1)
    assert alone.words == compile(source, NANO).words
    assert all(entry.format_name != "router" for entry in alone.instructions)


def segments_of(compiled, product):
    region = compiled.layout[product]
    return [entry for entry in compiled.instructions
            if entry.opcode == Opcode.CONV1D and region.start <= entry.tile < region.end]


@pytest.mark.parametrize("ring, order", [("bidirectional", [2, 1, 3, 0]),
                                         ("unidirectional", [2, 1, 0, 3])])
def test_own_chunks_come_first(checkpoint, ring, order):
    compiled = compile(checkpoint(**SIZES), NANO, core_id=2, core_count=4, ring=ring)
    heads = compiled.shape.sharding.heads
    chunk = compiled.registers.chunk("context")
    segments = segments_of(compiled, "attn.projection")
    assert [(entry.source - chunk, entry.rows) for entry in segments] == [
        (heads[core].first, 8 * heads[core].count) for core in order]
    assert [entry.first for entry in segments] == [1, 0, 0, 0]
    assert [entry.last for entry in segments] == [0, 0, 0, 1]
    for entry in segments[:3]:
        assert not any(entry.fields[name] for name in (
            "write", "bias_enable", "residual_enable", "scale_enable", "gelu", "destination"))
    last = segments[3]
    assert last.write and last.bias_enable and last.residual_enable
    share = compiled.shape.sharding.projection[2].first
    for field, register in (("destination", "residual.1"), ("bias", "attn.projection.bias"),
                            ("residual", "residual.0")):
        assert getattr(last, field) == compiled.registers.chunk(register) + share


def test_only_the_first_product_behind_a_sync_is_cut(checkpoint):
    cut = {}
    for layernorm in ("explicit", "folded"):
        compiled = compile(checkpoint(**SIZES), NANO, core_id=0, core_count=2,
                           layernorm=layernorm)
        cut[layernorm] = [product.name for product in compiled.shape.layer_products
                          if len(segments_of(compiled, product.name)) > 1]
    assert cut == {"explicit": ["attn.projection", "mlp.projection"],
                   "folded": ["attn.key", "attn.projection", "mlp.fc", "mlp.projection"]}


def test_of_several_blocks_only_the_first_is_cut(checkpoint):
    compiled = compile(checkpoint(**WIDE), NANO, core_id=1, core_count=2)
    first, second, rest = segments_of(compiled, "mlp.projection")
    product = next(entry for entry in compiled.shape.layer_products
                   if entry.name == "mlp.projection")
    width = 2 * product.block
    assert product.columns == 72 and width < 72
    inner = compiled.shape.sharding.inner
    hidden, residual = (compiled.registers.chunk(name) for name in ("hidden", "residual.0"))
    assert [(entry.source - hidden, entry.rows, entry.columns) for entry in (first, second, rest)
            ] == [(inner[1].first, 8 * inner[1].count, width), (0, 8 * inner[0].count, width),
                  (0, 200, 72 - width)]
    assert [entry.destination - residual for entry in (second, rest)] == [9, 9 + width // 8]
    assert rest.bias - second.bias == rest.residual - second.residual == width // 8
    assert (rest.first, rest.last, rest.write) == (1, 1, 1)


def test_tiles_are_read_in_the_order_of_the_image(checkpoint):
    """All tiles of every product, one run behind the other."""
    for sizes in (SIZES, WIDE):
        for compiled in compile_cluster(checkpoint(**sizes), NANO, 3, layernorm="folded"):
            for product in compiled.shape.layer_products:
                place = compiled.layout[product.name].start
                for entry in segments_of(compiled, product.name):
                    assert entry.tile == place
                    place += entry.tiles
                assert place == compiled.layout[product.name].start + product.tiles


def test_a_block_that_is_not_whole_chunks_is_not_cut(checkpoint):
    thin = dataclasses.replace(NANO, tile=64, lanes=1, axi_bits=256)
    compiled = compile(checkpoint(emb=128, heads=4, vocabulary=200), thin, core_count=2)
    assert len(segments_of(compiled, "attn.projection")) == 1


def test_cores_without_heads_or_columns(checkpoint):
    compiled = compile(checkpoint(emb=8, heads=1, vocabulary=65, inner=8), NANO, core_id=7,
                       core_count=8)
    opcodes = [entry.opcode for entry in compiled.instructions]
    assert Opcode.STORE_KEY not in opcodes and Opcode.MASKED_MM not in opcodes
    assert opcodes.count(Opcode.SYNC) == 4
    assert [entry.chunks for entry in compiled.instructions if entry.opcode == Opcode.SYNC] == [
        0, 0, 0, 0]
    assert not compiled.caches and not compiled.shape.layer_products


def test_no_register_is_read_before_it_is_written(checkpoint):
    """In the order of the program, and of what every core does: a vector that is synchronised is
    read behind its SYNC only."""
    for compiled in compile_cluster(checkpoint(**SIZES), NANO, 4, layernorm="folded"):
        ours, begin = set(), None
        for number, entry in enumerate(compiled.instructions):
            if entry.opcode == Opcode.LAYER:
                begin = number + 1
            if entry.opcode == Opcode.NEXT_LAYER:
                body = compiled.instructions[begin:number]
        shared = {chunk for name in ("context", "hidden", "residual.1")
                  for chunk in range(compiled.registers.chunk(name),
                                     compiled.registers.chunk(name)
                                     + compiled.registers.vectors[name].count)}
        for entry in body:
            operands = operands_of(entry, NANO, 12)
            for operand in operands.chunk_reads:
                assert not (set(operand.places) & shared) - ours, entry
            for operand in operands.chunk_writes:
                ours |= set(operand.places)


def test_roof(checkpoint):
    source = checkpoint(**SIZES)
    one = compile(source, NANO).shape
    for cores in (1, 3, 4):
        models = compile_cluster(source, NANO, cores)
        for position, head in ((0, True), (9, True), (9, False)):
            assert cluster_roof(models, position, head=head) == pytest.approx(
                one.useful_tiles(position, head=head) / cores)


def test_images_in_files(checkpoint, tmp_path):
    source = checkpoint(**SIZES)
    inside = compile_cluster(source, NANO, 2)
    mapped = compile_cluster(source, NANO, 2, directory=tmp_path / "ring")
    for core in range(2):
        assert isinstance(mapped[core].hbm, np.memmap)
        assert mapped[core].hbm.filename == tmp_path / "ring" / f"core{core}" / "hbm.npy"
        assert np.array_equal(inside[core].hbm, mapped[core].hbm)
        assert np.array_equal(inside[core].ddr, mapped[core].ddr)


def test_copy_is_a_program_for_one_core(checkpoint):
    copy = compile_copy(compile(checkpoint(**SIZES), NANO, core_id=2, core_count=3))
    assert (copy.run.core_id, copy.run.core_count) == (0, 1)


@pytest.mark.parametrize("cores, ring, message", [
    (0, "bidirectional", "core_count must be in 1..8, not 0"),
    (9, "bidirectional", "core_count must be in 1..8, not 9"),
    (2, "both", "ring must be 'bidirectional' or 'unidirectional', not 'both'"),
])
def test_errors(checkpoint, cores, ring, message):
    with pytest.raises(CompileError) as error:
        compile_cluster(checkpoint(), NANO, cores, ring=ring)
    assert str(error.value) == message


def changed(compiled, number, **fields):
    """The same with other fields in one instruction."""
    entry = compiled.instructions[number]
    instructions = list(compiled.instructions)
    instructions[number] = Instruction(entry.opcode, **entry.fields | fields)
    return dataclasses.replace(compiled, instructions=tuple(instructions))


def test_programs_that_do_not_belong_together(checkpoint):
    source = checkpoint(**SIZES)
    models = compile_cluster(source, NANO, 3)
    sync = [[number for number, entry in enumerate(model.instructions)
             if entry.opcode == Opcode.SYNC] for model in models]

    def message(*others):
        with pytest.raises(CompileError) as error:
            verify_cluster(list(others))
        return str(error.value)

    verify_cluster(models)
    first, second, third = models
    assert message(first, third, second) == (
        "core 1: the program must be that of core 1 of 3, not of core 2 of 3")
    assert message(first, second) == (
        "core 0: the program must be that of core 0 of 2, not of core 0 of 3")
    other = compile(source, NANO, core_id=1, core_count=3, ring="unidirectional")
    assert message(first, other, third) == (
        "core 1, bidirectional: must be True, as on core 0, not False")
    other = compile(source, NANO, core_id=2, core_count=3, positions=9)
    assert message(first, second, other) == (
        "core 2, positions: must be 12, as on core 0, not 9")
    instructions = list(second.instructions)
    place = instructions.pop(sync[1][3])
    assert message(first, dataclasses.replace(second, instructions=tuple(instructions)), third) == (
        f"core 1, instruction {sync[1][3]}: SYNC comes next on core 0, not NEXT_LAYER")
    number, entry = sync[1][3], place
    assert message(first, changed(second, number, total=entry.total + 1), third) == (
        f"core 1, instruction {number} (SYNC), total: must be {entry.total}, as on core 0, "
        f"not {entry.total + 1}")
    assert message(first, changed(second, number, source=entry.source + 1), third) == (
        f"core 1, instruction {number} (SYNC), source: must be {entry.source}, where the shares "
        f"before it end, not {entry.source + 1}")
    number, entry = sync[2][0], third.instructions[sync[2][0]]
    end = entry.destination + entry.total
    assert message(first, second, changed(third, number, chunks=entry.chunks + 1)) == (
        f"core 2, instruction {number} (SYNC), chunks: the shares end at {end + 1}, not at {end}")


def test_listing(checkpoint):
    text = listing(compile(checkpoint(**SIZES), NANO, core_id=1, core_count=4)).splitlines()
    lines = [line[6:] for line in text]
    place = next(number for number, line in enumerate(lines) if line.startswith("sync"))
    assert lines[place:place + 6] == [
        "sync         context = context[3..5] and the others' shares",
        "conv1d       accumulators = context[3..5] x layer.attn.projection  ; 24 x 8, block 4, "
        "12 tiles",
        "conv1d       accumulators = context[0..2] x layer.attn.projection+12 + accumulators  ; "
        "24 x 8, block 4, 12 tiles",
        "conv1d       accumulators = context[6..8] x layer.attn.projection+24 + accumulators  ; "
        "24 x 8, block 4, 12 tiles",
        "conv1d       residual.1[1] = context[9..10] x layer.attn.projection+36 + accumulators + "
        "attn.projection.bias[1] + residual.0[1]  ; 16 x 8, block 4, 8 tiles",
        "sync         residual.1 = residual.1[1] and the others' shares"]
    assert lines[-3:] == [
        "mm           arg_max = normal.0 x lm_head  ; 44 x 24, block 12, 72 tiles, "
        "arg_max from 24",
        "arg_max      token = the best of all cores",
        "end"]
    text = listing(compile(checkpoint(emb=8, heads=1, vocabulary=65), NANO, core_id=3,
                           core_count=4))
    assert "context = nothing and the others' shares" in text


def test_command(tmp_path, capsys):
    path, out = write_random_checkpoint(tmp_path / "model", **SIZES), tmp_path / "out"
    assert main([str(path), "--cores", "3", "--ring", "unidirectional", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(out / f"core{n}") for n in range(3)]
    for core in range(3):
        assert (out / f"core{core}" / "hbm.npy").exists()
        assert f'"core_id": {core}' in (out / f"core{core}" / "run.json").read_text()
    assert main([str(path), "--cores", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("  end\n") == 2 and "core 1 of 2\n" in text
    assert main([str(path), "--cores", "9"]) == 1
    assert capsys.readouterr().err == "error: core_count must be in 1..8, not 9\n"
