# amaranth: UnusedElaboratable=no
"""Managers that share a port: all get what they asked for, and in turn."""

import random

import pytest

from dfx_rtl.bus.axi import Axi3Signature, Axi4Signature, Response
from platforms.axi_arbiter import Axi3Arbiter
from sim.memory import Timing

SIZE = 1 << 14
BEAT = 8
CLOCKS = {"sync": (0.8e-8, 0.4e-8), "hbm": (0.8e-8, 0.4e-8)}


def _arbiter(managers):
    from amaranth import DomainRenamer
    inner = Axi3Arbiter(Axi3Signature(14, 8 * BEAT, 2), managers)
    return inner, DomainRenamer("hbm")(inner)


@pytest.mark.parametrize("managers", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_manager_gets_its_own(simulate, manager, memory, managers, seed):
    rng = random.Random(seed)
    arbiter, component = _arbiter(managers)
    timing = Timing(latency=12, write_latency=5, turnaround=1, stall_threshold=rng.choice((0, 60)))
    system = memory(component, [arbiter.port], SIZE, timing=timing)
    done = []

    def benches(index):
        bus = arbiter.managers[index]
        base = index * 4096
        bursts = []
        for _ in range(12):
            length = rng.randint(1, 16)
            first = rng.randrange(512 - length + 1)
            bursts.append((rng.randrange(4), base + first * BEAT, length))
        contents = [[(rng.getrandbits(64), 0xFF) for _ in range(length)]
                    for _, _, length in bursts]
        ends = [manager(bus, "hbm", seed=seed + 7 * index + place, stall=rng.choice((0, .3)))
                for place in range(3)]
        expected = bytearray(system.storages[0].array[base:base + 4096].tobytes())
        for (_, address, _), beats in zip(bursts, contents, strict=True):
            for place, (value, _) in enumerate(beats):
                where = address - base + place * BEAT
                expected[where:where + BEAT] = value.to_bytes(BEAT, "little")
        written = []

        async def addresses(ctx):
            await ends[0].addresses(ctx, "aw", bursts)

        async def data(ctx):
            await ends[1].data(ctx, contents)

        async def answers(ctx):
            assert await ends[2].answers(ctx, len(bursts)) \
                == [(identifier, Response.OKAY) for identifier, _, _ in bursts]
            written.append(True)

        async def read(ctx):
            while not written:
                await ctx.tick("hbm")
            await ends[0].addresses(ctx, "ar", bursts)

        async def take(ctx):
            # The memories' checker asks for RREADY.
            ends[2].stall = 0
            while not written:
                await ctx.tick("hbm")
            ctx.set(bus.rready, 1)
            found = []
            async for _, _, valid, identifier, value, last in ctx.tick("hbm").sample(
                    bus.rvalid, bus.rid, bus.rdata, bus.rlast):
                if valid:
                    found.append((identifier, value, last))
                    if len(found) == sum(length for _, _, length in bursts):
                        break
            for identifier, address, length in bursts:
                for place in range(length):
                    where = address - base + place * BEAT
                    assert found.pop(0) == (
                        identifier, int.from_bytes(expected[where:where + BEAT], "little"),
                        place == length - 1)
            system.check(ctx)
            done.append(index)

        return addresses, data, answers, read, take

    async def prepare(ctx):
        system.prepare(ctx)
        while len(done) < managers:
            await ctx.tick("hbm")

    simulate(_with_sync(system), prepare,
             *(bench for index in range(managers) for bench in benches(index)),
             background=[system.serve], clocks=CLOCKS)


def _with_sync(system):
    """The deadline counts cycles of ``sync``."""
    from amaranth import Module, Signal
    m = Module()
    m.submodules.system = system
    m.d.sync += Signal().eq(1)
    return m


@pytest.mark.parametrize("prefix", ["ar", "aw"])
def test_in_turn(simulate, prefix):
    """All want the port all the time: it goes round, an address a cycle, a cycle later."""
    arbiter = Axi3Arbiter(Axi3Signature(14, 64, 2), 3)

    async def main(ctx):
        ctx.set(arbiter.port.arready, 1)
        ctx.set(arbiter.port.awready, 1)
        for index, bus in enumerate(arbiter.managers):
            ctx.set(getattr(bus, f"{prefix}valid"), 1)
            ctx.set(getattr(bus, f"{prefix}id"), index)
            ctx.set(getattr(bus, f"{prefix}addr"), 100 * index)
        assert not ctx.get(getattr(arbiter.port, f"{prefix}valid"))
        for cycle in range(9):
            await ctx.tick()
            assert ctx.get(getattr(arbiter.port, f"{prefix}valid"))
            index = cycle % 3
            assert ctx.get(getattr(arbiter.port, f"{prefix}id")) == index << 2 | index
            assert ctx.get(getattr(arbiter.port, f"{prefix}addr")) == 100 * index

    simulate(arbiter, main)


def test_writes_are_bounded(simulate):
    """As many addresses are granted as there are places to note whose data come."""
    arbiter = Axi3Arbiter(Axi3Signature(14, 64, 2), 2)

    async def main(ctx):
        ctx.set(arbiter.port.awready, 1)
        ctx.set(arbiter.managers[0].awvalid, 1)
        moved = 0
        for _ in range(40):
            _, _, valid = await ctx.tick().sample(arbiter.port.awvalid)
            moved += valid
        assert moved == 16

    simulate(arbiter, main)


def test_errors():
    with pytest.raises(TypeError, match=r"^Signature must be AXI3, not "
                                        r"Axi4Signature\(14, 64, 1\)$"):
        Axi3Arbiter(Axi4Signature(14, 64, 1), 2)
    for managers in (0, True, "2"):
        with pytest.raises(TypeError, match=f"^Number of managers must be a positive integer, "
                                            f"not {managers!r}$"):
            Axi3Arbiter(Axi3Signature(14, 64, 1), managers)
