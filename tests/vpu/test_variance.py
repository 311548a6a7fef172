from random import Random

import pytest

from dfx_rtl.vpu.variance import VarianceDifference

LATENCY = 7
LARGEST = 65504 << 24


def run(simulate, cases):
    """Each case: (n, total in units of 2**-24, squares in units of 2**-48, flag names)."""
    dut = VarianceDifference()

    async def testbench(ctx):
        for length, total, squares, flags in cases:
            ctx.set(dut.length, length)
            for port, value in ((dut.total, total << 24), (dut.squares, squares)):
                ctx.set(port.value, value)
                for flag in ("positive_infinity", "negative_infinity", "nan"):
                    ctx.set(port[flag], (port is dut.total, flag) in flags)
            ctx.set(dut.stb, 1)
            await ctx.tick()
            ctx.set(dut.stb, 0)
            # The operands need not stay.
            ctx.set(dut.length, 0)
            ctx.set(dut.total.value, -1)
            ctx.set(dut.squares.value, 1)
            for _ in range(LATENCY - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
            assert ctx.get(dut.done)
            assert ctx.get(dut.difference.nan) == bool(flags)
            if not flags:
                assert ctx.get(dut.difference.value) == length * squares - total * total
            await ctx.tick()
            assert not ctx.get(dut.done)

    simulate(dut, testbench)


def test_random_and_extreme(simulate):
    random = Random(1)
    cases = []
    for _ in range(40):
        values = [random.randrange(-LARGEST, LARGEST) >> random.choice([0, 20, 40])
                  for _ in range(random.randint(1, 30))]
        cases.append((len(values), sum(values), sum(value * value for value in values), ()))
    for length in (1, 1600, 1 << 16):
        for sign in (1, -1):
            cases.append((length, sign * length * LARGEST, length * LARGEST**2, ()))
        cases.append((length, 0, length * LARGEST**2, ()))
        cases.append((length, 0, 0, ()))
        cases.append((length, 1, 1, ()))
    run(simulate, cases)


@pytest.mark.parametrize("flag", ["positive_infinity", "negative_infinity", "nan"])
def test_flags(simulate, flag):
    run(simulate, [(3, 0, 0, ((True, flag),)), (3, 5, 11, ()), (3, 0, 0, ((False, flag),))])
