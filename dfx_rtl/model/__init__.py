"""The bit-exact machine: executes compiled programs in numpy, as the hardware does."""

from .cluster import Cluster
from .machine import Machine, NumericError, RunError
from .trace import CacheWrite, Flags, LogitsWrite, ScalarWrite, Tag, TokenWrite, VectorWrite

__all__ = [
    "CacheWrite", "Cluster", "Flags", "LogitsWrite", "Machine", "NumericError", "RunError",
    "ScalarWrite", "Tag", "TokenWrite", "VectorWrite",
]
