"""The accounting against a list of what every cycle was."""

import random

from dfx_rtl.control.accounting import Accounting
from dfx_rtl.control.activity import Account, Activity
from dfx_rtl.isa import Unit


def account(activity, writer, in_flight):
    """What a cycle is spent on."""
    if activity == Activity.OPERAND:
        return Account[f"OPERAND_{writer.name}"]
    if activity == Activity.ISSUE:
        return Account.DRAIN if in_flight else Account.ISSUE
    return Account[activity.name]


def test_every_cycle_is_counted_once(simulate):
    dut, rng = Accounting(), random.Random(1)

    async def bench(ctx):
        counts, cycles = dict.fromkeys(Account, 0), 0
        for number in range(3000):
            activity, in_flight = rng.choice(list(Activity)), rng.random() < 0.5
            writer = rng.choice([unit for unit in Unit if unit != Unit.STORE])
            clear, enable = number % 1000 == 999, rng.random() < 0.8
            ctx.set(dut.activity, activity)
            ctx.set(dut.writer, writer)
            ctx.set(dut.in_flight, in_flight)
            ctx.set(dut.clear, clear)
            ctx.set(dut.enable, enable)
            expected = account(activity, writer, in_flight)
            assert ctx.get(dut.account) == expected
            if clear:
                assert sum(counts.values()) == cycles and min(counts.values()) > 20
                counts, cycles = dict.fromkeys(Account, 0), 0
            elif enable:
                counts[expected] += 1
                cycles += 1
            await ctx.tick()
            assert ctx.get(dut.cycles) == cycles
            assert [ctx.get(dut.counts[entry]) for entry in Account] == list(counts.values())

    simulate(dut, bench)
