"""How models are cut."""

import random

import pytest

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.shape import Shape
from dfx_rtl.compiler.sharding import (
    RINGS,
    Share,
    arrival_order,
    even_shares,
    level_shares,
    plan_sharding,
)
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Gpt2Config

U280 = CONFIGS["u280"]
SIZES = {"124M": (768, 12, 12), "345M": (1024, 24, 16), "774M": (1280, 36, 20),
         "1.5B": (1600, 48, 25)}


def shapes(size, cores, **options):
    emb, layers, heads = SIZES[size]
    model = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257, positions=1024)
    return [Shape(U280, model, 1024, core_id=core, core_count=cores, **options)
            for core in range(cores)]


def counts(shares):
    return [share.count for share in shares]


def test_shares_of_the_1_5b_on_four_cores():
    sharding = shapes("1.5B", 4)[0].sharding
    assert counts(sharding.heads) == [7, 6, 6, 6]
    assert counts(sharding.projection) == [4, 7, 7, 7]
    assert counts(sharding.inner) == [22, 26, 26, 26]
    assert counts(sharding.output) == [7, 6, 6, 6]
    assert counts(sharding.vocabulary) == [197, 197, 196, 196]


@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
def test_weights_of_the_1_5b_are_level_on_four_cores(layernorm):
    for shape in shapes("1.5B", 4, layernorm=layernorm):
        tiles = {product.name: product.tiles for product in shape.layer_products}
        attention = sum(count for name, count in tiles.items() if name.startswith("attn"))
        assert (attention, sum(tiles.values())) == (2500, 7500)


@pytest.mark.parametrize("size, cores, limit", [
    ("124M", 2, 1.0), ("345M", 2, 1.0), ("345M", 4, 1.0), ("774M", 2, 1.0), ("774M", 4, 1.0),
    ("1.5B", 2, 1.001), ("1.5B", 3, 1.01), ("1.5B", 5, 1.02), ("1.5B", 8, 1.03),
    ("124M", 8, 1.02), ("124M", 5, 1.05)])
def test_no_core_has_much_more_than_another(size, cores, limit):
    tiles = [sum(product.tiles for product in shape.layer_products)
             for shape in shapes(size, cores)]
    assert max(tiles) <= limit * min(tiles)


def test_segments_of_the_1_5b_come_in_the_order_of_arrival():
    """Core 2 of 4: its own, the one before it, the one behind it, the one opposite."""
    shape = shapes("1.5B", 4, layernorm="folded")[2]
    segments = {product.name: product.segments for product in shape.layer_products}
    assert segments["attn.projection"] == (Share(13, 6), Share(7, 6), Share(19, 6), Share(0, 7))
    assert segments["mlp.projection"] == (
        Share(48, 26), Share(22, 26), Share(74, 26), Share(0, 22))
    assert segments["mlp.fc"] == (Share(11, 7), Share(4, 7), Share(18, 7), Share(0, 4))
    assert segments["attn.key"] == (Share(13, 6), Share(7, 6), Share(19, 6), Share(0, 7))
    assert not segments["attn.value"] and not segments["attn.query.13-14"]
    explicit = {product.name: product for product in shapes("1.5B", 4)[2].layer_products}
    assert not explicit["attn.key"].segments and not explicit["mlp.fc"].segments
    assert explicit["attn.projection"].segments == segments["attn.projection"]
    assert explicit["attn.value"].row_order is None
    assert explicit["attn.projection"].row_order == [
        *range(13, 19), *range(7, 13), *range(19, 25), *range(7)]


@pytest.mark.parametrize("ring, core, cores, order", [
    ("bidirectional", 0, 1, [0]),
    ("bidirectional", 0, 2, [0, 1]),
    ("bidirectional", 1, 4, [1, 0, 2, 3]),
    ("bidirectional", 0, 5, [0, 4, 1, 3, 2]),
    ("bidirectional", 7, 8, [7, 6, 0, 5, 1, 4, 2, 3]),
    ("unidirectional", 0, 1, [0]),
    ("unidirectional", 1, 4, [1, 0, 3, 2]),
    ("unidirectional", 0, 5, [0, 4, 3, 2, 1]),
])
def test_arrival(ring, core, cores, order):
    assert arrival_order(core, cores, ring) == order


@pytest.mark.parametrize("ring", RINGS)
def test_the_arrival_is_that_of_the_router(ring):
    """Hops as the router counts them: ceil((n - 1) / 2) to the next, floor to the one before."""
    for cores in range(1, 9):
        ways = (cores // 2, (cores - 1) // 2) if ring == "bidirectional" else (cores - 1, 0)
        arrivals = [(hops, way, (way and 1 or -1) * hops % cores)
                    for way, most in enumerate(ways) for hops in range(1, most + 1)]
        assert arrival_order(0, cores, ring) == [0, *(core for *_, core in sorted(arrivals))]


def test_even_shares():
    assert even_shares(7, 3) == (Share(0, 3), Share(3, 2), Share(5, 2))
    assert even_shares(1, 3) == (Share(0, 1), Share(1, 0), Share(1, 0))
    assert Share(2, 3).end == 5 and Share(2, 3).scaled(4) == Share(8, 12)


def test_level_shares():
    loads = [30, 0, 10]
    assert level_shares(4, loads, 10) == (Share(0, 0), Share(0, 3), Share(3, 1))
    assert loads == [30, 30, 20]


def test_shares_are_the_whole_and_level():
    rng = random.Random(1)
    for _ in range(200):
        cores = rng.randint(1, 8)
        heads, emb, inner, vocabulary = (rng.randint(1, 40) for _ in range(4))
        vocabulary += cores
        head_tiles, projection, fine, coarse = (rng.randint(1, 400) for _ in range(4))
        sharding = plan_sharding(cores, heads=heads, head_tiles=head_tiles,
                                 projection=(emb, projection), inner=(inner, fine),
                                 output=(emb, coarse), vocabulary=vocabulary)
        loads = [0] * cores
        for shares, total, cost in (
                (sharding.heads, heads, head_tiles), (sharding.projection, emb, projection),
                (sharding.output, emb, coarse), (sharding.inner, inner, fine),
                (sharding.vocabulary, vocabulary, 0)):
            place, before = 0, max(loads)
            for core, share in enumerate(shares):
                assert share.first == place
                place = share.end
                loads[core] += share.count * cost
            assert len(shares) == cores and place == total
            # Nobody is given a piece that another, who has less, could have had.
            for core, share in enumerate(shares):
                if share.count and cost and loads[core] > before:
                    assert loads[core] - cost <= min(loads)
        assert min(share.count for share in sharding.vocabulary) >= 1


def test_more_cores_than_chunks_of_the_vocabulary():
    with pytest.raises(CompileError) as error:
        Shape(CONFIGS["nano"], Gpt2Config(emb=8, layers=1, heads=1, vocabulary=16, positions=8), 8,
              core_count=3)
    assert str(error.value) == (
        "core_count must be at most 2, the chunks of the vocabulary, not 3")
