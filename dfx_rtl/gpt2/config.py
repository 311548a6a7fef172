"""The sizes of a GPT-2, and the shapes of its tensors that follow from them."""

import math
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError, read_json

__all__ = ["Gpt2Config"]

# What the hardware computes. A file that leaves an entry out has the value of GPT-2.
_REQUIRED = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True, kw_only=True)
class Gpt2Config:
    """The sizes of one model.

    Parameters
    ----------
    emb : int
        Width of the residual, ``n_embd``.
    layers : int
        Decoder layers, ``n_layer``.
    heads : int
        Attention heads, ``n_head``; divides ``emb``.
    vocabulary : int
        Token ids, ``vocab_size``.
    positions : int
        Longest text in tokens, ``n_positions``.
    inner : int or None
        Width of the feed-forward layer, ``n_inner``; None becomes 4 times ``emb``.
    layer_norm_epsilon : float
        Added to every variance.
    end_of_text : int or None
        The token that ends a text, ``eos_token_id``; None if the model has none. An id outside
        the vocabulary can never be generated, and is None too.
    """

    emb: int
    layers: int
    heads: int
    vocabulary: int
    positions: int
    inner: int | None = None
    layer_norm_epsilon: float = 1e-5
    end_of_text: int | None = None

    def __post_init__(self):
        for name in ("emb", "layers", "heads", "vocabulary", "positions"):
            value = getattr(self, name)
            if not _is_count(value):
                raise ValueError(f"Gpt2Config.{name} must be a positive integer, not {value!r}")
        if self.emb % self.heads:
            raise ValueError(
                f"Gpt2Config.emb must be a multiple of heads, not {self.emb} and {self.heads}"
            )
        if self.inner is None:
            object.__setattr__(self, "inner", 4 * self.emb)
        if not _is_count(self.inner):
            raise ValueError(f"Gpt2Config.inner must be a positive integer, not {self.inner!r}")

    @property
    def head_dim(self):
        """Width of one head."""
        return self.emb // self.heads

    @property
    def parameters(self):
        """Number of weights; the tied output matrix counts once."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def shapes(self):
        """The model's tensors.

        Matrices have their inputs first: ``y = x @ weight + bias``.

        Returns
        -------
        dict of str to tuple of int
            Name to shape, in the order of use. The names are those of the checkpoint, without
            the ``transformer.`` prefix; ``wte`` and ``wpe`` also without ``.weight``.
        """
        emb, inner = self.emb, self.inner
        shapes = {"wte": (self.vocabulary, emb), "wpe": (self.positions, emb)}
        for layer in range(self.layers):
            shapes |= {
                f"h.{layer}.ln_1.weight": (emb,),
                f"h.{layer}.ln_1.bias": (emb,),
                f"h.{layer}.attn.c_attn.weight": (emb, 3 * emb),
                f"h.{layer}.attn.c_attn.bias": (3 * emb,),
                f"h.{layer}.attn.c_proj.weight": (emb, emb),
                f"h.{layer}.attn.c_proj.bias": (emb,),
                f"h.{layer}.ln_2.weight": (emb,),
                f"h.{layer}.ln_2.bias": (emb,),
                f"h.{layer}.mlp.c_fc.weight": (emb, inner),
                f"h.{layer}.mlp.c_fc.bias": (inner,),
                f"h.{layer}.mlp.c_proj.weight": (inner, emb),
                f"h.{layer}.mlp.c_proj.bias": (emb,),
            }
        return shapes | {"ln_f.weight": (emb,), "ln_f.bias": (emb,)}

    @classmethod
    def load(cls, path):
        """Read ``config.json`` in the directory ``path``.

        Raises
        ------
        CheckpointError
            If the file cannot be read, a size is missing or impossible, or the model differs
            from GPT-2 in what it computes.
        """
        file = Path(path) / "config.json"
        entries = read_json(file, CheckpointError)

        def refuse(key, expected):
            found = f"is {entries[key]!r}" if key in entries else "is missing"
            raise CheckpointError(f"{file}: {key} {found}, expected {expected}")

        if entries.get("model_type") != "gpt2":
            refuse("model_type", "'gpt2'")
        for key, value in _REQUIRED.items():
            if entries.get(key, value) != value:
                refuse(key, repr(value))
        sizes = {"emb": "n_embd", "layers": "n_layer", "heads": "n_head",
                 "vocabulary": "vocab_size", "positions": "n_positions"}
        for key in sizes.values():
            if not _is_count(entries.get(key)):
                refuse(key, "a positive integer")
        if entries["n_embd"] % entries["n_head"]:
            refuse("n_embd", f"a multiple of n_head, which is {entries['n_head']}")
        inner = entries.get("n_inner")
        if inner is not None and not _is_count(inner):
            refuse("n_inner", "a positive integer or null")
        epsilon = entries.get("layer_norm_epsilon", cls.layer_norm_epsilon)
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            refuse("layer_norm_epsilon", "a number between 0 and 1")
        end_of_text = entries.get("eos_token_id")
        if end_of_text is not None:
            if not isinstance(end_of_text, int) or isinstance(end_of_text, bool):
                refuse("eos_token_id", "an integer or null")
            if not 0 <= end_of_text < entries["vocab_size"]:
                end_of_text = None
        return cls(
            **{name: entries[key] for name, key in sizes.items()},
            inner=inner, layer_norm_epsilon=epsilon, end_of_text=end_of_text,
        )
