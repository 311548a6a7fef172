"""What every hardware test shares: a simulator with a deadline, and streams driven by hand."""

import pytest
from amaranth.sim import Simulator


@pytest.fixture
def simulate():
    """Run testbenches on a component; the run must end within ``deadline`` cycles of ``sync``."""

    def run(dut, *testbenches, background=(), deadline=10_000, clocks=None):
        async def watchdog(ctx):
            await ctx.tick().repeat(deadline)
            raise TimeoutError(f"no end after {deadline} cycles")

        simulator = Simulator(dut)
        if clocks is None:
            clocks = {"sync": (1.8e-8, 0.0)}
        for domain, (period, phase) in clocks.items():
            simulator.add_clock(period, phase=phase, domain=domain)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        for testbench in (*background, watchdog):
            simulator.add_testbench(testbench, background=True)
        simulator.run()

    return run


async def _put(ctx, stream, payload):
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def _get(ctx, stream):
    ctx.set(stream.ready, 1)
    payload, = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


@pytest.fixture
def put():
    """Hand one payload to a stream: ``await put(ctx, stream, payload)``."""
    return _put


@pytest.fixture
def get():
    """Take one payload from a stream: ``payload = await get(ctx, stream)``."""
    return _get
