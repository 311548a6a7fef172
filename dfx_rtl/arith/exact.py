"""Exact sums of products of binary16 numbers."""

from .dot_product import DotProduct, DotProductLane
from .exact_to_fp32 import ExactToFp32

__all__ = ["DotProduct", "DotProductLane", "ExactToFp32"]
