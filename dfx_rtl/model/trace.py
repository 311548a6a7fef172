"""What the machine reports: every write of a register or a memory, with where it came from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["CacheWrite", "Flags", "LogitsWrite", "ScalarWrite", "Tag", "TokenWrite", "VectorWrite"]


class Tag(NamedTuple):
    """Which instruction made a write: the tag of the hardware's trace port."""

    position: int
    layer: int
    instruction: int


@dataclass(frozen=True, eq=False)
class VectorWrite:
    """A chunk of the vector register file."""

    tag: Tag
    chunk: int
    values: np.ndarray  # uint16, the bits of d binary16 values

    @property
    def key(self):
        """What a write of the hardware is compared by."""
        return (*self.tag, "chunk", self.chunk)


@dataclass(frozen=True)
class ScalarWrite:
    """A scalar register; ``bits`` are those of a binary32."""

    tag: Tag
    scalar: int
    bits: int

    @property
    def key(self):
        """What a write of the hardware is compared by."""
        return (*self.tag, "scalar", self.scalar)


@dataclass(frozen=True, eq=False)
class CacheWrite:
    """K or V: consecutive elements of an HBM tile in linear order."""

    tag: Tag
    tile: int  # absolute
    element: int
    values: np.ndarray  # uint16

    @property
    def key(self):
        """What a write of the hardware is compared by."""
        return (*self.tag, "tile", self.tile, self.element)


@dataclass(frozen=True, eq=False)
class LogitsWrite:
    """The logits of a position."""

    tag: Tag
    bits: np.ndarray  # uint32, the bits of binary32 values

    @property
    def key(self):
        """What a write of the hardware is compared by."""
        return (*self.tag, "logits", 0)


@dataclass(frozen=True)
class TokenWrite:
    """A generated token."""

    tag: Tag
    token: int

    @property
    def key(self):
        """What a write of the hardware is compared by."""
        return (*self.tag, "token", 0)


@dataclass
class Flags:
    """The sticky flags.

    Members
    -------
    overflow : bool
        Some result was infinite, and its operands were not.
    invalid : bool
        Some result was a NaN.
    """

    overflow: bool = False
    invalid: bool = False
