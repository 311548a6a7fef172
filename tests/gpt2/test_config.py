import re

import pytest

from dfx_rtl.gpt2 import Gpt2Config

SIZES = {"emb": 8, "layers": 1, "heads": 2, "vocabulary": 5, "positions": 4}


@pytest.mark.parametrize("entries, message", [
    ({"emb": 0}, "Gpt2Config.emb must be a positive integer, not 0"),
    ({"layers": -1}, "Gpt2Config.layers must be a positive integer, not -1"),
    ({"heads": 2.0}, "Gpt2Config.heads must be a positive integer, not 2.0"),
    ({"vocabulary": None}, "Gpt2Config.vocabulary must be a positive integer, not None"),
    ({"positions": True}, "Gpt2Config.positions must be a positive integer, not True"),
    ({"inner": 0}, "Gpt2Config.inner must be a positive integer, not 0"),
    ({"heads": 3}, "Gpt2Config.emb must be a multiple of heads, not 8 and 3"),
])
def test_errors(entries, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Gpt2Config(**{**SIZES, **entries})


def test_gpt2_sizes():
    """The published models have the published numbers of weights."""
    def count(emb, layers, heads):
        return Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=50257,
                          positions=1024).parameters

    assert count(768, 12, 12) == 124_439_808
    assert count(1024, 24, 16) == 354_823_168
    assert count(1600, 48, 25) == 1_557_611_200
