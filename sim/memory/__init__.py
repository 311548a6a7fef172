"""Memories as the card has them: a timing model, protocol checkers and the bytes behind them."""

from .channel import *
from .checker import *
from .storage import *
from .timing import *

__all__ = [*channel.__all__, *checker.__all__, *storage.__all__, *timing.__all__]  # noqa: F405
