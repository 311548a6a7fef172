"""The self-synchronous scrambler of a lane, and its inverse: 1 + x^39 + x^58."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .blocks import BLOCK

__all__ = ["Scrambler", "Descrambler"]

#: Bits back in time that are added to each bit.
_NEAR, _FAR = 39, 58
#: Bits of a block that depend on nothing of the same block.
_FREE = BLOCK - _NEAR


class Scrambler(wiring.Component):
    """Scrambles a block a cycle: s[n] = d[n] + s[n-39] + s[n-58] over GF(2), bit 63 first.

    Latency: 1 cycle with ``enable``. Its state is its last output.

    Members
    -------
    enable : ``In(1)``
        Take a block; else nothing changes.
    data : ``In(64)``
        The block.
    scrambled : ``Out(64)``
        A register.
    """

    # Ref: Aurora 64B/66B, SP011, scrambling; IEEE 802.3, 49.2.6.

    enable: In(1)
    data: In(BLOCK)
    scrambled: Out(BLOCK)

    def elaborate(self, platform):
        m = Module()
        # Later in time is further right, so a bit's past lies above it.
        high = Signal(BLOCK - _FREE)
        low = Signal(_FREE)
        past = self.scrambled
        split = BLOCK - _FAR
        m.d.comb += [
            high.eq(self.data[_FREE:] ^ past[:_NEAR]
                    ^ past[_FREE - split:_FREE - split + _NEAR]),
            low.eq(self.data[:_FREE] ^ high[_NEAR - _FREE:]
                   ^ Cat(high[_FAR - _FREE:], past[:_FREE - split])),
        ]
        with m.If(self.enable):
            m.d.sync += self.scrambled.eq(Cat(low, high))
        return m


class Descrambler(wiring.Component):
    """Undoes :class:`Scrambler`: d[n] = s[n] + s[n-39] + s[n-58] over GF(2), bit 63 first.

    Latency: 1 cycle with ``enable``. Right from the second block on, whatever its state was; a bit
    that was wrong on the line gives three wrong bits.

    Members
    -------
    enable : ``In(1)``
        Take a block; else nothing changes.
    scrambled : ``In(64)``
        The block as it came.
    data : ``Out(64)``
        A register.
    """

    enable: In(1)
    scrambled: In(BLOCK)
    data: Out(BLOCK)

    def elaborate(self, platform):
        m = Module()
        past = Signal(_FAR, reset_less=True)
        plain = Signal(BLOCK, reset_less=True)
        m.d.comb += self.data.eq(plain)
        line = Cat(self.scrambled, past)
        with m.If(self.enable):
            m.d.sync += [
                past.eq(self.scrambled),
                plain.eq(self.scrambled ^ line[_NEAR:_NEAR + BLOCK] ^ line[_FAR:_FAR + BLOCK]),
            ]
        return m
