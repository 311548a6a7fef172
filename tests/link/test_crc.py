import random
import zlib

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.link import CRC_START, crc_advance, crc_contribution
from tests.link import reference


class Crc(wiring.Component):
    """The CRC of a word after a state."""

    def __init__(self, lanes):
        super().__init__({"state": In(32), "word": In(64 * lanes), "next": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.next.eq(crc_advance(self.state, len(self.word))
                                 ^ crc_contribution(self.word))
        m.d.sync += Signal().eq(0)
        return m


def by_zlib(octets):
    """The same CRC from zlib's, which takes the bits of an octet from the other end."""
    turned = bytes(int(f"{octet:08b}"[::-1], 2) for octet in octets)
    return int(f"{zlib.crc32(turned):032b}"[::-1], 2)


def test_the_reference_is_the_catalogue_s():
    octets = b"123456789"
    bits = [bit for octet in octets for bit in reference.bits_of(octet, 8)]
    assert reference.crc32_bits(bits) == by_zlib(octets) == 0xFC891918


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_words(simulate, lanes):
    generator = random.Random(lanes)
    dut = Crc(lanes)

    async def testbench(ctx):
        for count in (1, 2, 5):
            words = [generator.getrandbits(64 * lanes) for _ in range(count)]
            state = CRC_START
            for word in words:
                ctx.set(dut.state, state)
                ctx.set(dut.word, word)
                await ctx.tick()
                state = ctx.get(dut.next)
            octets = b"".join((word >> 64 * lane & (1 << 64) - 1).to_bytes(8, "big")
                              for word in words for lane in range(lanes))
            assert state ^ 0xFFFFFFFF == by_zlib(octets) == reference.block_crc(words, lanes)

    simulate(dut, testbench)
