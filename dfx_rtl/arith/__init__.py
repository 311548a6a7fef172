"""Arithmetic that knows nothing of DFX: binary16, binary32, exact sums, function tables."""
