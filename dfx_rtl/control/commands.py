"""What the scheduler hands to a unit: the instruction, and what was captured when it was issued."""

from amaranth.lib import data

from ..isa import TAG, TILE, layout

__all__ = ["DmaCommand", "MatrixCommand", "RouterCommand", "VectorCommand"]


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
