"""Writes checkpoints in the layout that Hugging Face's GPT-2 has, which is what :mod:`.checkpoint`
and :mod:`.tokenizer` read.

Used by the training script and by the random checkpoints of the tests; so this module needs
numpy alone, and no other module of this package.
"""

import json
import math
from itertools import islice
from pathlib import Path

import numpy as np

__all__ = [
    "byte_spelling", "write_byte_pair_tokenizer", "write_character_tokenizer", "write_config",
    "write_weight_stream", "write_weights",
]

_CODES = {"float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2)}


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
    shapes = {name: np.shape(values) for name, values in tensors.items()}
    write_weight_stream(path, shapes, tensors.values(), dtype=dtype)


def write_weight_stream(path, shapes, pieces, *, dtype="float16"):
    """As :func:`write_weights`, piece by piece, for models that do not fit into memory.

    Parameters
    ----------
    path : path of the file
    shapes : dict of str to tuple of int
    pieces : iterable of numpy arrays
        Their elements, one array after the other, are those of all tensors in order.
    dtype : str
        ``float32``, ``float16`` or ``bfloat16``.

    Raises
    ------
    ValueError
        If the pieces have too few or too many elements.
    """
    code, item = _CODES[dtype]
    header, total = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = total + item * math.prod(shape)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [total, end]}
        total = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin on a multiple of 8 bytes
    written = 0
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for piece in pieces:
            written += file.write(_raw(piece, dtype))
    if written != total:
        raise ValueError(f"pieces must have {total} bytes, not {written}")


def _merges():
    """Pairs of tokens that a byte-level BPE joins, in order; the joined ones are all different.

    First two letters, then a space before them, then two such pairs: words of four letters.
    """
    letters = "etaoinshrdlucmfwygpbvkqxjz"  # the most frequent first
    pairs = sorted((i + j, i, j) for i in range(26) for j in range(26))
    pairs = [(letters[i], letters[j]) for _, i, j in pairs]
    space = byte_spelling()[ord(" ")]
    yield from pairs
    joined = ["".join(pair) for pair in pairs]
    yield from ((space, token) for token in (*letters, *joined))
    for rank in range(len(joined)):
        # All that has the pair of this rank, and none that is rarer.
        for first, second in ((*((rank, other) for other in range(rank)),
                               *((other, rank) for other in range(rank + 1)))):
            yield joined[first], joined[second]
            yield space + joined[first], joined[second]


def write_byte_pair_tokenizer(path, vocabulary, end_of_text="<|endoftext|>"):
    """Write a tokenizer of GPT-2's kind: ``vocab.json`` and ``merges.txt``.

    The ids are GPT-2's for single bytes and for the end of text; in between are made-up merges
    of small letters.

    Parameters
    ----------
    path : str or pathlib.Path
        The directory.
    vocabulary : int
        Tokens: the bytes, the merges, and the end of text with the last id.
    end_of_text : str

    Raises
    ------
    ValueError
        If the vocabulary has no room for the bytes, or more than there are merges for.
    """
    path, tokens = Path(path), sorted(byte_spelling())
    count = vocabulary - len(tokens) - 1
    merges = list(islice(_merges(), max(count, 0)))
    if len(merges) != count:
        raise ValueError(f"vocabulary must be in 257..{len(tokens) + 1 + len(list(_merges()))}, "
                         f"not {vocabulary!r}")
    tokens += ["".join(merge) for merge in merges]
    tokens.append(end_of_text)
    _write_json(path / "vocab.json", {token: index for index, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
