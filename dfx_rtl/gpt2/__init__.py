"""GPT-2 as it comes: checkpoints, text and the float64 reference. Knows nothing of the hardware."""

from .checkpoint import Checkpoint
from .config import Gpt2Config
from .errors import CheckpointError, TokenizerError
from .reference import Reference
from .tokenizer import TextStream, Tokenizer

__all__ = [
    "Checkpoint", "CheckpointError", "Gpt2Config", "Reference", "TextStream", "Tokenizer",
    "TokenizerError",
]
