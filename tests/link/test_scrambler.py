import random

from dfx_rtl.link import Descrambler, Scrambler
from tests.link import reference


def run(simulate, dut, blocks, source, result, *, gaps=None):
    """What comes out for each block, with cycles without ``enable`` between."""
    out = []

    async def testbench(ctx):
        for block in blocks:
            for _ in range(gaps() if gaps else 0):
                ctx.set(source(dut), random.getrandbits(64))
                await ctx.tick()
                assert not out or ctx.get(result(dut)) == out[-1]
            ctx.set(dut.enable, 1)
            ctx.set(source(dut), block)
            await ctx.tick()
            ctx.set(dut.enable, 0)
            out.append(ctx.get(result(dut)))

    simulate(dut, testbench)
    return out


def test_scrambler_is_the_polynomial(simulate):
    generator = random.Random(1)
    blocks = [0x7810 << 48, 1 << 63, 1, *(generator.getrandbits(64) for _ in range(60))]
    out = run(simulate, Scrambler(), blocks, lambda dut: dut.data, lambda dut: dut.scrambled,
              gaps=lambda: generator.randrange(3))
    assert out == reference.scramble_bits(blocks)


def test_scrambler_worked_out_by_hand(simulate):
    # A single one, first on the line, comes again after 39 and 58 bits: then 78, 97 (twice,
    # which cancels), 116 and 117 (39 x 3).
    out = run(simulate, Scrambler(), [1 << 63, 0], lambda dut: dut.data, lambda dut: dut.scrambled)
    line = out[0] << 64 | out[1]
    assert {127 - index for index in range(128) if line >> index & 1} == {0, 39, 58, 78, 116, 117}


def test_descrambler_is_the_polynomial_and_finds_its_state(simulate):
    generator = random.Random(2)
    blocks = [generator.getrandbits(64) for _ in range(60)]
    past = [generator.randrange(2) for _ in range(58)]
    line = reference.scramble_bits(blocks, past)
    assert reference.descramble_bits(line, past) == blocks
    out = run(simulate, Descrambler(), line, lambda dut: dut.scrambled, lambda dut: dut.data,
              gaps=lambda: generator.randrange(3))
    assert out[0] != blocks[0]
    assert out[1:] == blocks[1:]


def test_a_wrong_bit_gives_three(simulate):
    blocks = [random.Random(3).getrandbits(64) for _ in range(8)]
    line = reference.scramble_bits(blocks)
    line[4] ^= 1 << 20
    out = run(simulate, Descrambler(), line, lambda dut: dut.scrambled, lambda dut: dut.data)
    wrong = [one ^ other for one, other in zip(out, blocks, strict=True)]
    assert sum(value.bit_count() for value in wrong) == 3
    assert wrong[4] == 1 << 20
    assert wrong[5] == 1 << (20 + 64 - 39) | 1 << (20 + 64 - 58)
