"""What the MPU does in a cycle: exactly one of these."""

from amaranth.lib import enum

__all__ = ["Activity"]


class Activity(enum.IntEnum, shape=3):
    """Accounts for every cycle of the MPU; the performance counters count each."""

    BUSY = 0          # a tile enters the multipliers
    OPERAND = 1       # the input chunk is not written yet
    WEIGHTS = 2       # no tile has arrived
    ACCUMULATORS = 3  # every accumulator waits for the output pass
    ISSUE = 4         # no instruction

    @property
    def doc(self):
        """The meaning, in words."""
        return (
            "a tile enters the multipliers",
            "the input chunk is not written yet",
            "no tile has arrived",
            "every accumulator waits for the output pass",
            "no instruction",
        )[self.value]
