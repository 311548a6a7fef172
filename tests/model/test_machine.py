"""The machine, with the compiler's programs, against GPT-2 written out plainly."""

import dataclasses
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits32
from dfx_rtl.arith.golden import exact_to_fp32, exp16, gelu16, recip32, recip_sqrt32
from dfx_rtl.compiler import compile
from dfx_rtl.compiler.fold import fold_bias, fold_weights
from dfx_rtl.compiler.images import program_words
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Checkpoint, Reference
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.model import (
    CacheWrite,
    LogitsWrite,
    Machine,
    NumericError,
    RunError,
    ScalarWrite,
    TokenWrite,
    VectorWrite,
)

NANO = CONFIGS["nano"]
SIMULATED = ["nano", "small", "small8", "tall"]
MODELS = sorted(path.parent for path in
                (Path(__file__).resolve().parents[2] / "models").glob("*/config.json"))
WIDE, NARROW = np.float32, np.float16


def exact_dot(x, matrix):
    """x times matrix, by fractions, each sum rounded once to binary32."""
    x = [Fraction(float(value)) for value in x]
    sums = []
    for column in matrix.T:
        total = sum((a * Fraction(float(b)) for a, b in zip(x, column, strict=True)), Fraction(0))
        sums.append(int(total * 2**48))
    return exact_to_fp32(sums)


class PlainGpt2:
    """The hardware's arithmetic, without tiles, registers and programs: one line a step."""

    def __init__(self, checkpoint):
        self.tensor = checkpoint.tensor16
        self.model = checkpoint.config
        self.keys = [[] for _ in range(self.model.layers)]
        self.values = [[] for _ in range(self.model.layers)]
        self.position = 0

    def norm(self, x, name):
        n, exact = len(x), [Fraction(float(value)) for value in x]
        s1, s2 = sum(exact), sum(value * value for value in exact)
        mean = exact_to_fp32(int(s1 * 2**24), -24) * WIDE(1 / n)
        variance = exact_to_fp32(int((n * s2 - s1 * s1) * 2**48)) * WIDE(1 / n**2)
        deviation = recip_sqrt32(variance + WIDE(self.model.layer_norm_epsilon))
        y = (x.astype(WIDE) - mean) * deviation * self.tensor(f"{name}.weight").astype(WIDE)
        return (y + self.tensor(f"{name}.bias").astype(WIDE)).astype(NARROW)

    def linear(self, x, name, residual=None):
        v = exact_dot(x, self.tensor(f"{name}.weight")) + self.tensor(f"{name}.bias").astype(WIDE)
        if residual is not None:
            v = v + residual.astype(WIDE)
        return v.astype(NARROW)

    def attention(self, x, layer):
        size, context = self.model.head_dim, []
        query, key, value = np.split(self.linear(x, f"h.{layer}.attn.c_attn"), 3)
        self.keys[layer].append(key)
        self.values[layer].append(value)
        keys, values = np.stack(self.keys[layer]), np.stack(self.values[layer])
        for head in range(self.model.heads):
            part = slice(head * size, (head + 1) * size)
            scores = exact_dot(query[part], keys[:, part].T) * WIDE(1 / np.sqrt(size))
            scores = scores.astype(NARROW)
            e = exp16((scores.astype(WIDE) - scores.max().astype(WIDE)).astype(NARROW))
            total = exact_to_fp32(int(sum(Fraction(float(each)) for each in e) * 2**24), -24)
            context.append((exact_dot(e, values[:, part]) * recip32(total)).astype(NARROW))
        return np.concatenate(context)

    def step(self, token):
        x = self.tensor("wte")[token].astype(WIDE) + self.tensor("wpe")[self.position].astype(WIDE)
        x = x.astype(NARROW)
        for layer in range(self.model.layers):
            context = self.attention(self.norm(x, f"h.{layer}.ln_1"), layer)
            x = self.linear(context, f"h.{layer}.attn.c_proj", x)
            hidden = gelu16(self.linear(self.norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc"))
            x = self.linear(hidden, f"h.{layer}.mlp.c_proj", x)
        self.position += 1
        return exact_dot(self.norm(x, "ln_f"), self.tensor("wte").T)


class FoldedGpt2(PlainGpt2):
    """The same with the LayerNorms of the layers in the weights behind them."""

    def __init__(self, checkpoint):
        super().__init__(checkpoint)
        self.checkpoint = checkpoint

    def norm(self, x, name):
        if name == "ln_f":
            return super().norm(x, name)
        n, exact = len(x), [Fraction(float(value)) for value in x]
        s1, s2 = sum(exact), sum(value * value for value in exact)
        variance = exact_to_fp32(int((n * s2 - s1 * s1) * 2**48)) * WIDE(1 / n**2)
        self.rstd = recip_sqrt32(variance + WIDE(self.model.layer_norm_epsilon))
        self.folded = name
        return x

    def linear(self, x, name, residual=None):
        if name.endswith("c_proj"):
            return super().linear(x, name, residual)
        v = exact_dot(x, fold_weights(self.checkpoint, self.folded, name)) * self.rstd
        bias = fold_bias(self.checkpoint, self.folded, name).astype(WIDE)
        return (v + bias).astype(NARROW)


@pytest.mark.parametrize("layernorm, plain_class", [("explicit", PlainGpt2),
                                                    ("folded", FoldedGpt2)])
@pytest.mark.parametrize("sizes", [
    {"emb": 12, "heads": 3, "layers": 2, "vocabulary": 13, "inner": 20},
    {"emb": 20, "heads": 2, "layers": 1, "vocabulary": 9, "outlier": 900.0},
])
def test_equals_the_plain_one_bit_for_bit(checkpoint, sizes, layernorm, plain_class):
    source = checkpoint(positions=24, **sizes)
    ids = np.random.default_rng(0).integers(0, sizes["vocabulary"], 18).tolist()
    plain = plain_class(source)
    expected = np.stack([plain.step(token) for token in ids])
    for name in SIMULATED:
        compiled = compile(source, CONFIGS[name], logits=True, layernorm=layernorm)
        found = Machine(compiled).score(ids)
        assert np.array_equal(bits32(found), bits32(expected)), name


@pytest.mark.parametrize("sizes", [
    {"emb": 40, "heads": 5, "vocabulary": 65, "positions": 40},
    {"emb": 48, "heads": 3, "vocabulary": 65, "positions": 33, "inner": 50},
    {"emb": 64, "heads": 1, "vocabulary": 97, "positions": 20},
    {"emb": 16, "heads": 8, "vocabulary": 20, "positions": 35},
    {"emb": 80, "heads": 1, "vocabulary": 33, "positions": 20},  # a head is wider than a block
    {"emb": 1, "heads": 1, "vocabulary": 2, "positions": 3},
])
def test_every_configuration_gives_the_same_bits(checkpoint, sizes):
    source = checkpoint(layers=2, seed=3, **sizes)
    positions, logits, tokens = sizes["positions"], {}, {}
    for name in (*SIMULATED, "u280"):
        compiled = compile(source, CONFIGS[name], logits=True)
        machine = Machine(compiled)
        tokens[name] = machine.run([1], positions)
        logits[name] = np.stack([machine.logits(index) for index in range(positions)])
        assert not machine.flags.invalid
    for name in logits:
        assert np.array_equal(bits32(logits[name]), bits32(logits["nano"])), name
        assert tokens[name] == tokens["nano"]
    assert tokens["nano"] == logits["nano"].argmax(axis=1).tolist()
    truth = Reference(source, weights="binary16").logits([1, *tokens["nano"][:-1]])
    assert np.sqrt(((logits["nano"] - truth)**2).mean()) < 0.03


def test_few_registers_give_the_same_bits(checkpoint):
    """With little room fewer heads are in flight; the order of the program changes, not its
    results."""
    source = checkpoint(emb=48, heads=8, layers=2, positions=128)
    expected = Machine(compile(source, NANO, logits=True)).score(range(20))
    orders = set()
    for chunks in (1024, 256):
        config = dataclasses.replace(NANO, vector_chunks=chunks)
        compiled = compile(source, config, logits=True)
        orders.add(tuple(entry.opcode for entry in compiled.instructions))
        assert np.array_equal(Machine(compiled).score(range(20)), expected)
    assert len(orders) == 2


def test_all_logits_negative(checkpoint):
    """Padded columns are 0, and would win if they took part."""
    source = checkpoint(emb=16, heads=2, vocabulary=33, positions=8)
    compiled = compile(source, NANO, logits=True)
    wte = source.tensor16("wte").copy()
    wte[:, 0] = np.linspace(-9, -8, 33)
    gamma, beta = np.zeros(16, np.float16), np.eye(16, dtype=np.float16)[0]

    class Changed:
        config = source.config

        @staticmethod
        def tensor16(name):
            return {"wte": wte, "ln_f.weight": gamma, "ln_f.bias": beta}.get(
                name, source.tensor16(name))

    compiled = compile(Changed, NANO, logits=True)
    machine = Machine(compiled)
    assert machine.run([3], 2) == [32, 32]
    assert machine.logits(0).max() == -8


def test_score_is_run_with_given_tokens(checkpoint):
    source = checkpoint(layers=2)
    machine = Machine(compile(source, NANO, logits=True))
    tokens = machine.run([1, 2, 3], 6)
    generated = np.stack([machine.logits(index) for index in range(6)])
    assert np.array_equal(machine.score([1, 2, 3, *tokens])[2:-1], generated)


def test_end_of_text_ends_a_run(checkpoint):
    tokens = Machine(compile(checkpoint(), NANO)).run([1], 10)
    ending = tokens[4]
    again = Machine(compile(checkpoint(end_of_text=ending), NANO))
    assert again.run([1], 10) == tokens[:tokens.index(ending) + 1]


def test_tokens_come_one_by_one_and_stand_in_ddr(checkpoint):
    compiled = compile(checkpoint(), NANO)
    machine = Machine(compiled)
    tokens = list(machine.generate([1, 2], 5))
    assert machine.run([1, 2], 5) == tokens
    assert machine.run([1, 2], 0) == []
    raw = machine._core._ddr.read(compiled.run.output_base, 20).view("<u4")
    assert raw.tolist() == tokens


def test_records(checkpoint):
    records, run = [], None
    compiled = compile(checkpoint(layers=2), NANO, logits=True)
    run = Machine(compiled, on_write=records.append).run([1, 2, 3], 2)
    keys = Counter(record.key for record in records)
    assert max(keys.values()) == 1
    tokens = [record for record in records if isinstance(record, TokenWrite)]
    assert [record.token for record in tokens] == run
    assert [record.tag.position for record in tokens] == [2, 3]
    assert {record.tag.layer for record in tokens} == {2}
    assert [record.tag.position for record in records if isinstance(record, LogitsWrite)] == [2, 3]
    # Of each position: all layers' K (2 heads of 1 chunk) and V (2 heads of 4 groups).
    stored = Counter(record.tag.position for record in records if isinstance(record, CacheWrite))
    assert stored == dict.fromkeys(range(4), 2 * (2 + 8))
    for record in records:
        entry = compiled.instructions[record.tag.instruction]
        if isinstance(record, VectorWrite):
            name = "chunk" if entry.opcode == Opcode.LOAD else "destination"
            assert record.chunk >= getattr(entry, name)
            assert record.values.shape == (8,) and record.values.dtype == np.uint16
        elif isinstance(record, ScalarWrite):
            assert record.scalar in (entry.fields.get("maximum"),
                                     entry.fields.get("scalar_destination"))
    last = [record for record in records if isinstance(record, VectorWrite)][-1]
    assert not np.isnan(last.values.view(np.float16)).any()


def test_caches_are_where_the_instruction_set_says(checkpoint):
    records = []
    compiled = compile(checkpoint(emb=32, heads=2, positions=20), NANO)
    Machine(compiled, on_write=records.append).run([1] * 11, 1)
    layout = compiled.layout
    position, head, chunk = 10, 1, 1  # of K, which has 2 chunks a head
    tile = layout[f"attn.key.cache.{head}"].start + position // 2 * 2 + chunk
    group = 5                         # of V, which has 8 groups a head
    value_tile = layout[f"attn.value.cache.{head}"].start + position // 8 * 8 + group
    places = {record.key[3:] for record in records if isinstance(record, CacheWrite)
              and record.tag.position == position}
    assert ("tile", tile, position % 2 * 8) in places
    assert ("tile", value_tile, position % 8 * 2) in places
    assert len(places) == 2 * (2 + 8)


@pytest.mark.parametrize("prompt, count, message", [
    ([], 1, "the prompt is empty"),
    ([32], 1, "token 32 of the prompt is not in 0..31"),
    ([-1], 1, "token -1 of the prompt is not in 0..31"),
    ([1], -1, "output_count must not be negative, not -1"),
    ([1] * 10, 8, "10 tokens of prompt and 8 to generate need 17 positions, the program has 16"),
])
def test_run_errors(checkpoint, prompt, count, message):
    machine = Machine(compile(checkpoint(), NANO))
    with pytest.raises(RunError) as error:
        machine.run(prompt, count)
    assert str(error.value) == message


def test_a_text_goes_on(checkpoint):
    compiled, prompt = compile(checkpoint(), NANO), [1, 5, 2, 7]
    tokens = Machine(compiled).run(prompt, 3)
    machine = Machine(compiled)
    assert machine.run(prompt, 2) == tokens[:2]
    assert machine.run([*prompt, *tokens[:2]], 1, first_position=5) == tokens[2:]


@pytest.mark.parametrize("first", [-1, 2])
def test_first_position_is_one_of_the_prompt(checkpoint, first):
    with pytest.raises(RunError) as error:
        Machine(compile(checkpoint(), NANO)).run([1, 2], 1, first_position=first)
    assert str(error.value) == f"first_position must be in 0..1, not {first}"


def test_score_needs_logits(checkpoint):
    with pytest.raises(RunError) as error:
        Machine(compile(checkpoint(), NANO)).score([1])
    assert str(error.value) == ("the program does not write logits: compile it with logits=True")


def test_no_logit_is_a_number(checkpoint):
    compiled = compile(checkpoint(), NANO)
    ddr = compiled.ddr.copy()
    start = compiled.layout["ln_f.bias"].start
    ddr[start:start + 2].view("<u2")[0] = 0x7E00
    machine = Machine(dataclasses.replace(compiled, ddr=ddr))
    with pytest.raises(NumericError) as error:
        machine.run([1, 2], 1)
    assert str(error.value) == "position 1: no logit is a number"
    assert machine.flags.invalid


def test_a_core_of_a_ring_is_not_a_machine(checkpoint):
    compiled = compile(checkpoint(), NANO, core_id=1, core_count=3)
    with pytest.raises(RunError) as error:
        Machine(compiled)
    assert str(error.value) == ("the program is that of core 1 of 3: Cluster runs all of them "
                                "together")


def test_a_single_core_has_no_ring(checkpoint):
    compiled = compile(checkpoint(), NANO)
    ddr = compiled.ddr.copy()
    ddr[:32] = program_words([Instruction(Opcode.SYNC, total=1)])
    with pytest.raises(RunError) as error:
        Machine(dataclasses.replace(compiled, ddr=ddr)).run([1], 1)
    assert str(error.value) == "instruction 0 (SYNC): a single core has no ring"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_shipped_models_are_near_the_truth(path):
    source = Checkpoint.load(path)
    machine = Machine(compile(source, NANO, logits=True))
    ids = [1]
    ids += machine.run(ids, min(40, source.config.positions) - 1)
    found, truth = machine.score(ids), Reference(source).logits(ids)
    assert np.sqrt(((found - truth)**2).mean()) < 0.02
    best = np.sort(truth, axis=1)
    clear = best[:, -1] - best[:, -2] > 0.05
    assert clear.sum() > len(ids) // 2
    assert np.array_equal(found.argmax(axis=1)[clear], truth.argmax(axis=1)[clear])
