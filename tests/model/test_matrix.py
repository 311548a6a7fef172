"""Matrix instructions, one by one, against sums of fractions."""

import numpy as np
import pytest

from dfx_rtl.arith import golden
from dfx_rtl.arith.formats import bits16, bits32, float16_from_bits
from dfx_rtl.compiler.tiles import block_of, product_tiles, tile_image
from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.model.exact import exact_integers
from dfx_rtl.model.matrix import MatrixUnit, _maximum
from dfx_rtl.model.memory import Hbm
from dfx_rtl.model.state import State
from dfx_rtl.model.trace import Tag

NANO = CONFIGS["nano"]
TAG = Tag(6, 0, 0)


class Bench:
    """A matrix unit with one matrix in HBM, from tile 3 on."""

    def __init__(self, weights, config=NANO, block=None):
        self.config, self.records = config, []
        self.weights = np.asarray(weights, np.float16)
        rows, columns = self.weights.shape
        self.block = block or block_of(columns, config)
        hbm = Hbm(np.zeros((config.channels, 1 << 15), np.uint8), config, [(0, 100)])
        hbm.write_tiles(3, tile_image(self.weights, self.block, config))
        self.state = State(config, self.records.append)
        self.unit = MatrixUnit(self.state, hbm)
        self.hbm = hbm

    def put(self, chunk, values):
        self.state.write(TAG, chunk, np.asarray(values, np.float16), fill=0x7E00)
        self.records.clear()

    def execute(self, opcode=Opcode.MM, layer_base=0, **fields):
        rows, columns = self.weights.shape
        instruction = Instruction(opcode, **{
            "source": 0, "rows": rows, "columns": columns, "block": self.block, "tile": 3,
            "tiles": product_tiles(rows, columns, self.config), "first": 1, "last": 1,
            "destination": 100, "token_rows": 1} | fields)
        return self.unit.execute(instruction, TAG, layer_base)

    def sums(self, x):
        return golden.exact_to_fp32(exact_integers(
            np.asarray(x, np.float16), np.ascontiguousarray(self.weights.T)))


def normal(*shape, seed=0, scale=1):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float16)


@pytest.mark.parametrize("name", ["nano", "small", "tall"])
@pytest.mark.parametrize("rows, columns, block", [(1, 1, None), (19, 23, None), (40, 65, 7)])
def test_output_pass(name, rows, columns, block):
    bench = Bench(normal(rows, columns, seed=1), CONFIGS[name], block)
    x, bias, residual = normal(rows), normal(columns, seed=2), normal(columns, seed=3)
    bench.put(0, x)
    bench.put(20, bias)
    bench.put(60, residual)
    bench.state.write_scalar(TAG, 5, np.float32(0.3))
    v = bench.sums(x) * np.float32(0.3)
    v = v + bias.astype(np.float32)
    v = v + residual.astype(np.float32)
    h = golden.gelu16(v.astype(np.float16))
    logits, candidate = bench.execute(scale_enable=1, scale=5, bias_enable=1, bias=20,
                                  residual_enable=1, residual=60, gelu=1, write=1, logits=1,
                                  arg_max=1, maximum_enable=1, maximum=9)
    assert np.array_equal(bits32(logits), bits32(v))
    assert candidate == (v.max(), int(np.argmax(v)))
    assert np.array_equal(bits16(bench.state.read(100, columns)), bits16(h))
    assert bench.state.read_scalar(9) == h.max()
    chunks = bench.config.chunks(columns)
    rest = bench.state.read(100, chunks * bench.config.tile)[columns:]
    assert not bits16(rest).any()
    bench.execute(write=1, mask=1)
    rest = bench.state.read(100, chunks * bench.config.tile)[columns:]
    assert (bits16(rest) == 0xFC00).all()


def test_only_valid_rows_and_columns_count():
    bench = Bench(np.full((8, 4), np.nan))
    bench.hbm.write(3, 0, bits16(np.array([1, 2, 3, 4, np.nan], np.float16)))
    bench.put(0, [1, 1, 1, 1, np.inf, np.nan])
    bench.execute(rows=4, columns=1, write=1)
    assert bench.state.read(100, 2).tolist() == [10, 0]
    assert not bench.state.flags.invalid and not bench.state.flags.overflow


@pytest.mark.parametrize("name", ["nano", "small"])
def test_rows_and_columns_follow_the_position(name):
    config, position = CONFIGS[name], TAG.position
    keys, query = normal(position + 1, config.tile), normal(config.tile, seed=4)
    bench = Bench(np.zeros((config.tile, 1)), config)
    bench.put(0, query)
    for p, key in enumerate(keys):
        bench.hbm.write(50 + p // config.lanes, p % config.lanes * config.tile, bits16(key))
    bench.execute(Opcode.MASKED_MM, rows=config.tile, columns=0, columns_from_position=1, block=1,
                  tile=10, tiles=1, layer_relative=1, layer_base=40, key_value=1, write=1)
    expected = golden.exact_to_fp32(exact_integers(query, keys)).astype(np.float16)
    assert np.array_equal(bench.state.read(100, position + 1), expected)

    values = normal(position + 1, 2 * config.lanes)
    for p, value in enumerate(values):
        for group in range(2):
            bench.hbm.write(60 + p // config.tile * 2 + group, p % config.tile * config.lanes,
                            bits16(value[group * config.lanes:(group + 1) * config.lanes]))
    weights = normal(position + 1, seed=5)
    bench.put(0, weights)
    bench.execute(rows=0, rows_from_position=1, columns=2 * config.lanes, block=2, tile=60,
                  tiles=2, transposed=1, key_value=1, write=1)
    expected = golden.exact_to_fp32(exact_integers(
        weights, np.ascontiguousarray(values.T))).astype(np.float16)
    assert np.array_equal(bench.state.read(100, 2 * config.lanes), expected)


def test_segments_are_one_sum():
    bench = Bench(normal(24, 7, scale=100))
    x = normal(24, scale=100)
    bench.put(0, x)
    block = bench.block
    for first in range(3):
        logits, _ = bench.execute(source=first, rows=8, tile=3 + first * block, tiles=block,
                                  first=int(first == 0), last=int(first == 2),
                                  logits=int(first == 2))
    assert np.array_equal(bits32(logits), bits32(bench.sums(x)))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_segments_take_what_was_read_when_they_ran(order):
    """The registers may change before the last one."""
    weights = normal(24, 7, scale=100)
    bench, x = Bench(weights), normal(24, scale=100)
    for number, first in enumerate(order):
        bench.put(5, x[8 * first:8 * first + 8])
        logits, _ = bench.execute(source=5, rows=8, tile=3 + first * bench.block,
                                  tiles=bench.block, first=int(number == 0),
                                  last=int(number == 2), logits=int(number == 2))
    assert np.array_equal(bits32(logits), bits32(bench.sums(x)))
    # A product of its own begins anew.
    bench.put(0, x)
    logits, _ = bench.execute(logits=1)
    assert np.array_equal(bits32(logits), bits32(bench.sums(x)))


def test_segments_join_infinities():
    weights = np.zeros((16, 2), np.float16)
    weights[0], weights[8] = [np.inf, 1], [-np.inf, -np.inf]
    bench = Bench(weights)
    bench.put(0, np.ones(16))
    bench.execute(rows=8, tiles=1, last=0)
    logits, _ = bench.execute(source=1, rows=8, tile=4, tiles=1, first=0, logits=1)
    assert bits32(logits).tolist() == [0x7FC00000, 0xFF800000]
    assert bench.state.flags.invalid


@pytest.mark.parametrize("values, token, invalid", [
    ([-3, -1, -1, -2], 1, False),            # all negative, and a tie
    ([-0.0, 0, -5, -5], 0, False),           # zeros are equal
    ([np.nan, -1, -2, np.nan], 1, True),
    ([np.nan] * 4, -1, True),
    ([-np.inf, -np.inf, -np.inf, -np.inf], 0, False),
])
def test_arg_max(values, token, invalid):
    bench = Bench(np.array([values]))
    bench.put(0, [1])
    _, found = bench.execute(arg_max=1)
    assert found.token == token
    if token >= 0:
        assert found.logit == np.float32(values[token])
    assert bench.state.flags.invalid == invalid


def test_arg_max_of_a_share_counts_from_its_base():
    bench = Bench(np.array([[-3, 5, 5, 1]]))
    bench.put(0, [1])
    assert bench.execute(arg_max=1, arg_max_base=1000)[1] == (5, 1001)
    bench.put(0, [np.nan])
    assert bench.execute(arg_max=1, arg_max_base=1000)[1].token == -1


@pytest.mark.parametrize("values, bits", [
    ([-0.0, 0.0], 0x0000), ([-0.0, -0.0], 0x8000), ([-1, -0.0, -2], 0x8000), ([-3, -2], 0xC000),
    ([1, np.nan, np.inf], 0x7E00), ([-np.inf], 0xFC00), ([1, np.inf], 0x7C00)])
def test_maximum(values, bits):
    assert bits16(_maximum(np.array(values, np.float16))) == bits


def test_overflow_is_flagged():
    bench = Bench([[65504.0], [65504.0]])
    bench.put(0, [1, 1])
    bench.execute(write=1)
    assert bits16(bench.state.read(100, 1)).tolist() == [0x7C00]
    assert bench.state.flags.overflow and not bench.state.flags.invalid


def test_weights_are_kept_until_hbm_changes():
    bench = Bench([[1.0]])
    bench.put(0, [1])
    bench.execute(write=1)
    bench.hbm.write(3, 0, [0x4000])
    bench.execute(write=1)
    assert bench.state.read(100, 1) == 1
    bench.unit.forget()
    bench.execute(write=1)
    assert bench.state.read(100, 1) == float16_from_bits(0x4000)
