"""The cores of a ring together: compiled one by one, checked against each other."""

from pathlib import Path

from ..isa import Opcode
from .compiled import compile
from .errors import CompileError
from .sharding import check_ring

__all__ = ["cluster_roof", "compile_cluster", "verify_cluster"]

# What must be the same on every core, or their programs would not belong together.
_COMMON = ("core_count", "bidirectional", "layers", "heads", "emb", "vocabulary", "positions",
           "end_of_text")


def compile_cluster(checkpoint, config, cores, *, ring="bidirectional", directory=None, **options):
    """Compile a GPT-2 for the cores of a ring.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : CoreConfig
        Of every core.
    cores : int
        1 to 8.
    ring : str
        ``bidirectional`` or ``unidirectional``.
    directory : str, pathlib.Path or None
        Keep the images in files there, in ``core0``, ``core1`` and so on.
    **options
        As of :func:`.compile`.

    Returns
    -------
    list of CompiledModel
        In the order of the ring.

    Raises
    ------
    CompileError
        As :func:`.compile`.
    """
    check_ring(0, cores, ring)
    models = [compile(checkpoint, config, core_id=core, core_count=cores, ring=ring,
                      directory=None if directory is None else Path(directory) / f"core{core}",
                      **options)
              for core in range(cores)]
    verify_cluster(models)
    return models


def verify_cluster(models):
    """Check that programs belong together, so that no core waits for what no other sends.

    Parameters
    ----------
    models : list of CompiledModel
        Of all cores, in the order of the ring.

    Raises
    ------
    CompileError
        If one is in the wrong place, or of another model or ring; if the cores do not execute the
        same SYNC and ARG_MAX in the same order; or if the shares of a SYNC are not the whole
        vector, in the order of the cores.
    """
    sequences = []
    for core, model in enumerate(models):
        run = model.run
        if (run.core_id, run.core_count) != (core, len(models)):
            raise CompileError(f"core {core}: the program must be that of core {core} of "
                               f"{len(models)}, not of core {run.core_id} of {run.core_count}")
        for name in _COMMON:
            expected, found = getattr(models[0].run, name), getattr(run, name)
            if expected != found:
                raise CompileError(f"core {core}, {name}: must be {expected}, as on core 0, "
                                   f"not {found}")
        sequences.append([(number, entry) for number, entry in enumerate(model.instructions)
                          if entry.format_name in ("flow", "router")])
    for core, sequence in enumerate(sequences):
        for (_, expected), (number, entry) in zip(sequences[0], sequence, strict=False):
            if entry.opcode != expected.opcode:
                raise CompileError(f"core {core}, instruction {number}: {expected.opcode.name} "
                                   f"comes next on core 0, not {entry.opcode.name}")
    for entries in zip(*sequences, strict=True):
        if entries[0][1].opcode == Opcode.SYNC:
            _check_sync(entries)


def _check_sync(entries):
    """One SYNC of all cores: pairs of place in the program and instruction."""
    first = entries[0][1]
    expected = first.destination
    for core, (number, entry) in enumerate(entries):
        for field in ("destination", "total"):
            if getattr(entry, field) != getattr(first, field):
                raise CompileError(
                    f"core {core}, instruction {number} (SYNC), {field}: must be "
                    f"{getattr(first, field)}, as on core 0, not {getattr(entry, field)}")
        if entry.source != expected:
            raise CompileError(f"core {core}, instruction {number} (SYNC), source: must be "
                               f"{expected}, where the shares before it end, not {entry.source}")
        expected += entry.chunks
    end = first.destination + first.total
    if expected != end:
        raise CompileError(f"core {len(entries) - 1}, instruction {entries[-1][0]} (SYNC), chunks: "
                           f"the shares end at {expected}, not at {end}")


def cluster_roof(models, position, *, head=True):
    """The cycles that a position takes at least, if every core is busy all the time.

    It is the mean of the cores' useful tiles, so all useful tiles over the cores: a core is busy
    for as many cycles as it has tiles. The busy figure of a ring is this over the cycles. Shares
    that are not even count against it, as waiting does.

    Parameters
    ----------
    models : list of CompiledModel
        Of all cores.
    position : int
        Counted from 0.
    head : bool
        Whether the LM head is executed.
    """
    return sum(model.shape.useful_tiles(position, head=head) for model in models) / len(models)
