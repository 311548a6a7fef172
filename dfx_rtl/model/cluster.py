"""The cores of a ring, each with its own program, and what they hand round."""

from functools import partial

from ..isa import Opcode
from .core import Core
from .runner import RunError, Runner
from .trace import Flags

__all__ = ["Cluster", "best_of"]


def best_of(candidates):
    """The result of an ARG_MAX: the largest logit, the lowest index of equal ones."""
    found = [candidate for candidate in candidates if candidate.token >= 0]
    # Python's zeros are equal, as they should be.
    return max(found, default=candidates[0],
               key=lambda candidate: (float(candidate.logit), -candidate.token))


class Cluster(Runner):
    """Executes the programs of a ring: each core up to its next SYNC or ARG_MAX, then all go on.

    A SYNC's chunks are written in ascending order; the hardware's order is free.

    Parameters
    ----------
    compiled_models : list of CompiledModel
        Of all cores, in the order of the ring; left as they are.
    on_write : callable or None
        Called with the core's number and each of its records of :mod:`.trace`, which come in the
        order of its program.

    Members
    -------
    machines : list of Core
        The cores: ``hbm``, ``flags`` and ``logits`` of each.
    flags : Flags
        The sticky flags of the run, of all cores together.

    Raises
    ------
    RunError
        If they are not the programs of a ring's cores in their order.
    """

    def __init__(self, compiled_models, *, on_write=None):
        count = len(compiled_models)
        if not count:
            raise RunError("a ring has at least one core")
        for core, compiled in enumerate(compiled_models):
            run = compiled.run
            if (run.core_id, run.core_count) != (core, count):
                raise RunError(f"program {core} of {count} is that of core {run.core_id} of "
                               f"{run.core_count}")
        self.machines = [Core(compiled, on_write and partial(on_write, core))
                         for core, compiled in enumerate(compiled_models)]
        super().__init__(self.machines)

    @property
    def flags(self):
        """The sticky flags of the run, of all cores together."""
        flags = [core.flags for core in self.machines]
        return Flags(overflow=any(entry.overflow for entry in flags),
                     invalid=any(entry.invalid for entry in flags))

    def _exchange(self, requests):
        if requests[0].instruction.opcode == Opcode.ARG_MAX:
            self._arg_max(requests)
        else:
            self._sync(requests)

    def _arg_max(self, requests):
        best = best_of([core.candidate for core in self.machines])
        for core, request in zip(self.machines, requests, strict=True):
            core.set_candidate(request, best)

    def _sync(self, requests):
        shares = [core.read_share(request)
                  for core, request in zip(self.machines, requests, strict=True)]
        total = sum(len(share) for share in shares)
        for core, request in zip(self.machines, requests, strict=True):
            instruction = request.instruction
            if instruction.total != total:
                raise RunError(f"core {core.run.core_id}, instruction {request.tag.instruction} "
                               f"(SYNC): {total} chunks come, not {instruction.total}")
            place = instruction.destination
            for origin, share in zip(self.machines, shares, strict=True):
                if origin is core:
                    if place != instruction.source:
                        raise RunError(
                            f"core {core.run.core_id}, instruction {request.tag.instruction} "
                            f"(SYNC): the own share belongs at chunk {place}, not at "
                            f"{instruction.source}")
                elif len(share):
                    core.write_share(request, place, share)
                place += len(share)
