"""Tiles: every element where the instruction set says, and back again."""

import numpy as np
import pytest

from dfx_rtl.compiler import CompileError
from dfx_rtl.compiler.tiles import block_of, product_tiles, tile_image, untile
from dfx_rtl.config import CONFIGS

NANO = CONFIGS["nano"]
CONFIG_NAMES = ["nano", "small", "small8", "tall", "u280"]


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float16)


@pytest.mark.parametrize("name", ["nano", "small8"])
@pytest.mark.parametrize("rows, columns, block", [(1, 1, 1), (8, 2, 1), (19, 23, 3), (33, 40, 32)])
def test_order_is_block_row_group_lane_row(name, rows, columns, block):
    config, weights = CONFIGS[name], matrix(rows, columns)
    chunks, groups = config.chunks(rows), config.groups(columns)
    image, number = tile_image(weights, block, config), 0
    assert image.shape == (product_tiles(rows, columns, config), config.tile * config.lanes)
    for first in range(0, groups, block):
        for chunk in range(chunks):
            for group in range(first, min(first + block, groups)):
                for lane in range(config.lanes):
                    for row in range(config.tile):
                        i, c = chunk * config.tile + row, group * config.lanes + lane
                        inside = i < rows and c < columns
                        expected = weights[i, c].view(np.uint16) if inside else 0
                        assert image[number, lane * config.tile + row] == expected
                number += 1
    assert number == len(image)


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_untile_is_the_inverse(name):
    config = CONFIGS[name]
    for rows, columns in ((1, 1), (40, 65), (100, 333), (64, 256)):
        weights = matrix(rows, columns, rows)
        block = block_of(columns, config)
        found = untile(tile_image(weights, block, config), rows, columns, block, config)
        assert np.array_equal(found.view(np.uint16), weights.view(np.uint16))


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_blocks_are_few_and_end_with_chunks(name):
    config = CONFIGS[name]
    for columns in range(1, 1200, 7):
        groups, block = config.groups(columns), block_of(columns, config)
        assert 1 <= block <= config.max_block
        assert -(-groups // block) == -(-groups // config.max_block)
        assert groups <= block or block % config.groups_per_chunk == 0


def test_blocks_of_equal_size():
    assert block_of(1600, CONFIGS["u280"]) == 28
    assert block_of(64, NANO) == 32
    assert block_of(66, NANO) == 20


@pytest.mark.parametrize("weights, block, message", [
    (np.zeros((2, 2), np.float32), 1,
     "a weight matrix must be two-dimensional float16, not 2-dimensional float32"),
    (np.zeros(2, np.float16), 1,
     "a weight matrix must be two-dimensional float16, not 1-dimensional float16"),
    (np.zeros((2, 2), np.float16), 0, "block must be in 1..32, not 0"),
    (np.zeros((2, 2), np.float16), 33, "block must be in 1..32, not 33"),
])
def test_errors(weights, block, message):
    with pytest.raises(CompileError) as error:
        tile_image(weights, block, NANO)
    assert str(error.value) == message
