"""Tiny models for whole cores: a run takes a few thousand cycles."""

import pytest

from dfx_rtl.compiler import compile
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint

TINY = {"emb": 16, "layers": 2, "heads": 2, "vocabulary": 11, "positions": 16, "seed": 3}


@pytest.fixture
def tiny(tmp_path):
    """``tiny("nano", emb=24)``: a random model, compiled for a configuration."""

    def make(config="nano", *, logits=False, **changes):
        path = tmp_path / "-".join([config, *map(str, changes.values())])
        write_random_checkpoint(path, **{**TINY, **changes})
        return compile(Checkpoint.load(path), CONFIGS[config], logits=logits)

    return make
