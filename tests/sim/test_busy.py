"""How busy the MPU is, in cycles, which depend on no machine: a cheap stand-in for GPT-2 345M.

Two layers of 12.7 k tiles on the (16, 4) core weigh their bubbles about as the 14.6 k tiles of a
layer of 345M do on the (64, 16) core. The recorded figures are printed and compared: a change of
the RTL or of the compiler that moves them has to say so here.
"""

import numpy as np
import pytest

from dfx_rtl.compiler import compile
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.activity import Account
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.model import Machine
from sim.profile import Recording, Timeline
from sim.simulation import Simulation

#: Cycles of a token at a context of 33, of two layers and the LM head.
CYCLES = {"explicit": 26_163, "folded": 25_678}
#: The longest that the MPU waits for the VPU in front of a product, in cycles.
LAYERNORM, SOFTMAX = 100, 40
POSITION = 32


def run(checkpoint, layernorm):
    """A token at the end of a prompt: its cycles, the roof, the waits for the VPU by place."""
    compiled = compile(Checkpoint.load(checkpoint), CONFIGS["small"], layernorm=layernorm)
    prompt = np.random.default_rng(0).integers(0, 64, POSITION).tolist()
    first = POSITION - 1
    machine = Machine(compiled)
    machine.run(prompt[:first], 0)
    simulation, recording = Simulation(compiled), Recording()
    simulation.load_caches(machine)
    result = simulation.generate(prompt, 2, first_position=first, recording=recording)
    assert result.tokens == machine.run(prompt, 2)
    timeline = Timeline(compiled, len(prompt), recording, result, first_position=first)
    waits = {total.name: total.cycles[Account.OPERAND_VPU] for total in timeline.totals(
        lambda segment: f"{segment.position} {segment.layer} {timeline.kind(segment.number)}")}
    cycles = result.token_cycles[1] - result.token_cycles[0]
    return cycles, compiled.shape.useful_tiles(POSITION), waits


@pytest.mark.parametrize("layernorm", CYCLES)
def test_the_stand_in(tmp_path, capsys, layernorm):
    write_random_checkpoint(tmp_path, emb=256, layers=2, heads=4, vocabulary=64, positions=64)
    recorded = CYCLES[layernorm]
    cycles, roof, waits = run(tmp_path, layernorm)
    # In front of layer 0 the MPU waits for the embedding too.
    norm = max(waits[f"{POSITION} {place}"]
               for place in ("0 conv1d mlp.fc", "1 conv1d attn.key", "1 conv1d mlp.fc"))
    softmax = max(waits[f"{POSITION} {layer} mm attn.value.cache"] for layer in range(2))
    with capsys.disabled():
        print(f"\n(16, 4), emb 256, {layernorm} LayerNorm: {cycles:,} cycles a token, "
              f"recorded {recorded:,}; busy {roof / cycles:.2%}; waits for LayerNorm {norm}, "
              f"for softmax {softmax} cycles")
    assert roof / cycles >= 0.95
    assert norm <= LAYERNORM and softmax <= SOFTMAX
    assert cycles == recorded
