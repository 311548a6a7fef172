"""What the parts of the MPU hand to each other."""

from amaranth.lib import data

from ..isa import CHUNK, LENGTH, SCALAR, TAG

__all__ = ["OUTPUT_FIELDS", "OutputCommand", "OutputGroup", "Target"]

#: The fields of a matrix instruction that the output pass needs, with their widths.
OUTPUT_FIELDS = {
    "write": 1, "scale_enable": 1, "bias_enable": 1, "residual_enable": 1, "gelu": 1, "mask": 1,
    "maximum_enable": 1, "maximum": SCALAR, "arg_max": 1, "arg_max_base": LENGTH, "logits": 1,
}


def Target(accumulators):
    """Where the sums of a tile go.

    ``index`` is the accumulator, of each lane. ``load``: the sums start there. ``complete``: with
    them the accumulator holds a result.
    """
    return data.StructLayout({"index": range(accumulators), "load": 1, "complete": 1})


def OutputCommand(lanes):
    """One instruction, as the output pass sees it.

    ``last_group`` is the index of its last column group, ``lanes_tail`` has a bit for each valid
    lane of that group. ``empty``: nothing leaves (an instruction without ``last``).
    """
    return data.StructLayout({
        **OUTPUT_FIELDS,
        "destination": CHUNK, "scale": SCALAR, "bias": CHUNK, "residual": CHUNK,
        "last_group": LENGTH, "lanes_tail": lanes, "empty": 1, "tag": TAG,
    })


def OutputGroup(tile, lanes):
    """What goes beside a group of results down the output pipeline.

    ``part`` is the group's place in its chunk, ``address`` that chunk; ``chunk_end``: the group is
    the last of its chunk, or of the instruction. ``first``, ``last``: of the instruction.
    """
    return data.StructLayout({
        **OUTPUT_FIELDS,
        "address": CHUNK, "part": range(tile // lanes), "group": LENGTH, "lanes_valid": lanes,
        "chunk_end": 1, "first": 1, "last": 1, "empty": 1, "tag": TAG,
    })
