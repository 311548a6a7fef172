"""Buses: AXI3, AXI4 and AXI4-Lite signatures, and a register block. Knows nothing of DFX."""

from .axi import *
from .registers import *

__all__ = [*axi.__all__, *registers.__all__]  # noqa: F405
