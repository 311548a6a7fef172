"""What the MPU hands to other units beside the register files."""

from amaranth.lib import data

from ..arith.formats import Fp32
from ..isa import LENGTH, TAG

__all__ = ["LogitsLayout", "TokenLayout"]


def LogitsLayout(lanes):
    """The binary32 results of one column group; +0 in columns beyond the valid ones."""
    return data.StructLayout({
        "values": data.ArrayLayout(Fp32, lanes), "group": LENGTH, "last": 1, "tag": TAG,
    })


def TokenLayout():
    """The arg max: column and base, its binary32 value, and whether any column is a number."""
    return data.StructLayout({"id": LENGTH, "logit": Fp32, "found": 1, "tag": TAG})
