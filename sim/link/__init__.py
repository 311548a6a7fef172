"""The line between two transceivers, and a test bench of two ends."""

from .bench import *
from .channel import *
from .traffic import *

__all__ = [*bench.__all__, *channel.__all__, *traffic.__all__]  # noqa: F405
