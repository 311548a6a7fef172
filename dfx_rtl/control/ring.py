"""The ring, as the host, the control unit and the router know it."""

from amaranth.lib import data, enum

from ..isa import CHUNK

__all__ = ["DIRECTIONS", "FLIT_RUN", "FaultPlace", "FlitFault"]

#: Ways round the ring: 0 from each core to the next, 1 from each core to the one before it.
DIRECTIONS = 2
#: Bits of the number of a run.
FLIT_RUN = 4


class FlitFault(enum.IntEnum, shape=3):
    """The rule that a flit breaks."""

    INDEX = 0      # its place is beyond the end of the vector
    OWN_SHARE = 1  # its place is in the share of the receiver
    HOPS = 2       # no core is so far away
    EXTRA = 3      # its origin has sent its last flit already
    KIND = 4       # a chunk for ARG_MAX, a candidate for SYNC, or a last flit that is not marked
    COUNT = 5      # all origins have sent their last flit, and the chunks are too few or too many


#: The place of a ROUTER_PROTOCOL error. ``index`` is that of the flit; with COUNT it is the number
#: of chunks that came, and the direction is 0.
FaultPlace = data.StructLayout({"index": CHUNK, "fault": FlitFault, "direction": 1})
