"""Two ends of a link in the fast engine."""

import pytest
from amaranth.sim import Simulator

from sim.engines.partition import PartitionedEngine
from sim.link import PAIR_CLOCKS

#: Seconds of a cycle.
PERIOD = 2.5e-9


@pytest.fixture
def simulate_pair():
    """Run testbenches on what has the six domains of a pair; end b's clock is ``ppm`` slower."""

    def run(dut, *testbenches, background=(), deadline=20_000, ppm=0.0, phase=0.0):
        async def watchdog(ctx):
            await ctx.tick("a_line").repeat(deadline)
            raise TimeoutError(f"no end after {deadline} cycles")

        simulator = Simulator(dut, engine=PartitionedEngine)
        for clock, domains in PAIR_CLOCKS.items():
            period = PERIOD * (1 + ppm * 1e-6) if clock == "b" else PERIOD
            for domain in domains:
                simulator.add_clock(period, phase=PERIOD * phase if clock == "b" else 0.0,
                                    domain=domain)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        for testbench in (*background, watchdog):
            simulator.add_testbench(testbench, background=True)
        simulator.run()

    return run
