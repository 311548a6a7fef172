"""What routers send to each other, and what can be wrong with it."""

from amaranth.lib import data, enum

from ..arith.formats import Fp32
from ..isa import CHUNK, LENGTH
from ..registers.ports import ChunkLayout

__all__ = ["CANDIDATE", "CORES", "DIRECTIONS", "FLIT_RUN", "FaultPlace", "FlitFault", "FlitLayout"]

#: Cores that a ring can have.
CORES = 8
#: Ways round the ring: 0 from each core to the next, 1 from each core to the one before it.
DIRECTIONS = 2
#: Bits of the number of a run.
FLIT_RUN = 4

#: What ARG_MAX sends, in the lowest bits of a flit's data: the best token of a core's share.
CANDIDATE = data.StructLayout({"logit": Fp32, "index": LENGTH, "found": 1})


def FlitLayout(tile):
    """What one router hands to the next: a chunk, and where it belongs.

    ``index``: the chunk's place in the vector, counted from its start. ``last``: the origin sends
    no more of this vector in this direction. ``empty``: there is no chunk, the origin's share is
    none; such a flit has ``last``. ``arg_max``: the data is a :data:`CANDIDATE`. ``hops``: how many
    cores have still to take it, the receiver included. ``run``: the number of the run.
    """
    # Plain bits: a waveform has a line for the chunk, not for each field of each value.
    return data.StructLayout({
        "data": ChunkLayout(tile).size, "index": CHUNK, "last": 1, "empty": 1, "arg_max": 1,
        "hops": 3, "run": FLIT_RUN,
    })


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
