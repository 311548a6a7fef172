"""The memory map: nothing overlaps, everything is aligned, too much is refused."""

import dataclasses

import pytest

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.layout import logits_stride, plan_layout
from dfx_rtl.compiler.shape import Shape
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Gpt2Config

MODEL = Gpt2Config(emb=40, layers=3, heads=5, vocabulary=65, positions=20)


def plan(config, *, logits=True, model=MODEL):
    return plan_layout(Shape(config, model, model.positions), logits=logits)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_objects_are_aligned_and_apart(name):
    config = CONFIGS[name]
    layout = plan(config)
    for regions, alignment in ((layout.layer, 8), (layout.fixed, 8),
                               (layout.ddr, config.chunk_bytes)):
        end = 0
        for region in regions:
            assert region.start % alignment == 0 and region.start >= end and region.size > 0
            end = region.end
    assert layout.layer[-1].end <= layout.layer_stride
    assert layout.layer_stride % 8 == 0
    assert layout.fixed[0].start == 3 * layout.layer_stride
    assert layout.hbm_tiles == layout.fixed[0].end
    assert layout["ln_f.bias"].start == layout["ln_f.weight"].end  # they are loaded as one
    assert layout["vectors.1"].start - layout["vectors.0"].start == layout.vector_stride
    assert layout["vectors.0.again"].start == layout["vectors.0"].start + 3 * layout.vector_stride
    assert layout.image_bytes == layout["wte"].end <= layout["prompt"].start
    assert layout.ddr_bytes == layout["logits"].end
    assert "logits" not in plan(config, logits=False)


def test_find():
    layout = plan(CONFIGS["nano"])
    region = layout["attn.key.cache.1"]
    assert layout.find_tile(region.start + 3, True) is region
    assert layout.find_tile(region.start, False) is None
    assert layout.find_tile(layout.fixed[0].start, False).name == "lm_head"
    assert layout.find_address(layout["wte"].start + 5).name == "wte"
    assert layout.find_address(1 << 30) is None
    with pytest.raises(KeyError):
        layout["nothing"]


def test_caches_of_all_layers():
    layout = plan(CONFIGS["nano"])
    caches = layout.caches
    assert len(caches) == 3 * 2 * 5
    assert caches[10] == (layout.layer_stride + layout["attn.key.cache.0"].start,
                          layout["attn.key.cache.0"].size)


def test_logits_stride_is_whole_groups_and_chunks():
    assert logits_stride(Shape(CONFIGS["nano"], MODEL, 20)) == 272
    assert logits_stride(Shape(CONFIGS["u280"], MODEL, 20)) == 384


def test_hbm_too_small():
    config = dataclasses.replace(CONFIGS["nano"], channel_bytes=1 << 14)
    with pytest.raises(CompileError) as error:
        plan(config)
    assert str(error.value) == (
        "HBM of configuration 'nano' holds 1024 tiles, the model needs 4293: 3 layers of 1376 "
        "with caches for 20 positions, lm_head 165")
    hbm = dataclasses.replace(CONFIGS["nano"], channel_bytes=1 << 17)
    assert plan(hbm).hbm_tiles <= hbm.hbm_tiles


def test_ddr_too_small():
    config = dataclasses.replace(CONFIGS["nano"], ddr_bytes=1 << 15)
    with pytest.raises(CompileError) as error:
        plan(config)
    assert str(error.value) == (
        "DDR of configuration 'nano' holds 32768 bytes, the model needs 49488: vectors.0 ends at "
        "33808")
