"""Writes checkpoints in the layout that Hugging Face's GPT-2 has, which is what :mod:`.checkpoint`
and :mod:`.tokenizer` read.

Used by the training script and by the random checkpoints of the tests; so this module needs
numpy alone, and no other module of this package.
"""

import json
from pathlib import Path

import numpy as np

__all__ = ["byte_spelling", "write_character_tokenizer", "write_config", "write_weights"]


def byte_spelling():
    """The character that GPT-2's vocabularies write for each byte.

    Printable bytes of Latin-1 spell themselves; the others take the code points from 256 on, in
    order, so that no entry of a vocabulary holds a space or a control character.

    Returns
    -------
    list of str
        256 characters, indexed by byte.
    """
    spelling, other = [], 256
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            spelling.append(chr(byte))
        else:
            spelling.append(chr(other))
            other += 1
    return spelling


def _write_json(path, value):
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=path.name == "config.json")
    path.write_text(text + "\n", encoding="utf-8")


def write_config(path, *, emb, layers, heads, vocabulary, positions, inner=None,
                 layer_norm_epsilon=1e-5, end_of_text=None, dtype="float16", **others):
    """Write ``config.json`` into the directory ``path``.

    Parameters
    ----------
    inner : int or None
        Width of the feed-forward layer; None is GPT-2's own, 4 times ``emb``.
    others
        More entries of the file, or other values of those written here.
    """
    _write_json(Path(path) / "config.json", {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": True,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "n_embd": emb,
        "n_layer": layers,
        "n_head": heads,
        "n_inner": inner,
        "n_positions": positions,
        "vocab_size": vocabulary,
        "layer_norm_epsilon": layer_norm_epsilon,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": dtype,
        **others,
    })


def _raw(values, dtype):
    """The bytes of a tensor, rounded to ``dtype``, as the file has them."""
    if dtype != "bfloat16":
        return np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (bits >> 16).astype("<u2").tobytes()


def write_weights(path, tensors, *, dtype="float16"):
    """Write one safetensors file: the length of the header, the header in JSON, the tensors.

    By hand, since numpy has no bfloat16 and the safetensors package writes none without PyTorch.

    Parameters
    ----------
    path : path of the file
    tensors : dict of str to numpy array
    dtype : str
        ``float32``, ``float16`` or ``bfloat16``: what each tensor is rounded to.
    """
    code = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    header, contents, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        contents.append(_raw(values, dtype))
        end = offset + len(contents[-1])
        header[name] = {"dtype": code, "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin on a multiple of 8 bytes
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(contents))


def write_character_tokenizer(path, symbols):
    """Write a tokenizer with one token for each byte of ``symbols`` and no merges.

    It is written twice, as Hugging Face does: ``tokenizer.json``, and ``vocab.json`` with
    ``merges.txt``.

    Parameters
    ----------
    symbols : bytes
        The bytes that have a token, in the order of their token ids.
    """
    path, spelling = Path(path), byte_spelling()
    vocabulary = {spelling[byte]: token for token, byte in enumerate(symbols)}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    _write_json(path / "vocab.json", vocabulary)
    (path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    _write_json(path / "tokenizer.json", {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"add_prefix_space": False},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [],
        },
    })
