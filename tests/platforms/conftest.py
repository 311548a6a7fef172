"""What the tests of the cards share: AXI managers driven by hand, and memories behind AXI3."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from sim.memory import MemoryPort, Storage, StorageHub, Timing, Violation, serve


class Manager:
    """An AXI4 manager: bursts as coroutines that can run beside each other.

    Stalls: each beat waits with this probability.
    """

    def __init__(self, bus, domain, *, seed=0, stall=0.0):
        self.bus, self.domain = bus, domain
        self.random = random.Random(seed)
        self.stall = stall
        self.beat_bytes = bus.signature.data_width // 8

    async def pause(self, ctx):
        while self.random.random() < self.stall:
            await ctx.tick(self.domain)

    async def send(self, ctx, prefix, **payload):
        bus = self.bus
        await self.pause(ctx)
        for name, value in payload.items():
            ctx.set(getattr(bus, prefix + name), value)
        ctx.set(getattr(bus, f"{prefix}valid"), 1)
        await ctx.tick(self.domain).until(getattr(bus, f"{prefix}ready"))
        ctx.set(getattr(bus, f"{prefix}valid"), 0)

    async def take(self, ctx, prefix, *names):
        bus = self.bus
        await self.pause(ctx)
        ctx.set(getattr(bus, f"{prefix}ready"), 1)
        values = await ctx.tick(self.domain) \
            .sample(*(getattr(bus, prefix + name) for name in names)) \
            .until(getattr(bus, f"{prefix}valid"))
        ctx.set(getattr(bus, f"{prefix}ready"), 0)
        return values

    async def addresses(self, ctx, prefix, bursts):
        size = self.beat_bytes.bit_length() - 1
        for identifier, address, length in bursts:
            await self.send(ctx, prefix, id=identifier, addr=address, len=length - 1, size=size,
                            burst=1)

    async def data(self, ctx, bursts):
        for beats in bursts:
            for place, (value, strobe) in enumerate(beats):
                await self.send(ctx, "w", data=value, strb=strobe, last=place == len(beats) - 1)

    async def answers(self, ctx, count):
        return [await self.take(ctx, "b", "id", "resp") for _ in range(count)]

    async def beats(self, ctx, lengths):
        """For each burst its identifier, and (data, response) of each beat."""
        bursts = []
        for length in lengths:
            beats = []
            for place in range(length):
                identifier, value, response, last = \
                    await self.take(ctx, "r", "id", "data", "resp", "last")
                assert bool(last) == (place == length - 1)
                beats.append((identifier, value, response))
            assert len({beat[0] for beat in beats}) == 1
            bursts.append((beats[0][0], [beat[1:] for beat in beats]))
        return bursts


class Memory(wiring.Component):
    """A component with AXI3 ports to memories, in domain ``hbm``, and the memories."""

    def __init__(self, component, ports, size, *, seed=1, timing=None, faults=()):
        self.component = component
        self.memories = [MemoryPort(port.signature, size, constant_rready=True) for port in ports]
        self._ports = ports
        self.hub = StorageHub([memory.storage for memory in self.memories])
        self.storages = [Storage(size, port.signature.beat_bytes) for port in ports]
        rng = random.Random(seed)
        for storage in self.storages:
            storage.array[:] = memoryview(rng.randbytes(size))
        self._timing = timing or Timing()
        self._faults = faults
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component
        for index, (port, memory) in enumerate(zip(self._ports, self.memories, strict=True)):
            m.submodules[f"memory{index}"] = DomainRenamer("hbm")(memory)
            connect(m, port, memory.bus)
        m.submodules.hub = DomainRenamer("hbm")(self.hub)
        return m

    def prepare(self, ctx):
        for index, memory in enumerate(self.memories):
            ctx.set(memory.timing, self._timing.replace(seed=index + 1).to_const())
        for index, (kind, after) in enumerate(self._faults):
            ctx.set(self.memories[index].fault, {"kind": kind, "after": after})

    def check(self, ctx):
        for memory in self.memories:
            assert ctx.get(memory.violation) == Violation.NONE

    async def serve(self, ctx):
        await serve(self.hub, self.storages, domain="hbm")(ctx)


@pytest.fixture
def manager():
    return Manager


@pytest.fixture
def memory():
    return Memory
