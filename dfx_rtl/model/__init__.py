"""The bit-exact machine: executes a compiled program in numpy, as the hardware does."""

from .machine import Machine, NumericError, RunError
from .trace import CacheWrite, Flags, LogitsWrite, ScalarWrite, Tag, TokenWrite, VectorWrite

__all__ = [
    "CacheWrite", "Flags", "LogitsWrite", "Machine", "NumericError", "RunError", "ScalarWrite",
    "Tag", "TokenWrite", "VectorWrite",
]
