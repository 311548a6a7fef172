"""What a core is doing, as the host sees it."""

from amaranth.lib import enum

__all__ = ["State"]


class State(enum.IntEnum, shape=3):
    """The states of the controller."""

    IDLE = 0
    LOADING = 1    # reads the program into the instruction memory
    RUNNING = 2    # the sequencers walk the program
    FINISHING = 3  # the last instruction is dispatched; waits for the units and the memories
    DONE = 4
    FAILED = 5     # stopped by an error; a soft or a full reset brings it back
    STOPPING = 6   # drains the memory ports, on the way to IDLE or DONE
