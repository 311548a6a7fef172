"""What the parts of the DMA say to each other: reads, writes and errors."""

from amaranth.lib import data
from amaranth.utils import exact_log2

from ..bus.axi import Axi3Signature, Axi4Signature, Response

__all__ = [
    "ADDRESS", "BEATS", "BurstLayout",
    "HbmPartLayout", "HbmWordLayout", "HbmWriteLayout", "ReadRequestLayout",
    "WriteRequestLayout", "ddr_signature", "hbm_signature",
]

#: Bits of a DDR byte address.
ADDRESS = 40
#: Bits of the length of a DDR read, in beats.
BEATS = 16
#: Bits of the identifiers on the AXI ports. All traffic has identifier 0, and so stays in order.
ID = 1


def hbm_signature(config):
    """The AXI3 port of an HBM channel."""
    return Axi3Signature(exact_log2(config.channel_bytes), config.axi_bits, ID)


def ddr_signature(config):
    """The AXI4 port of the DDR memory."""
    return Axi4Signature(exact_log2(config.ddr_bytes), config.ddr_bits, ID)


def BurstLayout(config):
    """A read of ``tiles`` + 1 tiles from ``tile`` on, all in one aligned burst."""
    return data.StructLayout({
        "tile": exact_log2(config.hbm_tiles),
        "tiles": exact_log2(config.burst_tiles),
    })


def HbmWriteLayout(config):
    """A write of a word, or a part of it, in one channel; a strobe bit a byte."""
    return data.StructLayout({
        "channel": exact_log2(config.channels),
        "tile": exact_log2(config.hbm_tiles),
        "data": config.word_bits,
        "strobe": config.word_bytes,
    })


def HbmPartLayout(config):
    """A write in a channel: the beats that ``halves`` names (bit 0: the lower) of word ``tile``."""
    return data.StructLayout({
        "tile": exact_log2(config.hbm_tiles),
        "halves": 2,
        "data": config.word_bits,
        "strobe": config.word_bytes,
    })


def HbmWordLayout(config):
    """A word read from one channel, with the first response of its beats that is not OKAY."""
    return data.StructLayout({"data": config.word_bits, "response": Response})


def ReadRequestLayout():
    """A read of ``beats`` beats of DDR, at least one, from a byte address aligned to a beat."""
    return data.StructLayout({"address": ADDRESS, "beats": BEATS})


def WriteRequestLayout(config):
    """A write of one beat of DDR. The lower bits of the address, within a beat, are ignored."""
    return data.StructLayout({
        "address": ADDRESS,
        "data": config.ddr_bits,
        "strobe": config.ddr_bits // 8,
    })
