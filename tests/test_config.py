"""Configurations: what follows from them, and what is refused."""

import dataclasses

import pytest

from dfx_rtl.config import CONFIGS, CoreConfig, load_config


def test_the_card():
    config = CONFIGS["u280"]
    assert (config.tile, config.lanes, config.channels) == (64, 16, 32)
    assert config.tile_bits == 16384 and config.word_bits == 512 and config.word_bytes == 64
    assert config.chunk_bits == 1024 and config.groups_per_chunk == 4
    assert config.hbm_tiles * config.tile_bits // 8 == 8 << 30
    assert config.chunks(1600) == 25 and config.chunks(1601) == 26
    assert config.groups(50257) == 3142


def test_every_named_configuration_has_two_beats_a_channel():
    for name, config in CONFIGS.items():
        assert config.name == name
        assert config.word_bits == 2 * config.axi_bits
        assert config.channels >= 2


@pytest.mark.parametrize("changes,message", [
    ({"tile": 12}, "CoreConfig.tile must be a power of two, not 12"),
    ({"lanes": 0}, "CoreConfig.lanes must be a power of two, not 0"),
    ({"lanes": 16}, "CoreConfig.lanes must divide tile = 8, which 16 does not"),
    ({"vector_lanes": 16}, "CoreConfig.vector_lanes must divide tile = 8, which 16 does not"),
    ({"channels": 1}, "CoreConfig.channels must be at least 2, not 1"),
    ({"axi_bits": 128}, "CoreConfig.axi_bits must be tile * lanes * 16 / channels / 2 = 64, "
                        "not 128: a tile is two beats of every channel"),
    ({"accumulators": 32}, "CoreConfig.accumulators must be at least 64, not 32"),
    ({"ddr_bits": 32}, "CoreConfig.ddr_bits must be in 64..512, not 32"),
    ({"ddr_bits": 256}, "CoreConfig.ddr_bits must divide a chunk of 128 bits, which 256 does not"),
    ({"vector_chunks": 8192}, "CoreConfig.vector_chunks must be at most 4096, not 8192"),
    ({"hbm_period": 7}, "CoreConfig.hbm_period must be an even number, not 7"),
])
def test_what_does_not_fit(changes, message):
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(CONFIGS["nano"], **changes)
    assert str(caught.value) == message


def test_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "nano"\nweight_tiles = 64\n')
    config = load_config(str(path))
    assert config == dataclasses.replace(CONFIGS["nano"], name="mine", weight_tiles=64)


@pytest.mark.parametrize("content,message", [
    ('base = "huge"\n', "base 'huge' is unknown: expected one of nano, small, small8, tall, u280"),
    ("lines = 2\n", "field 'lines' is unknown: expected one of base, accumulators, axi_bits, "),
    ("tile = \n", "cannot be read: "),
    ("tile = 8\n", "missing"),
])
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        load_config(str(path))
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_names():
    assert load_config("small") is CONFIGS["small"]
    with pytest.raises(ValueError, match="^configuration 'big' is unknown: expected one of nano, "
                                         "small, small8, tall, u280 or a .toml file$"):
        load_config("big")
    assert isinstance(CONFIGS["tall"], CoreConfig)
