"""The DMA with all its memories: what the tests of its parts share."""

import dataclasses
import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from dfx_rtl.config import CONFIGS
from dfx_rtl.dma.requests import ddr_signature, hbm_signature
from dfx_rtl.dma.unit import DirectMemoryAccess
from sim.memory import FaultKind, MemoryPort, Storage, StorageHub, Timing, Violation, serve


class System(wiring.Component):
    """A DMA whose ports end in memories; HBM and kernel run at their true ratio."""

    def __init__(self, name="nano", *, hbm=None, ddr=None, seed=1, faults=None, **changes):
        base = CONFIGS[name]
        self.config = config = dataclasses.replace(
            base, **{"channel_bytes": 1 << 17, "ddr_bytes": 1 << 17, **changes})
        self.hbm_timing = hbm or Timing()
        self.ddr_timing = ddr or Timing()
        self.seed = seed
        self.faults = faults or {}
        self.dma = DirectMemoryAccess(config)
        self.ports = [MemoryPort(hbm_signature(config), config.channel_bytes, constant_rready=True)
                      for _ in range(config.channels)]
        self.ddr_port = MemoryPort(ddr_signature(config), config.ddr_bytes)
        self.hub = StorageHub([port.storage for port in self.ports])
        self.ddr_hub = StorageHub([self.ddr_port.storage])
        self.hbm = [Storage(config.channel_bytes, config.axi_bits // 8)
                    for _ in range(config.channels)]
        self.ddr = Storage(config.ddr_bytes, config.ddr_bytes_per_beat)
        rng = random.Random(seed)
        for storage in (*self.hbm, self.ddr):
            storage.array[:] = memoryview(rng.randbytes(len(storage)))
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma = self.dma
        for index, port in enumerate(self.ports):
            m.submodules[f"hbm{index}"] = DomainRenamer("hbm")(port)
            connect(m, self.dma.hbm[index], port.bus)
        m.submodules.hub = DomainRenamer("hbm")(self.hub)
        m.submodules.ddr = self.ddr_port
        m.submodules.ddr_hub = self.ddr_hub
        connect(m, self.dma.ddr, self.ddr_port.bus)
        return m

    def tile(self, index):
        """The bits of a tile, in linear order."""
        size = self.config.word_bytes
        image = b"".join(bytes(storage.array[index * size:(index + 1) * size])
                         for storage in self.hbm)
        return int.from_bytes(image, "little")

    def chunk(self, address):
        """The chunk at a byte address of DDR."""
        return int.from_bytes(bytes(self.ddr.array[address:address + self.config.chunk_bytes]),
                              "little")

    def prepare(self, ctx):
        """Tell the memories how they behave."""
        for place, port in [*enumerate(self.ports), ("ddr", self.ddr_port)]:
            timing = self.ddr_timing if place == "ddr" else self.hbm_timing
            shift = 0 if place == "ddr" else place + 1
            ctx.set(port.timing, timing.replace(seed=self.seed * 77 + shift + 1).to_const())
            kind, after = self.faults.get(place, (FaultKind.NONE, 0))
            ctx.set(port.fault, {"kind": kind, "after": after})

    def check(self, ctx):
        """No port has seen a violation."""
        for port in (*self.ports, self.ddr_port):
            assert ctx.get(port.violation) == Violation.NONE


@pytest.fixture
def run_system(simulate):
    """Run testbenches on a :class:`System`; the first one's end checks the protocol."""

    def run(system, testbench, *others, background=(), deadline=10_000):
        async def main(ctx):
            system.prepare(ctx)
            await testbench(ctx)
            system.check(ctx)

        simulate(system, main, *others, deadline=deadline,
                 clocks={"sync": (1.8e-8, 0.9e-8), "hbm": (0.8e-8, 0.4e-8)},
                 background=(serve(system.hub, system.hbm, domain="hbm"),
                             serve(system.ddr_hub, [system.ddr]), *background))
    return run


@pytest.fixture
def make_system():
    """A :class:`System`."""
    return System


def _command(instruction, *, position=0, layer=0, layer_base=0):
    return {
        "instruction": {"opcode": int(instruction.opcode), **instruction.fields},
        "tag": {"instruction": 5, "layer": layer, "position": position},
        "layer_base": layer_base,
    }


@pytest.fixture
def command():
    """The command of an instruction, as the scheduler would issue it."""
    return _command


@pytest.fixture
def serve_operand():
    """A register file behind a read port: ``serve_operand(port, chunks, seed, chance)``."""

    def make(port, chunks, seed=0, chance=1.0):
        rng = random.Random(seed)

        async def testbench(ctx):
            ready = 1
            ctx.set(port.ready, ready)
            async for _, _, valid, address in ctx.tick().sample(port.valid, port.address):
                if valid and ready:
                    ctx.set(port.data.as_value(), chunks[address])
                if chance < 1.0:
                    ready = int(rng.random() < chance)
                    ctx.set(port.ready, ready)
        return testbench
    return make


@pytest.fixture
def collect():
    """Take all payloads of a stream, now and then: ``collect(stream, value, into, ...)``."""

    def make(stream, value, into, seed=0, chance=1.0):
        rng = random.Random(seed)

        async def testbench(ctx):
            ctx.set(stream.ready, chance >= 1.0)
            async for _, _, valid, ready, item in ctx.tick().sample(
                    stream.valid, stream.ready, value):
                if valid and ready:
                    into.append(item)
                if chance < 1.0:
                    ctx.set(stream.ready, rng.random() < chance)
        return testbench
    return make


@pytest.fixture
def collect_errors():
    """Note every error strobe as (kind, response, channel): ``collect_errors(dma, into)``."""

    def make(dma, into):
        async def testbench(ctx):
            async for _, _, stb, kind, response, channel in ctx.tick().sample(
                    dma.error.stb, dma.error.kind, dma.error.response, dma.error.channel):
                if stb:
                    into.append((kind, response, channel))
        return testbench
    return make
