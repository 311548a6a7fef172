"""How a memory's error response is reported to the control unit."""

from amaranth.lib import data, enum

from ..bus.axi import Response

__all__ = ["ErrorKind", "MemoryErrorLayout"]


class ErrorKind(enum.Enum, shape=2):
    """Which kind of access a memory answered with an error."""

    HBM_READ = 0
    HBM_WRITE = 1
    DDR_READ = 2
    DDR_WRITE = 3


def MemoryErrorLayout():
    """An error response: ``stb`` for one cycle, the access, the response, the HBM channel."""
    return data.StructLayout({"stb": 1, "kind": ErrorKind, "response": Response, "channel": 6})
