"""Whole models with folded LayerNorms: near to float64, and the same on RTL and machine."""

import numpy as np
import pytest

from dfx_rtl.arith.formats import bits32
from dfx_rtl.compiler import compile
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Reference
from dfx_rtl.isa import Opcode
from dfx_rtl.model import Machine, ScalarWrite
from sim.check import Check
from sim.simulation import Simulation

TINY = {"emb": 12, "heads": 3, "layers": 2, "vocabulary": 11, "positions": 16, "seed": 3}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("sizes", [
    {"emb": 40, "heads": 5, "vocabulary": 65},
    {"emb": 36, "heads": 3, "vocabulary": 65, "inner": 50},
    {"emb": 64, "heads": 2, "vocabulary": 97, "outlier": 3000.0},
])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_near_float64_on_every_configuration(checkpoint, sizes, dtype):
    source = checkpoint(layers=3, positions=32, seed=4, dtype=dtype, **sizes)
    ids = np.random.default_rng(1).integers(0, sizes["vocabulary"], 32).tolist()
    truth = Reference(source).logits(ids)

    def score(name, layernorm):
        machine = Machine(compile(source, CONFIGS[name], logits=True, layernorm=layernorm))
        logits = machine.score(ids)
        assert not machine.flags.overflow and not machine.flags.invalid
        return logits

    folded = score("nano", "folded")
    for name in ("small8", "tall", "u280"):
        assert np.array_equal(bits32(score(name, "folded")), bits32(folded)), name
    assert rms(folded - truth) < 1.3 * rms(score("nano", "explicit") - truth)


@pytest.mark.parametrize("stalls, seed", [(0, 1), (60, 2)])
def test_every_write_of_the_core_equals_the_machine(checkpoint, stalls, seed):
    compiled = compile(checkpoint(**TINY), CONFIGS["nano"], layernorm="folded")
    prompt, count = [1, 5, 2], 2
    simulation = Simulation(compiled, stalls=stalls, seed=seed)
    check = Check(compiled, prompt, count)
    simulation.engine.observe(check.observe)
    result = simulation.generate(prompt, count)
    check.finish(result)
    writes = []
    tokens = Machine(compiled, on_write=writes.append).run(prompt, count)
    assert result.tokens == tokens
    deviations = [write for write in writes if isinstance(write, ScalarWrite)
                  and compiled.instructions[write.tag.instruction].opcode == Opcode.RSTD]
    assert len(deviations) == 2 * 2 * (len(prompt) + count - 1)


def test_the_product_does_not_wait_for_the_deviation(checkpoint):
    """Fewer cycles than with LayerNorm in between: most of each of its latencies is gone."""
    source = checkpoint(**TINY)
    cycles = {}
    for layernorm in ("explicit", "folded"):
        compiled = compile(source, CONFIGS["nano"], layernorm=layernorm)
        cycles[layernorm] = Simulation(compiled).generate([1], 1).cycles
    norms = 2 * TINY["layers"]
    assert cycles["explicit"] - cycles["folded"] > 30 * norms
