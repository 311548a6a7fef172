"""The machine's memories."""

import numpy as np

from dfx_rtl.config import CONFIGS
from dfx_rtl.model.memory import Ddr, Hbm

SMALL8 = CONFIGS["small8"]


def test_a_tile_is_spread_over_the_channels():
    image = np.zeros((4, 10 * SMALL8.word_bytes), np.uint8)
    hbm = Hbm(image, SMALL8, [(8, 2)])
    linear = np.arange(16 * 8, dtype=np.uint16)
    hbm.write(3, 0, linear)
    assert np.array_equal(hbm.read(3, 1)[0], linear)
    assert not image.any()
    hbm.write(3, 30, np.array([7, 8, 9, 10]))  # across two channels, of 32 elements each
    assert hbm.read(3, 1)[0][29:35].tolist() == [29, 7, 8, 9, 10, 34]
    assert not hbm.read(2, 1).any() and not hbm.read(4, 1).any()
    assert set(hbm.read(8, 2).reshape(-1).tolist()) == {0x7E00, 0x7C00}
    tiles = np.stack([linear, linear + 1])
    hbm.write_tiles(5, tiles)
    assert np.array_equal(hbm.read(5, 2), tiles)


def test_tiles_of_an_image():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (4, 3 * SMALL8.word_bytes), np.uint8)
    size = SMALL8.word_bytes
    expected = np.concatenate([channel[size:2 * size] for channel in image]).view("<u2")
    assert np.array_equal(Hbm(image, SMALL8, []).read(1, 1)[0], expected)


def test_ddr_goes_on_behind_its_image():
    image = np.arange(16, dtype=np.uint8)
    ddr = Ddr(image, 32)
    ddr.write(4, np.array([9, 9], np.uint8))
    ddr.write(20, np.array([5], np.uint8))
    assert ddr.read(3, 4).tolist() == [3, 9, 9, 6]
    assert ddr.read(19, 3).tolist() == [0, 5, 0]
    assert image[4] == 4


def test_released_tiles_are_read_again(tmp_path):
    """Of a mapped image; what has been written to other tiles stays."""
    tiles = 1 << 12
    shape = (SMALL8.channels, tiles * SMALL8.word_bytes)
    random = np.random.default_rng(0)
    image = np.lib.format.open_memmap(tmp_path / "hbm.npy", mode="w+", dtype=np.uint8, shape=shape)
    image[:] = random.integers(0, 256, shape, np.uint8)
    image.flush()
    hbm = Hbm(image, SMALL8, [(1000, 3)])
    hbm.write(1001, 0, np.array([7, 8, 9]))
    before = hbm.read(0, tiles).copy()
    for tile, count in ((0, 1000), (1003, tiles - 1003)):
        hbm.release(tile, count)
    assert np.array_equal(hbm.read(0, tiles), before)
    assert hbm.read(1001, 1)[0, :3].tolist() == [7, 8, 9]
    hbm.write_tiles(5, before[6:7])
    hbm.release(0, 1000)
    assert np.array_equal(hbm.read(5, 1)[0], before[6])
