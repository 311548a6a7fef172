# amaranth: UnusedElaboratable=no
"""AXI4 to AXI3 across clock domains, against memories that check the protocol."""

import random

import pytest

from dfx_rtl.bus.axi import Axi3Signature, Axi4Signature, Response
from platforms.axi_bridge import AxiBridge
from sim.memory import FaultKind, Timing

SIZE = 1 << 14
#: 250 MHz or 200 MHz against 450 MHz, and a slow memory side.
CLOCKS = {
    "host": {"sync": (1.44e-8, 0.72e-8), "hbm": (0.8e-8, 0.4e-8)},
    "kernel": {"sync": (1.8e-8, 0.9e-8), "hbm": (0.8e-8, 0.4e-8)},
    "slow": {"sync": (0.8e-8, 0.4e-8), "hbm": (2.2e-8, 1.1e-8)},
}


def _bridge(upper=128, lower=64):
    return AxiBridge(Axi4Signature(14, upper, 3), Axi3Signature(14, lower, 1), domain="sync")


def _bursts(rng, count, beat_bytes):
    """Bursts that keep inside 4 KiB; identifier, address, length."""
    for _ in range(count):
        length = rng.choice((1, 2, rng.randint(1, 64), rng.randint(1, 256)))
        length = min(length, 4096 // beat_bytes)
        first = rng.randrange(4096 // beat_bytes - length + 1)
        page = rng.randrange(SIZE // 4096)
        yield rng.randrange(8), page * 4096 + first * beat_bytes, length


@pytest.mark.parametrize(("upper", "lower", "clocks", "seed"), [
    (128, 64, "host", 1), (128, 64, "host", 2), (128, 64, "kernel", 3), (128, 64, "slow", 4),
    (64, 64, "host", 5), (128, 32, "host", 6)])
def test_random_bursts(simulate, manager, memory, upper, lower, clocks, seed):
    rng = random.Random(seed)
    bridge = _bridge(upper, lower)
    timing = Timing(latency=20, write_latency=9, turnaround=2, stall_threshold=rng.choice((0, 90)))
    system = memory(bridge, [bridge.lower], SIZE, seed=seed, timing=timing)
    beat_bytes = upper // 8
    expected = bytearray(system.storages[0].array.tobytes())
    writes = list(_bursts(rng, 8, beat_bytes))
    contents = []
    for _, address, length in writes:
        beats = []
        for beat in range(length):
            value = rng.getrandbits(upper)
            strobe = rng.choice((0, (1 << beat_bytes) - 1, rng.getrandbits(beat_bytes)))
            beats.append((value, strobe))
            for byte in range(beat_bytes):
                if strobe >> byte & 1:
                    expected[address + beat * beat_bytes + byte] = value >> 8 * byte & 0xFF
        contents.append(beats)
    reads = list(_bursts(rng, 8, beat_bytes))
    host = [manager(bridge.upper, "sync", seed=seed + place, stall=rng.choice((0, .3)))
            for place in range(3)]
    state = {"addresses": False}

    async def write_data(ctx):
        await host[1].data(ctx, contents)

    async def main(ctx):
        system.prepare(ctx)
        await host[0].addresses(ctx, "aw", writes)
        state["addresses"] = True

    async def rest(ctx):
        answers = await host[2].answers(ctx, len(writes))
        assert answers == [(identifier, Response.OKAY) for identifier, _, _ in writes]
        assert system.storages[0].array.tobytes() == expected
        state["written"] = True

    async def read_addresses(ctx):
        while "written" not in state:
            await ctx.tick()
        await host[0].addresses(ctx, "ar", reads)

    async def read_data(ctx):
        bursts = await host[2].beats(ctx, [length for _, _, length in reads])
        for (identifier, address, length), (found, beats) in zip(reads, bursts, strict=True):
            assert found == identifier
            for beat, (value, response) in enumerate(beats):
                place = address + beat * beat_bytes
                assert value == int.from_bytes(expected[place:place + beat_bytes], "little")
                assert response == Response.OKAY
            assert len(beats) == length
        system.check(ctx)

    simulate(system, main, write_data, rest, read_addresses, read_data,
             background=[system.serve], deadline=60_000, clocks=CLOCKS[clocks])


@pytest.mark.parametrize(("ratio", "lowest"), [(1, .95), (2, .85)])
def test_throughput(simulate, manager, memory, ratio, lowest):
    """Long bursts: a beat a cycle, up to what the memory side carries (2.25 / 2 and 2.25)."""
    bridge = _bridge(128, 128 // ratio)
    system = memory(bridge, [bridge.lower], SIZE)
    host = manager(bridge.upper, "sync")
    bursts = [(0, 4096 * (place % 4), 256) for place in range(4)]
    cycles = {}

    async def count(ctx):
        ctx.set(bridge.upper.bready, 1)
        ctx.set(bridge.upper.rready, 1)
        async for cycle, (_, _, w, wr, r, rr) in _enumerated(ctx, bridge.upper):
            for name, moved in (("write", w and wr), ("read", r and rr)):
                if moved:
                    first, _, beats = cycles.get(name, (cycle, cycle, 0))
                    cycles[name] = first, cycle, beats + 1

    async def main(ctx):
        system.prepare(ctx)
        await host.addresses(ctx, "aw", bursts)

    async def data(ctx):
        await host.data(ctx, [[(beat, 0xFFFF) for beat in range(256)]] * len(bursts))
        await ctx.tick().repeat(100)
        await host.addresses(ctx, "ar", bursts)
        await ctx.tick().repeat(500)
        system.check(ctx)

    simulate(system, main, data, background=[system.serve, count], clocks=CLOCKS["kernel"])
    for name in ("write", "read"):
        first, last, beats = cycles[name]
        assert beats == 1024
        assert beats / (last - first + 1) >= lowest, name


async def _enumerated(ctx, bus):
    cycle = 0
    async for values in ctx.tick().sample(bus.wvalid, bus.wready, bus.rvalid, bus.rready):
        yield cycle, values
        cycle += 1


@pytest.mark.parametrize(("kind", "response"), [
    (FaultKind.WRITE_SLVERR, Response.SLVERR), (FaultKind.WRITE_DECERR, Response.DECERR)])
def test_one_part_of_a_burst_fails(simulate, manager, memory, kind, response):
    bridge = _bridge()
    system = memory(bridge, [bridge.lower], SIZE, faults=[(kind, 2)])
    host = manager(bridge.upper, "sync")

    async def main(ctx):
        system.prepare(ctx)
        await host.addresses(ctx, "aw", [(1, 0, 40), (2, 0, 8)])

    async def data(ctx):
        await host.data(ctx, [[(0, 1)] * 40, [(0, 1)] * 8])

    async def answers(ctx):
        assert await host.answers(ctx, 2) == [(1, response), (2, Response.OKAY)]

    simulate(system, main, data, answers, background=[system.serve],
             clocks=CLOCKS["host"])


def test_a_read_that_fails(simulate, manager, memory):
    bridge = _bridge()
    system = memory(bridge, [bridge.lower], SIZE, faults=[(FaultKind.READ_SLVERR, 1)])
    host = manager(bridge.upper, "sync")

    async def main(ctx):
        system.prepare(ctx)
        await host.addresses(ctx, "ar", [(1, 0, 24)])

    async def data(ctx):
        (_, beats), = await host.beats(ctx, [24])
        assert [response for _, response in beats] \
            == [Response.OKAY] * 8 + [Response.SLVERR] * 8 + [Response.OKAY] * 8

    simulate(system, main, data, background=[system.serve],
             clocks=CLOCKS["host"])


def test_an_address_inside_a_beat(simulate, manager, memory):
    """What a host does for a few bytes: the address names them, and so do the strobes."""
    bridge = _bridge()
    system = memory(bridge, [bridge.lower], SIZE)
    host = manager(bridge.upper, "sync")

    async def main(ctx):
        system.prepare(ctx)
        await host.addresses(ctx, "aw", [(0, 0x105, 1)])

    async def data(ctx):
        await host.data(ctx, [[(0xAB << 40, 1 << 5)]])

    async def answers(ctx):
        before = system.storages[0].array.copy()
        await host.answers(ctx, 1)
        before[0x105] = 0xAB
        assert (system.storages[0].array == before).all()
        system.check(ctx)

    simulate(system, main, data, answers, background=[system.serve],
             clocks=CLOCKS["host"])


def test_an_address_waits_for_its_data(simulate, manager, memory):
    """A host that is slow with its data must not hold the port."""
    bridge = _bridge()
    system = memory(bridge, [bridge.lower], SIZE)
    host = manager(bridge.upper, "sync")

    async def main(ctx):
        system.prepare(ctx)
        await host.addresses(ctx, "aw", [(0, 0, 8)])
        for beat in range(8):
            await ctx.tick().repeat(20)
            assert not ctx.get(bridge.lower.awvalid)
            await host.send(ctx, "w", data=beat, strb=1, last=beat == 7)
        await ctx.tick("hbm").until(bridge.lower.awvalid)
        for _ in range(15):
            _, _, valid = await ctx.tick("hbm").sample(bridge.lower.wvalid)
            assert valid

    simulate(system, main, background=[system.serve],
             clocks=CLOCKS["host"])


def test_errors():
    four, three = Axi4Signature(14, 64, 1), Axi3Signature(14, 64, 1)
    with pytest.raises(TypeError, match=r"^Upper signature must be AXI4, not "
                                        r"Axi3Signature\(14, 64, 1\)$"):
        AxiBridge(three, three, domain="sync")
    with pytest.raises(TypeError, match=r"^Lower signature must be AXI3, not "
                                        r"Axi4Signature\(14, 64, 1\)$"):
        AxiBridge(four, four, domain="sync")
    with pytest.raises(ValueError, match=r"^Lower side must not be wider than the upper one, but "
                                         r"128 is more than 64 bits$"):
        AxiBridge(four, Axi3Signature(14, 128, 1), domain="sync")
