"""The machine: one core that is alone."""

from .core import Core, NumericError
from .runner import RunError, Runner

__all__ = ["Machine", "NumericError", "RunError"]


class Machine(Runner):
    """Executes a compiled program, one instruction after the other, bit for bit as the core does.

    Parameters
    ----------
    compiled : CompiledModel
        Left as it is.
    on_write : callable or None
        Called with each record of :mod:`.trace`, in program order.

    Members
    -------
    flags : Flags
        The sticky flags of the run.
    hbm : Hbm
        The machine's HBM.

    Raises
    ------
    RunError
        If the program is one of several in a ring.
    """

    def __init__(self, compiled, *, on_write=None):
        run = compiled.run
        if run.core_count != 1:
            raise RunError(f"the program is that of core {run.core_id} of {run.core_count}: "
                           f"Cluster runs all of them together")
        self._core = Core(compiled, on_write)
        super().__init__([self._core])

    @property
    def flags(self):
        """The sticky flags of the run."""
        return self._core.flags

    @property
    def hbm(self):
        """The machine's HBM."""
        return self._core.hbm

    def _exchange(self, requests):
        request, = requests
        raise RunError(f"instruction {request.tag.instruction} "
                       f"({request.instruction.opcode.name}): a single core has no ring")
