"""GPT-2 in float64, straight from the checkpoint: the truth that the hardware is measured with.

It shares nothing with the hardware's program or with the bit-exact machine but the checkpoint.
Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, and the
published weights' own definition (tanh form of GELU, LayerNorm before each branch).
"""

import math

import numpy as np

__all__ = ["Reference"]

_CACHE_BYTES = 8 << 30  # a model that is larger in float64 is converted anew for each use


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Reference:
    """A plain GPT-2.

    Parameters
    ----------
    checkpoint : Checkpoint
    weights : str
        ``stored``: the weights as they are in the file; ``binary16``: rounded as the hardware
        has them, so that what remains is the error of its arithmetic.

    Members
    -------
    length : int
        Tokens that :meth:`step` has taken since the last :meth:`reset`.

    Raises
    ------
    ValueError
        If ``weights`` is neither.
    """

    def __init__(self, checkpoint, weights="stored"):
        if weights not in ("stored", "binary16"):
            raise ValueError(f"weights must be 'stored' or 'binary16', not {weights!r}")
        self.config = checkpoint.config
        self._read = checkpoint.tensor if weights == "stored" else checkpoint.tensor16
        self._cached = {} if 8 * self.config.parameters <= _CACHE_BYTES else None
        self.reset()

    def _tensor(self, name):
        if self._cached is None:
            return self._read(name).astype(np.float64)
        if name not in self._cached:
            self._cached[name] = self._read(name).astype(np.float64)
        return self._cached[name]

    def _linear(self, x, name):
        return x @ self._tensor(f"{name}.weight") + self._tensor(f"{name}.bias")

    def _norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + self.config.layer_norm_epsilon)
        return normal * self._tensor(f"{name}.weight") + self._tensor(f"{name}.bias")

    def _attention(self, x, layer, past):
        """The context of each row of ``x``, which stand behind the positions in ``past``."""
        config, rows = self.config, len(x)
        split = self._linear(x, f"h.{layer}.attn.c_attn").reshape(
            rows, 3, config.heads, config.head_dim)
        query, key, value = split.transpose(1, 2, 0, 3)
        if past is not None:
            key = np.concatenate([past[0], key], axis=1)
            value = np.concatenate([past[1], value], axis=1)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(config.head_dim)
        visible = np.tri(rows, key.shape[1], key.shape[1] - rows, dtype=bool)
        context = _softmax(np.where(visible, scores, -np.inf)) @ value
        joined = context.transpose(1, 0, 2).reshape(rows, config.emb)
        return self._linear(joined, f"h.{layer}.attn.c_proj"), (key, value)

    def _forward(self, ids, past):
        """The logits behind each id, and the keys and values of every layer."""
        config, start = self.config, 0 if past[0] is None else past[0][0].shape[1]
        ids = np.asarray(ids, np.int64).reshape(-1)
        if not len(ids):
            raise ValueError("ids must not be empty")
        if ids.min() < 0 or ids.max() >= config.vocabulary:
            raise ValueError(f"ids must be from 0 to {config.vocabulary - 1}, not {ids.tolist()}")
        if start + len(ids) > config.positions:
            raise ValueError(f"the model has {config.positions} positions, not {start + len(ids)}")
        x = self._tensor("wte")[ids] + self._tensor("wpe")[start : start + len(ids)]
        present = []
        for layer in range(config.layers):
            branch, pair = self._attention(self._norm(x, f"h.{layer}.ln_1"), layer, past[layer])
            present.append(pair)
            x = x + branch
            hidden = self._linear(self._norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
            x = x + self._linear(_gelu(hidden), f"h.{layer}.mlp.c_proj")
        return self._norm(x, "ln_f") @ self._tensor("wte").T, present

    def logits(self, ids):
        """The logits behind every token of a text, which starts at position 0.

        Parameters
        ----------
        ids : sequence of int

        Returns
        -------
        numpy array of float64
            ``len(ids)`` rows of ``vocabulary`` logits.

        Raises
        ------
        ValueError
            If there are no ids, one is not in the vocabulary, or there are too many.
        """
        return self._forward(ids, [None] * self.config.layers)[0]

    def reset(self):
        """Forget all tokens."""
        self._past = [None] * self.config.layers
        self.length = 0

    def step(self, token):
        """Take one token more, and return the logits behind it; keys and values are kept.

        Raises
        ------
        ValueError
            If the token is not in the vocabulary, or no position is left.
        """
        logits, self._past = self._forward([token], self._past)
        self.length += 1
        return logits[0]

    def generate(self, ids, count):
        """Continue a text greedily, and do not stop at the end-of-text token.

        The largest logit wins, the lowest id where several are equal.

        Parameters
        ----------
        ids : sequence of int
            The text so far; earlier steps are forgotten.
        count : int
            How many tokens to add.

        Returns
        -------
        list of int
            The new ids only.
        """
        self.reset()
        logits, self._past = self._forward(ids, self._past)
        self.length, generated = len(ids), []
        for left in reversed(range(count)):
            generated.append(int(np.argmax(logits[-1])))
            if left:
                logits = self.step(generated[-1])[None]
        return generated
