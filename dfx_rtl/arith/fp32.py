"""Arithmetic on binary32: multiply, add, convert. Vectors of lanes, fixed latency."""

from .adder import Fp32Adder
from .convert import Fp16ToFp32, Fp32ToFp16, fp16_to_fp32
from .multiplier import Fp32Multiplier

__all__ = ["Fp32Multiplier", "Fp32Adder", "Fp16ToFp32", "Fp32ToFp16", "fp16_to_fp32"]
