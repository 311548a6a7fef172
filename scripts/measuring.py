"""What the measuring scripts share: synthetic models, one token on full-size cores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_checkpoint import main as make_checkpoint

from dfx_rtl.compiler import cluster_roof
from sim.memory.timing import Timing
from sim.simulation import Simulation

__all__ = ["TIMING", "Token", "extrapolate", "one_token", "synthetic"]

#: 120 kernel cycles of 200 MHz, and 60 of every 780 for refresh, in cycles of 450 MHz.
TIMING = {"latency": 270, "write_latency": 270, "refresh_interval": 1755, "refresh_length": 135,
          "outstanding": 64}


@dataclass(frozen=True)
class Token:
    """What one token took.

    Members
    -------
    cycles : int
        From the token before to this one.
    roof : float
        The cycles that it takes if the MPU of every core is busy all the time.
    """

    cycles: int
    roof: float


def one_token(models, context, *, timing=None, **options):
    """Run one token on the compiled engine. The caches are random: cycles do not depend on them.

    Parameters
    ----------
    models : list of CompiledModel
        Of all cores.
    context : int
        Rows of K and V that the token reads, its own included; at least 2, since the token before
        it starts the clock.
    timing : dict or None
        Changes of :data:`TIMING`.
    **options
        Of :class:`~sim.simulation.Simulation`.

    Returns
    -------
    Token
    """
    simulation = Simulation(models, "compiled",
                            hbm_timing=Timing.hbm(**{**TIMING, **(timing or {})}), **options)
    random = np.random.default_rng(0)
    for model, (hbm, _) in zip(models, simulation.memories, strict=True):
        size = model.config.word_bytes
        for first, count in model.caches:
            for storage in hbm:
                part = storage.array[first * size:(first + count) * size].view(np.float16)
                part[:] = random.standard_normal(part.size, np.float32)
    first = context - 2
    prompt = random.integers(0, models[0].run.vocabulary, first + 1).tolist()
    before, behind = simulation.generate(prompt, 2, first_position=first).token_cycles
    return Token(behind - before, cluster_roof(models, first + 1))


def synthetic(shape, layers, directory):
    """Write checkpoints of a shape with these numbers of layers; yields their paths."""
    for count in layers:
        path = Path(directory) / f"{shape}-{count}"
        status = make_checkpoint(["--shape", shape, "--layers", str(count), "--out", str(path)])
        if status:
            raise SystemExit(status)
        yield path


def extrapolate(values, layers, total):
    """What a model of ``total`` layers takes, by runs of one or two of its first layers.

    What the second number of layers adds to the first is what every other layer adds.
    """
    if len(layers) == 1:
        return values[0]
    (two, three), (fewer, more) = values, layers
    return two + (total - fewer) * (three - two) / (more - fewer)
