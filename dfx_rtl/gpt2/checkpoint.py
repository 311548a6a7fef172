"""Reads a GPT-2 checkpoint: a directory in Hugging Face's layout."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .config import Gpt2Config
from .errors import CheckpointError, read_json
from .weight_file import read_weight_file

__all__ = ["Checkpoint"]

# Causal masks that older versions of the transformers library saved among the weights.
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")


def _stored_tensors(path):
    """All tensors of the directory, by their names in the files; from one file or from shards."""
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if single.exists() or not index.exists():
        return read_weight_file(single), single
    shards = read_json(index, CheckpointError).get("weight_map")
    if not isinstance(shards, dict):
        raise CheckpointError(f"{index}: weight_map is {shards!r}, expected an object")
    files, stored = {}, {}
    for name, shard in shards.items():
        # A name with a folder in it could lead out of the directory.
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointError(
                f"{index}: shard of tensor {name!r} is {shard!r}, expected a file name"
            )
        if shard not in files:
            files[shard] = read_weight_file(path / shard)
        if name not in files[shard]:
            raise CheckpointError(
                f"{path / shard}: tensor {name!r} is missing, expected as {index.name} says"
            )
        stored[name] = files[shard][name]
    return stored, index


def _by_our_names(stored):
    tensors = {}
    for name, tensor in stored.items():
        name = name.removeprefix("transformer.")
        if name in ("wte.weight", "wpe.weight"):
            name = name.removesuffix(".weight")
        if name in tensors:
            raise CheckpointError(
                f"{tensor.file}: tensor {tensor.name!r} is stored again as "
                f"{tensors[name].name!r}, expected one of them"
            )
        tensors[name] = tensor
    return tensors


def _file_name(name):
    return f"{name}.weight" if name in ("wte", "wpe") else name


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A GPT-2 model on disk.

    Loading checks the configuration, the names and the shapes; a tensor's
    values are read and checked when it is asked for. Names are those of
    :meth:`.Gpt2Config.shapes`: ``wte``, ``wpe``, ``h.0.ln_1.weight`` and so on to ``ln_f.bias``.

    Members
    -------
    path : pathlib.Path
        The directory.
    config : Gpt2Config
    """

    path: Path
    config: Gpt2Config
    _tensors: dict = field(repr=False)

    @classmethod
    def load(cls, path):
        """Open the checkpoint in the directory ``path``.

        Parameters
        ----------
        path : str or pathlib.Path
            Holds ``config.json``, and ``model.safetensors`` or shards with
            ``model.safetensors.index.json``; tensors in float32, float16 or bfloat16, with or
            without the prefix ``transformer.``.

        Raises
        ------
        CheckpointError
            If a file cannot be read, or the model is not a GPT-2.
        """
        path = Path(path)
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such directory")
        config = Gpt2Config.load(path)
        stored, file = _stored_tensors(path)
        tensors = _by_our_names(stored)
        shapes = config.shapes()
        for name, shape in shapes.items():
            if name not in tensors:
                raise CheckpointError(f"{file}: tensor {_file_name(name)!r} is missing")
            tensor = tensors[name]
            if tensor.shape != shape:
                raise CheckpointError(
                    f"{tensor.file}: tensor {tensor.name!r} has shape {tensor.shape}, "
                    f"expected {shape}"
                )
            if tensor.dtype not in ("F32", "F16", "BF16"):
                raise CheckpointError(
                    f"{tensor.file}: tensor {tensor.name!r} has type {tensor.dtype}, "
                    f"expected F32, F16 or BF16"
                )
        for name, tensor in tensors.items():
            if name in shapes:
                continue
            if name == "lm_head.weight":
                cls._check_head(tensor, tensors["wte"])
            elif not _MASK.fullmatch(name):
                raise CheckpointError(
                    f"{tensor.file}: tensor {tensor.name!r} is not one of GPT-2's "
                    f"with {config.layers} layers"
                )
        return cls(path, config, {name: tensors[name] for name in shapes})

    @staticmethod
    def _check_head(head, wte):
        if head.shape != wte.shape or not np.array_equal(head.values(), wte.values()):
            raise CheckpointError(
                f"{head.file}: tensor {head.name!r} differs from {wte.name!r}, "
                f"expected the same values"
            )

    def tensor(self, name):
        """The tensor in its own precision, read-only; bfloat16 as float32.

        Raises
        ------
        CheckpointError
            If a value is not finite.
        """
        return self._tensors[name].values()

    def tensor16(self, name):
        """The tensor rounded to binary16, to nearest, ties to even: the hardware's weights.

        Raises
        ------
        CheckpointError
            If a value is not finite or becomes infinite.
        """
        return self._tensors[name].values16()
