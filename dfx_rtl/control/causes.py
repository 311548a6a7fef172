"""Why a core stopped: the causes that the status register names."""

from amaranth.lib import enum

__all__ = ["Cause"]


class Cause(enum.IntEnum, shape=5):
    """Cause of an error. The comment says what the place means with it."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1   # address of the instruction
    REGISTER_RANGE = 2        # address of the instruction
    HBM_RANGE = 3             # address of the instruction
    DDR_RANGE = 4             # address of the instruction
    HBM_READ = 5              # channel
    HBM_WRITE = 6             # channel
    DDR_READ = 7              # 0
    DDR_WRITE = 8             # 0
    TOKEN_RANGE = 9           # position of the token
    NUMERIC = 10              # position of the token: every logit is NaN
    WATCHDOG_HBM = 11         # first channel that owes an answer
    WATCHDOG_DDR = 12         # 0
    WATCHDOG_CORE = 13        # units with an instruction in flight, a bit each
    ROUTER_PROTOCOL = 14      # see ring.py: index of the chunk, fault, direction
    LINK = 15                 # the link's own cause; bit 8: it leads to the core before, not next
    WATCHDOG_LINK = 16        # two bits, a direction each: awaited; two more: does not take ours
