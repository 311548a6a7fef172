"""What routers send to each other."""

from amaranth.lib import data

from ..arith.formats import Fp32
from ..control.ring import FLIT_RUN
from ..isa import CHUNK, LENGTH
from ..registers.ports import ChunkLayout

__all__ = ["CANDIDATE", "FlitLayout"]

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
