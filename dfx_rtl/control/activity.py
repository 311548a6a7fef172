"""What the MPU does in a cycle, as it sees it itself, and as the core accounts for it."""

from amaranth.lib import enum

__all__ = ["Account", "Activity"]


class Activity(enum.IntEnum, shape=3):
    """What the MPU knows of a cycle."""

    BUSY = 0          # a tile enters the multipliers
    OPERAND = 1       # the input chunk is not written yet
    WEIGHTS = 2       # no tile has arrived
    ACCUMULATORS = 3  # every accumulator waits for the output pass
    ISSUE = 4         # no instruction


class Account(enum.IntEnum, shape=4):
    """Exactly one for each cycle of the MPU; the performance counters count each."""

    BUSY = 0
    OPERAND_MPU = 1
    OPERAND_VPU = 2
    OPERAND_LOAD = 3
    OPERAND_ROUTER = 4
    WEIGHTS = 5
    ACCUMULATORS = 6
    DRAIN = 7
    ISSUE = 8

    @property
    def doc(self):
        """The meaning, in words."""
        return (
            "a tile enters the multipliers",
            "the input chunk is still to come from the MPU itself",
            "the input chunk is still to come from the VPU",
            "the input chunk is still to come from DDR",
            "the input chunk is still to come from the router",
            "no tile has arrived",
            "every accumulator waits for the output pass",
            "no instruction waits, and the results of the last ones are on their way",
            "no instruction waits, and no result is on its way",
        )[self.value]
