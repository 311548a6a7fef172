"""A ring of cores gives the same bits as one core, whatever the cut."""

import dataclasses
import random

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits32
from dfx_rtl.compiler import compile, compile_cluster
from dfx_rtl.compiler.images import program_words
from dfx_rtl.compiler.shape import LAYERNORMS
from dfx_rtl.compiler.sharding import RINGS
from dfx_rtl.config import CONFIGS
from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.model import (
    CacheWrite,
    Cluster,
    LogitsWrite,
    Machine,
    NumericError,
    RunError,
    TokenWrite,
    VectorWrite,
)
from dfx_rtl.model.cluster import best_of
from dfx_rtl.model.matrix import Candidate

NANO = CONFIGS["nano"]
SIZES = {"emb": 44, "heads": 11, "layers": 2, "vocabulary": 75, "positions": 12}


def equal(models, alone, *, ids, prompt, count):
    """Logits of all positions, tokens, and logits of the tokens."""
    cluster, machine = Cluster(models), Machine(alone)
    found, expected = cluster.score(ids), machine.score(ids)
    assert np.array_equal(bits32(found), bits32(expected))
    tokens = cluster.run(prompt, count)
    assert tokens == machine.run(prompt, count)
    for index in range(len(tokens)):
        assert np.array_equal(bits32(cluster.logits(index)), bits32(machine.logits(index)))
    assert dataclasses.asdict(cluster.flags) == dataclasses.asdict(machine.flags)


def random_sizes(heads):
    rng = random.Random(heads)
    head_dim = rng.choice([1, 3, 4, 7, 8, 9, 12])
    return {"emb": heads * head_dim, "heads": heads, "layers": 2, "seed": heads,
            "inner": rng.randint(1, 5 * heads * head_dim), "vocabulary": rng.randint(33, 90),
            "positions": 12}


@pytest.mark.parametrize("heads", range(1, 13))
def test_the_same_bits_as_one_core(checkpoint, heads):
    """2 to 5 cores; both rings and both LayerNorms in all four combinations."""
    source = checkpoint(**random_sizes(heads))
    combinations = [(cores, RINGS[(heads + cores) % 2], LAYERNORMS[(heads + cores // 2) % 2])
                    for cores in range(2, 6)]
    assert len({entry[1:] for entry in combinations}) == 4
    for cores, ring, layernorm in combinations:
        alone = compile(source, NANO, logits=True, layernorm=layernorm)
        models = compile_cluster(source, NANO, cores, ring=ring, logits=True,
                                 layernorm=layernorm)
        equal(models, alone, ids=[1, 5, 2, 30, 8], prompt=[3, 1], count=3)


@pytest.mark.slow
@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("layernorm", LAYERNORMS)
@pytest.mark.parametrize("heads", range(1, 13))
def test_the_same_bits_in_every_combination(checkpoint, heads, layernorm, ring):
    source = checkpoint(**random_sizes(heads) | {"vocabulary": 90})
    alone = compile(source, NANO, logits=True, layernorm=layernorm)
    for cores in range(1, 9):
        models = compile_cluster(source, NANO, cores, ring=ring, logits=True,
                                 layernorm=layernorm)
        equal(models, alone, ids=range(12), prompt=[3, 1], count=10)


@pytest.mark.parametrize("layernorm", LAYERNORMS)
@pytest.mark.parametrize("sizes", [
    {"emb": 144, "heads": 2},               # all products have several blocks
    {"emb": 160, "heads": 1, "inner": 90},  # a head is wider than a block
    {"emb": 128, "heads": 4, "layers": 1},  # blocks that are not whole chunks on the thin one
    {"emb": 40, "heads": 8, "inner": 7},
])
def test_several_blocks_and_configurations(checkpoint, sizes, layernorm):
    source = checkpoint(**{"layers": 2, "vocabulary": 200, "positions": 20} | sizes)
    thin = dataclasses.replace(NANO, name="thin", tile=64, lanes=1, axi_bits=256)
    alone = compile(source, NANO, logits=True, layernorm=layernorm)
    for config in (NANO, CONFIGS["small8"], CONFIGS["tall"], thin):
        if config is thin and source.config.head_dim > 32:
            continue
        models = compile_cluster(source, config, 3, logits=True, layernorm=layernorm)
        equal(models, alone, ids=range(18), prompt=[7], count=3)


class Recorded:
    """A ring and a single core of the same model, with what they write."""

    def __init__(self, source, cores, **options):
        self.models = compile_cluster(source, NANO, cores, logits=True, **options)
        self.alone = compile(source, NANO, logits=True)
        self.records = [[] for _ in self.models]
        self.cluster = Cluster(self.models,
                               on_write=lambda core, record: self.records[core].append(record))
        self.expected = []
        self.machine = Machine(self.alone, on_write=self.expected.append)

    def vectors(self, compiled, records):
        """Every chunk of the vectors that are handed round: what each layer writes."""
        writes = {}
        for record in records:
            if isinstance(record, VectorWrite):
                name = compiled.registers.find_chunk(record.chunk).name
                if name in ("context", "residual.0", "residual.1", "hidden"):
                    key = record.tag.position, record.tag.layer, name, record.chunk
                    writes.setdefault(key, []).append(record.values.tobytes())
        return writes


@pytest.mark.parametrize("cores", [3, 8])
def test_every_core_has_every_vector_once(checkpoint, cores):
    recorded = Recorded(checkpoint(**SIZES), cores)
    tokens = recorded.cluster.run([1, 2, 3], 2)
    assert tokens == recorded.machine.run([1, 2, 3], 2)
    expected = recorded.vectors(recorded.alone, recorded.expected)
    for compiled, records in zip(recorded.models, recorded.records, strict=True):
        assert recorded.vectors(compiled, records) == expected


def test_records(checkpoint):
    recorded = Recorded(checkpoint(**SIZES), 4)
    tokens = recorded.cluster.run([1, 2, 3], 2)
    recorded.machine.run([1, 2, 3], 2)
    caches, logits = [], []
    for compiled, records in zip(recorded.models, recorded.records, strict=True):
        keys = [record.key for record in records]
        assert len(set(keys)) == len(keys)
        instructions = compiled.instructions
        tokens_written = [record for record in records if isinstance(record, TokenWrite)]
        assert [record.token for record in tokens_written] == tokens
        assert {instructions[record.tag.instruction].opcode for record in tokens_written} == {
            Opcode.ARG_MAX}
        received = {}
        for record in records:
            entry = instructions[record.tag.instruction]
            if entry.opcode == Opcode.SYNC:
                assert isinstance(record, VectorWrite)
                received.setdefault(record.tag, []).append(record.chunk)
        assert len(received) == 4 * 2 * 4  # positions, layers, SYNCs
        for tag, chunks in received.items():
            entry = instructions[tag.instruction]
            own = range(entry.source, entry.source + entry.chunks)
            assert chunks == [chunk for chunk in range(entry.destination,
                                                       entry.destination + entry.total)
                              if chunk not in own]
        caches += [record for record in records if isinstance(record, CacheWrite)]
        logits.append([record.bits for record in records if isinstance(record, LogitsWrite)])
    # Every head's K and V are on one core, and every logit.
    values = sorted(record.values.tobytes() for record in caches)
    assert values == sorted(record.values.tobytes() for record in recorded.expected
                            if isinstance(record, CacheWrite))
    whole = [record.bits for record in recorded.expected if isinstance(record, LogitsWrite)]
    for index, expected in enumerate(whole):
        assert np.array_equal(np.concatenate([part[index] for part in logits]), expected)
    for core, machine in enumerate(recorded.cluster.machines):
        assert np.array_equal(bits32(machine.logits(1)), logits[core][1])
        assert machine.hbm.image.shape == recorded.models[core].hbm.shape


class Changed:
    """A checkpoint whose logits are a column of its token embedding."""

    def __init__(self, source, logits):
        self.config = source.config
        wte = source.tensor16("wte").copy()
        wte[:, 0] = logits
        emb = source.config.emb
        self._source = source
        self._tensors = {"wte": wte, "ln_f.weight": np.zeros(emb, np.float16),
                         "ln_f.bias": np.eye(emb, dtype=np.float16)[0]}

    def tensor16(self, name):
        found = self._tensors.get(name)
        return self._source.tensor16(name) if found is None else found


@pytest.mark.parametrize("best, token", [
    ({70: -1}, 70), ({33: -1, 9: -1, 70: -1}, 9), ({16: -1, 70: -1}, 16), ({24: 2, 0: 1}, 24),
    ({40: 0.0, 71: 0.0}, 40)])
def test_arg_max_over_the_ring(checkpoint, best, token):
    """The largest logit; the lowest token of equal ones, on whatever core."""
    logits = np.linspace(-9, -8, 75)
    for place, value in best.items():
        logits[place] = value
    source = Changed(checkpoint(emb=16, heads=2, vocabulary=75, positions=8), logits)
    for cores in (2, 4, 5):
        assert Cluster(compile_cluster(source, NANO, cores)).run([3], 2) == [token] * 2


def test_cores_without_a_number_lose(checkpoint):
    """NaN on some cores: their candidates do not count, and the flag is set."""
    source = checkpoint(emb=16, heads=2, vocabulary=75, positions=8)
    models = compile_cluster(source, NANO, 4, logits=True)

    def spoiled(compiled):
        hbm = compiled.hbm.copy()
        size = compiled.config.word_bytes
        hbm[:, compiled.layout["lm_head"].start * size:].view("<u2")[...] = 0x7E00
        return dataclasses.replace(compiled, hbm=hbm)

    healthy = Cluster(models)
    token = healthy.run([1], 1)[0]
    core = next(number for number, model in enumerate(models)
                if token < model.shape.first_token + model.shape.head_product.columns)
    others = np.delete(healthy.logits(0), range(
        models[core].shape.first_token,
        models[core].shape.first_token + models[core].shape.head_product.columns))
    cluster = Cluster([spoiled(model) if number == core else model
                       for number, model in enumerate(models)])
    again, = cluster.run([1], 1)
    assert healthy.logits(0)[again] == others.max()
    assert cluster.flags.invalid and not healthy.flags.invalid
    assert [machine.flags.invalid for machine in cluster.machines] == [
        number == core for number in range(4)]
    cluster = Cluster([spoiled(model) for model in models])
    with pytest.raises(NumericError) as error:
        cluster.run([1, 2], 1)
    assert str(error.value) == "position 1: no logit is a number"


@pytest.mark.parametrize("values, token", [
    ([(0.0, 40), (-0.0, 3)], 3), ([(-0.0, 3), (0.0, 40)], 3), ([(np.nan, -1), (-np.inf, 8)], 8),
    ([(-5, 9), (np.nan, -1)], 9), ([(np.nan, -1), (np.nan, -1)], -1)])
def test_the_best_candidate(values, token):
    """Zeros are equal, and a NaN is none, even beside -infinity."""
    assert best_of([Candidate(np.float32(logit), place) for logit, place in values]).token == token


def test_runs_go_on_and_end(checkpoint):
    source, prompt = checkpoint(**SIZES), [1, 5, 2, 7]
    models = compile_cluster(source, NANO, 3)
    tokens = Cluster(models).run(prompt, 4)
    cluster = Cluster(models)
    assert list(cluster.generate(prompt, 2)) == tokens[:2]
    assert cluster.run([*prompt, *tokens[:2]], 2, first_position=5) == tokens[2:]
    assert cluster.run(prompt, 0) == []
    ended = compile_cluster(checkpoint(end_of_text=tokens[1], **SIZES), NANO, 3)
    assert Cluster(ended).run(prompt, 4) == tokens[:tokens.index(tokens[1]) + 1]


def test_errors(checkpoint):
    source = checkpoint(**SIZES)
    models = compile_cluster(source, NANO, 3)

    def message(programs, action=lambda cluster: cluster.run([1], 1)):
        with pytest.raises(RunError) as error:
            action(Cluster(programs))
        return str(error.value)

    assert message([]) == "a ring has at least one core"
    assert message(models[:2]) == "program 0 of 2 is that of core 0 of 3"
    assert message([models[0], models[2], models[1]]) == "program 1 of 3 is that of core 2 of 3"
    assert message(models, lambda cluster: cluster.score([1])) == (
        "the program does not write logits: compile it with logits=True")
    assert message(models, lambda cluster: cluster.run([75], 1)) == (
        "token 75 of the prompt is not in 0..74")

    def changed(number, **fields):
        """Core 1 with another instruction."""
        entry = models[1].instructions[number]
        opcode = fields.pop("opcode", entry.opcode)
        ddr = models[1].ddr.copy()
        ddr[32 * number:32 * number + 32] = program_words(
            [Instruction(opcode, **entry.fields | fields)])
        return [models[0], dataclasses.replace(models[1], ddr=ddr), models[2]]

    number = next(number for number, entry in enumerate(models[1].instructions)
                  if entry.opcode == Opcode.SYNC)
    entry = models[1].instructions[number]
    assert message(changed(number, opcode=Opcode.ARG_MAX)) == (
        "the cores do not execute the same SYNC and ARG_MAX")
    assert message(changed(number, total=entry.total + 1)) == (
        f"core 1, instruction {number} (SYNC): 11 chunks come, not 12")
    assert message(changed(number, source=entry.source + 1)) == (
        f"core 1, instruction {number} (SYNC): the own share belongs at chunk {entry.source}, "
        f"not at {entry.source + 1}")
    shorter = dataclasses.replace(models[2], run=dataclasses.replace(models[2].run, layers=1))
    assert message([*models[:2], shorter]) == "the cores do not execute the same SYNC and ARG_MAX"
