# amaranth: UnusedElaboratable=no
"""The card in simulation: a host brings a model through PCI Express, and the core speaks."""

import dataclasses

import numpy as np
import pytest
from amaranth import *
from amaranth.sim import Simulator

from dfx_rtl.compiler import compile, compile_copy
from dfx_rtl.config import CONFIGS
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.host.driver import Bus, Driver
from dfx_rtl.link import DownCause
from dfx_rtl.model.machine import Machine
from dfx_rtl.router.layouts import FlitLayout
from platforms import card as card_module
from platforms.card import Card, fit_config
from platforms.ip.core import CoreIp
from platforms.ring_link import RingLink
from sim.engines.partition import PartitionedEngine
from sim.memory import Storage, Timing, Violation, serve

#: A small HBM: 32 pseudo-channels of 64 KiB, half of each for a channel.
WIDTH = 21
CLOCKS = {"sync": (1.8e-8, 0.9e-8), "hbm": (0.8e-8, 0.4e-8), "pcie": (1.44e-8, 0.7e-8)}


class CardBus(Bus):
    """The host's side of PCI Express."""

    def __init__(self, ctx, card, manager):
        self.ctx, self.xdma = ctx, card.xdma
        self.memory = manager(card.xdma.memory, "pcie")
        self.registers = manager(card.xdma.registers, "pcie")

    async def read_register(self, offset):
        await self.registers.send(self.ctx, "ar", addr=offset)
        word, response = await self.registers.take(self.ctx, "r", "data", "resp")
        assert response.value == 0
        return word

    async def write_register(self, offset, word):
        await self.registers.send(self.ctx, "aw", addr=offset)
        await self.registers.send(self.ctx, "w", data=word, strb=15)
        assert (await self.registers.take(self.ctx, "b", "resp"))[0].value == 0

    def _pieces(self, address, size):
        """Bursts: identifier, address, beats; and the bytes that they carry."""
        while size:
            first = address % 64
            piece = min(size, 4096 - address % 4096)
            yield (0, address, -(-(first + piece) // 64)), first, piece
            address, size = address + piece, size - piece

    async def read_memory(self, address, size):
        content = b""
        for burst, first, piece in self._pieces(address, size):
            await self.memory.addresses(self.ctx, "ar", [burst])
            (_, beats), = await self.memory.beats(self.ctx, [burst[2]])
            assert all(response.value == 0 for _, response in beats)
            content += b"".join(value.to_bytes(64, "little")
                                for value, _ in beats)[first:first + piece]
        return content

    async def write_memory(self, address, content):
        for burst, first, piece in self._pieces(address, len(content)):
            data = bytes(first) + bytes(content[:piece])
            content = content[piece:]
            beats = []
            for place in range(0, len(data), 64):
                part = data[place:place + 64]
                strobe = (1 << len(part)) - 1
                if not place:
                    strobe &= -1 << first
                beats.append((int.from_bytes(part, "little"), strobe))
            await self.memory.addresses(self.ctx, "aw", [burst])
            await self.memory.data(self.ctx, [beats])
            (_, response), = await self.memory.answers(self.ctx, 1)
            assert response.value == 0

    async def wait(self):
        for _ in range(2000):
            if self.ctx.get(self.xdma.interrupt):
                return
            await self.ctx.tick("pcie")


def _run(card, main, storage, deadline=30_000):
    async def bench(ctx):
        for model in card.hbm.models.values():
            ctx.set(model.timing, Timing.hbm().to_const())
        await main(ctx)
        for model in card.hbm.models.values():
            assert ctx.get(model.violation) == Violation.NONE

    async def watchdog(ctx):
        await ctx.tick().repeat(deadline)
        raise TimeoutError(f"no end after {deadline} cycles")

    # The engine of whole cores is a few times faster than the default.
    simulator = Simulator(card, engine=PartitionedEngine)
    for domain, (period, phase) in CLOCKS.items():
        simulator.add_clock(period, phase=phase, domain=domain)
    simulator.add_testbench(bench)
    simulator.add_testbench(serve(card.hbm.hub, [storage] * len(card.hbm.used), domain="hbm"),
                            background=True)
    simulator.add_testbench(watchdog, background=True)
    simulator.run()


def test_a_model_comes_through_pci_express_and_speaks(manager, tmp_path):
    write_random_checkpoint(tmp_path, emb=8, layers=1, heads=1, vocabulary=11, positions=8, seed=3)
    config = fit_config(CONFIGS["nano"], WIDTH)
    compiled = compile(Checkpoint.load(tmp_path), config)
    copy = compile_copy(compiled)
    card = Card(config, WIDTH)
    storage = Storage(1 << WIDTH, config.axi_bits // 8)
    # What nobody has written is neither a number nor a program.
    storage.fill()
    prompt, count = [1, 5], 1

    async def main(ctx):
        bus = CardBus(ctx, card, manager)
        driver = Driver(bus)
        assert (await driver.identify())["tile"] == config.tile
        await bus.write_memory(0, copy.ddr.tobytes())
        await driver.configure(copy.run)
        assert await driver.run(copy.run, [0], 0) == []
        # The channels are the lower halves of the pseudo-channels.
        half = 1 << WIDTH - 6
        for channel, image in enumerate(compiled.hbm):
            found = storage.array[2 * half * channel:][:image.size].copy()
            for first, tiles in compiled.caches:
                start = first * config.word_bytes
                found[start:start + tiles * config.word_bytes] = 0
            assert np.array_equal(found, image)
        # DDR begins in the upper half of the first one.
        await bus.write_memory(0, compiled.ddr.tobytes())
        assert storage.array[half:half + 64].tobytes() == compiled.ddr.tobytes()[:64]
        await driver.configure(compiled.run)
        assert await driver.run(compiled.run, prompt, count) == Machine(compiled).run(prompt, count)
        # The last byte of DDR is the last of the memory.
        await bus.write_memory((1 << WIDTH - 1) - 5, b"\1\2\3\4\5")
        assert storage.array[-5:].tobytes() == b"\1\2\3\4\5"
        assert await bus.read_memory((1 << WIDTH - 1) - 3, 3) == b"\3\4\5"
        # A half further on, it is in the upper half of the second pseudo-channel.
        await bus.write_memory(half, b"\7")
        assert storage.array[3 * half] == 7

    _run(card, main, storage)


class _NoCore(CoreIp):
    """The ports of a core, for the testbench to drive."""

    def elaborate(self, platform):
        return Module()


@pytest.mark.parametrize("cages", [0, 1, 2])
def test_links(simulate, put, get, monkeypatch, cages):
    """Which cage each stream of flits uses. A cage of the model sends to itself."""
    monkeypatch.setattr(card_module, "CoreIp", _NoCore)
    # The one in the first cage of two does not come up in time, as if its cable were not there.
    monkeypatch.setattr(card_module, "RingLink", lambda tile, index: RingLink(
        tile, index, give_up_cycles=1024, reset_cycles=2048 if index < cages - 1 else 64))
    config = fit_config(CONFIGS["nano"], WIDTH)
    card = Card(config, WIDTH, cages=cages)
    core, flit = card.core, FlitLayout(config.tile)

    async def bench(ctx):
        for way in range(2):
            assert all(ctx.get(error) == 0 for error in core.link_error)
            await put(ctx, core.send[way], flit.from_bits(0x123 + way))
        if cages:
            # Out to the next core, and in again from there.
            back = core.receive[1 if cages == 2 else 0]
            assert (await get(ctx, back)).as_bits() == 0x123
        await ctx.tick().repeat(1000)
        # What went to the core before is still in its link, or, where there is none, nowhere.
        assert not any(ctx.get(receive.valid) for receive in core.receive)
        assert [ctx.get(error) for error in core.link_error] == [
            0, DownCause.NO_CHANNEL if cages == 2 else 0]

    clocks = CLOCKS | {f"link{index}_{side}": (0.92e-8, 0.5e-8)
                       for index in range(cages) for side in ("transmit", "receive")}
    simulate(card, bench, clocks=clocks)


def test_fit_config():
    config = CONFIGS["u280"]
    fitted = fit_config(config, 33)
    assert fitted == dataclasses.replace(config, channel_bytes=1 << 27, ddr_bytes=1 << 32)
    assert fit_config(config, 34).channel_bytes == 1 << 28
    assert fit_config(config, 34).ddr_bytes == 1 << 33
    assert fit_config(CONFIGS["small"], 33) == CONFIGS["small"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"channel_bytes": 1 << 16}, "Channel must have at most 32768 bytes, not 65536"),
    ({"ddr_bytes": 1 << 21}, "DDR must have at most 1048576 bytes, not 2097152"),
    ({"tile": 16, "axi_bits": 128, "ddr_bits": 64},
     "DDR port must be at least as wide as a channel of 128 bits, not 64"),
])
def test_a_core_that_does_not_fit(changes, message):
    config = dataclasses.replace(fit_config(CONFIGS["nano"], WIDTH), **changes)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Card(config, WIDTH)


def test_too_many_channels():
    config = dataclasses.replace(CONFIGS["u280"], lanes=64, channels=64, axi_bits=512,
                                 channel_bytes=1 << 15, ddr_bytes=1 << 15)
    with pytest.raises(ValueError, match="^Core must have at most 32 channels, not 64$"):
        Card(config, WIDTH)
