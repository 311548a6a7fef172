"""Small things that several tests of the vector processing unit need."""

from amaranth import *
from amaranth.lib import wiring

__all__ = ["Clocked", "beat_payload", "pack"]


class Clocked(wiring.Component):
    """A combinational component beside a register, since the simulator wants a clocked one."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        return m


def pack(values, width=16):
    """Values of ``width`` bits in one integer, the first in the least significant bits."""
    word = 0
    for index, value in enumerate(values):
        word |= int(value) << (width * index)
    return word


def beat_payload(a, b=None, c=None, *, enable=None, chunk_first=0, chunk_last=0, last=0,
                 statistics=0):
    """A beat as a dict; ``a``, ``b``, ``c`` are bits, and all are enabled unless told."""
    lanes = len(a)
    zeros = [0] * lanes

    def halves(values):
        return [{"fraction": int(v) & 0x3FF, "exponent": int(v) >> 10 & 0x1F, "sign": int(v) >> 15}
                for v in (zeros if values is None else values)]

    return {"a": halves(a), "b": halves(b), "c": halves(c),
            "enable": (1 << lanes) - 1 if enable is None else enable,
            "chunk_first": chunk_first, "chunk_last": chunk_last, "last": last,
            "statistics": statistics}

