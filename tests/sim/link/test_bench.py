import pytest
from amaranth.sim import Simulator

from sim.engines.partition import PartitionedEngine
from sim.link import PAIR_CLOCKS, LineParameters, LinkPair, SoakBench, error_threshold

PERIOD = 2.5e-9


def run(bench, testbench):
    simulator = Simulator(bench, engine=PartitionedEngine)
    for domains in PAIR_CLOCKS.values():
        for domain in domains:
            simulator.add_clock(PERIOD, phase=0.0, domain=domain)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("one_way, one_line", [(0, 1), (1, 0), (1, 1)])
def test_one_way_and_one_line(one_way, one_line):
    bench = SoakBench(1, LineParameters(), longest=4, slip_cycles=8, reset_cycles=64,
                      retry_cycles=400)

    async def testbench(ctx):
        ctx.set(bench.one_way, one_way)
        ctx.set(bench.one_line, one_line)
        await ctx.tick("a").until(bench.up)
        ctx.set(bench.error, {"threshold": error_threshold(1e-3), "burst": 1})
        await ctx.tick("a").repeat(500)
        assert (ctx.get(bench.pair.b.packet_count) > 0)
        assert (ctx.get(bench.pair.a.packet_count) == 0) == bool(one_way)
        assert ctx.get(bench.pair.error_count_a) > 10
        assert (ctx.get(bench.pair.error_count_b) == 0) == bool(one_line)
        assert ctx.get(bench.errors) == ctx.get(bench.pair.error_count_a) \
            + ctx.get(bench.pair.error_count_b)
        ctx.set(bench.error, {})
        ctx.set(bench.stop, 1)
        await ctx.tick("a").repeat(1200)
        assert ctx.get(bench.sent_count) == ctx.get(bench.received_count) > 0

    run(bench, testbench)


def test_every_domain_has_a_clock():
    assert sorted(domain for domains in PAIR_CLOCKS.values() for domain in domains) == \
        ["a", "a_line", "a_receive", "b", "b_line", "b_receive"]


@pytest.mark.parametrize("lanes, line, parameters, text", [
    (5, None, {}, "Lanes must be an integer between 1 and 4, not 5"),
    (1, LineParameters(latency=1), {}, "Latency must be an integer between 4 and 1000, not 1"),
    (1, None, {"skew": 0}, "Skew must be an integer between 1 and 7, not 0"),
])
def test_errors(lanes, line, parameters, text):
    with pytest.raises(ValueError) as raised:
        LinkPair(lanes, line, **parameters)
    assert str(raised.value) == text
