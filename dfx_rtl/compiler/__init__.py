"""Checkpoint and core parameters in, program and memory images out."""

from .cluster import cluster_roof, compile_cluster, verify_cluster
from .compiled import CompiledModel, RunParameters, compile, compile_copy
from .errors import CompileError
from .listing import listing, memory_map
from .verify import verify

__all__ = [
    "CompileError", "CompiledModel", "RunParameters", "cluster_roof", "compile", "compile_cluster",
    "compile_copy", "listing", "memory_map", "verify", "verify_cluster",
]
