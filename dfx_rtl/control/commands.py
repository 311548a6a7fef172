"""What the control unit hands to the units.

A command is the instruction, and what was captured when it was issued. A fetch is a run of
consecutive tiles, wanted once as many stores of K and V have been acknowledged.
"""

from amaranth.lib import data

from ..isa import TAG, TILE, TILES, layout

__all__ = ["DmaCommand", "FetchLayout", "MatrixCommand", "RouterCommand", "VectorCommand"]


def _command(format_name):
    return data.StructLayout({
        "instruction": layout(format_name),
        "tag": TAG,
        "layer_base": TILE,
    })


MatrixCommand = _command("matrix")
VectorCommand = _command("vector")
DmaCommand = _command("dma")
RouterCommand = _command("router")

FetchLayout = data.StructLayout({"tile": TILE, "tiles": TILES, "stores": 16})
