"""Random checkpoints, and programs to spoil."""

import pytest

from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    """Make a random checkpoint: ``checkpoint(emb=40, heads=5, ...)``."""
    numbers = iter(range(1000))

    def make(**sizes):
        path = tmp_path / f"checkpoint{next(numbers)}"
        return Checkpoint.load(write_random_checkpoint(path, **sizes))

    return make
