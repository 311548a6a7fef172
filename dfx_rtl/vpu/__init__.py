"""The vector processing unit (DFX paper, section 4.3): everything that is not a matrix product."""

from .unit import VectorProcessingUnit

__all__ = ["VectorProcessingUnit"]
