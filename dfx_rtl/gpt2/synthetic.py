"""Random checkpoints of any shape: for tests, and for timing where no trained model is at hand."""

import json
import math
from pathlib import Path

import numpy as np

from .config import Gpt2Config
from .writer import write_character_tokenizer, write_config, write_weights

__all__ = ["character_symbols", "write_random_checkpoint"]


def character_symbols(count):
    """The first ``count`` of 256 bytes, the most useful ones for writing English first."""
    first = b"etaoinshrdlucmfwygpbvkqxjz \n.,;:!?'-ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return (first + bytes(byte for byte in range(256) if byte not in first))[:count]


def _random_tensors(config, random, outlier):
    """Weights that make a lively model: neither constant nor repeating its input."""
    tensors = {}
    for name, shape in config.shapes().items():
        if name.endswith("bias"):
            values = random.normal(0, 0.1, shape)
        elif len(shape) == 1:
            values = random.normal(1, 0.2, shape)
        elif name == "wte":
            values = random.normal(0, 0.3, shape)
        elif name == "wpe":
            values = random.normal(0, 0.6, shape)
        else:
            values = random.normal(0, 2 / math.sqrt(shape[0]), shape)
        tensors[name] = values.astype(np.float32)
    tensors["wpe"][:, 0] += outlier
    return tensors


def write_random_checkpoint(path, *, emb=16, layers=1, heads=2, vocabulary=32, positions=16,
                            inner=None, seed=0, dtype="float16", prefix="transformer.",
                            end_of_text=None, outlier=0.0, shards=1, masks=False, head=False):
    """Write a random GPT-2 with a tokenizer of single bytes.

    Parameters
    ----------
    path : str or pathlib.Path
        The directory; made if it is missing.
    emb, layers, heads, vocabulary, positions, inner, end_of_text
        As in :class:`.Gpt2Config`. Up to 256 of the token ids are bytes; ids beyond have no text.
    seed : int
        The same seed gives the same file.
    dtype : str
        ``float32``, ``float16`` or ``bfloat16``.
    prefix : str
        In front of the tensors' names: ``transformer.``, or nothing as in the first GPT-2 files.
    outlier : float
        Added to the first element of every position's vector. Trained GPT-2 models have
        residuals of some thousands there.
    shards : int
        Number of files that the tensors are spread over.
    masks, head : bool
        Add the causal masks, and the copy of WTE, that some files have.

    Returns
    -------
    pathlib.Path
        ``path``.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    config = Gpt2Config(emb=emb, layers=layers, heads=heads, vocabulary=vocabulary,
                        positions=positions, inner=inner, end_of_text=end_of_text)
    values = _random_tensors(config, np.random.default_rng(seed), outlier)
    tensors = {prefix + name + (".weight" if name in ("wte", "wpe") else ""): value
               for name, value in values.items()}
    if masks:
        for layer in range(layers):
            tensors[f"{prefix}h.{layer}.attn.bias"] = np.tri(positions)[None, None]
            tensors[f"{prefix}h.{layer}.attn.masked_bias"] = np.array(-1e4)
    if head:
        tensors["lm_head.weight"] = values["wte"]
    write_config(path, emb=emb, layers=layers, heads=heads, vocabulary=vocabulary,
                 positions=positions, inner=inner, end_of_text=end_of_text, dtype=dtype)
    write_character_tokenizer(path, character_symbols(vocabulary))
    if shards == 1:
        write_weights(path / "model.safetensors", tensors, dtype=dtype)
    else:
        names, places = list(tensors), {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = {name: tensors[name] for name in names[shard::shards]}
            places |= dict.fromkeys(part, file)
            write_weights(path / file, part, dtype=dtype)
        (path / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    return path
