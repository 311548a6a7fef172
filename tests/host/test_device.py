"""The driver over files and a FIFO that stand for the devices, and a thread that plays the core."""

import asyncio
import contextlib
import errno
import os
import threading
import time

import pytest

import dfx_rtl.host.device as device
from dfx_rtl.compiler import RunParameters
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.registers import IDENTIFIER, REGISTERS
from dfx_rtl.control.state import State
from dfx_rtl.host.device import DeviceBus, DeviceError
from dfx_rtl.host.driver import CoreError, Driver

RUN = RunParameters(program_base=1 << 33, program_length=9, token_base=0x100, output_base=0x200,
                    logits_base=0, logits_stride=0, layer_stride=64, layers=2, heads=2, emb=16,
                    vocabulary=11, positions=16, end_of_text=10)


class Card:
    """Files for a card's devices; both directions of the DMA are one file."""

    def __init__(self, directory):
        self.prefix = str(directory / "xdma0")
        self.registers = directory / "xdma0_user"
        self.memory = directory / "xdma0_memory"
        self.registers.write_bytes(bytes(1024))
        self.memory.write_bytes(bytes(4096))
        for name in ("h2c_0", "c2h_0"):
            os.link(self.memory, f"{self.prefix}_{name}")
        self.events = f"{self.prefix}_events_0"
        os.mkfifo(self.events)
        self.put("IDENTIFIER", value=IDENTIFIER)

    def put(self, name, **fields):
        register = REGISTERS[name]
        with self.registers.open("r+b") as file:
            file.seek(register.offset)
            file.write(register.pack(**fields).to_bytes(4, "little"))

    def get(self, name):
        register = REGISTERS[name]
        content = self.registers.read_bytes()[register.offset:register.offset + 4]
        return register.unpack(int.from_bytes(content, "little"))

    def play(self, tokens, *, fail=False, interrupt=True):
        """A core: waits for the start, then makes a token after the other."""
        while not self.get("CONTROL")["start"]:
            time.sleep(.001)
        with open(self.events, "r+b", buffering=0) if interrupt \
                else contextlib.nullcontext() as events:
            for count, token in enumerate(tokens, 1):
                with self.memory.open("r+b") as file:
                    file.seek(RUN.output_base + 4 * (count - 1))
                    file.write(token.to_bytes(4, "little"))
                self.put("TOKENS", count=count)
                if count == len(tokens):
                    if fail:
                        self.put("ERROR", cause=Cause.DDR_READ, place=3, response=3)
                    self.put("STATUS", state=State.FAILED if fail else State.DONE)
                if events is not None:
                    events.write((1).to_bytes(4, "little"))
                time.sleep(.002)
            # A FIFO forgets when nobody has it open; the other end has.


@pytest.fixture
def card(tmp_path):
    return Card(tmp_path)


@contextlib.contextmanager
def playing(card, tokens, **options):
    thread = threading.Thread(target=card.play, args=(tokens,), kwargs=options)
    thread.start()
    try:
        yield
    finally:
        card.put("CONTROL", start=1)
        thread.join()


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_run(card, interrupt):
    seen = []
    with DeviceBus(card.prefix, memory_bytes=4096, interrupt=interrupt, wait_seconds=.05) as bus, \
            playing(card, [3, 1, 4, 1, 5], interrupt=interrupt):
        driver = Driver(bus)

        async def host():
            await driver.identify()
            await driver.configure(RUN)
            return await driver.run(RUN, [5, 6], 5, seen.append)

        assert asyncio.run(host()) == seen == [3, 1, 4, 1, 5]
    assert card.memory.read_bytes()[0x100:0x108] == bytes([5, 0, 0, 0, 6, 0, 0, 0])
    assert card.get("PROGRAM_BASE_HIGH")["value"] == 2
    assert card.get("EMBEDDING")["value"] == 16


def test_a_core_that_fails(card):
    with DeviceBus(card.prefix, wait_seconds=.05) as bus, playing(card, [3, 1], fail=True), \
            pytest.raises(CoreError, match=r"^the core stopped: DDR_READ at 3 \(DECERR\)$"):
        asyncio.run(Driver(bus).run(RUN, [5], 3))


def test_the_wait_ends_with_the_interrupt_or_after_a_while(card):
    with DeviceBus(card.prefix, wait_seconds=.1) as bus, \
            open(card.events, "r+b", buffering=0) as events:
        begin = time.monotonic()
        asyncio.run(bus.wait())
        assert time.monotonic() - begin >= .1
        events.write(bytes(4))
        events.write(bytes(4))
        # Both came before the wait, and each wait takes one.
        begin = time.monotonic()
        asyncio.run(bus.wait())
        asyncio.run(bus.wait())
        assert time.monotonic() - begin < .1


def test_registers_have_an_offset(card):
    with DeviceBus(card.prefix, register_offset=0x200) as bus:
        asyncio.run(bus.write_register(8, 0x12345678))
        assert asyncio.run(bus.read_register(8)) == 0x12345678
    assert card.registers.read_bytes()[0x208:0x20C] == b"\x78\x56\x34\x12"


def test_memory_in_pieces(card, monkeypatch):
    """As much as the kernel takes at once, and the rest in the next call."""
    content = bytes(range(1, 101))
    calls = []

    def pwrite(file, data, place):
        calls.append(len(data))
        return os.pwrite(file, data[:7], place)

    def pread(file, size, place):
        return os.pread(file, min(size, 9), place)

    pwrite.__name__, pread.__name__ = "pwrite", "pread"
    monkeypatch.setattr(device, "_PIECE", 32)
    with DeviceBus(card.prefix) as bus:
        fake = type(os)("os")
        fake.__dict__.update(os.__dict__, pwrite=pwrite, pread=pread)
        monkeypatch.setattr(device, "os", fake)
        asyncio.run(bus.write_memory(50, content))
        assert asyncio.run(bus.read_memory(50, 100)) == content
    assert max(calls) == 32 and len(calls) == 15
    assert card.memory.read_bytes()[50:150] == content


def test_a_missing_device(card):
    for name in ("user", "h2c_0", "c2h_0", "events_0"):
        path = f"{card.prefix}_{name}"
        os.rename(path, path + ".away")
        with pytest.raises(DeviceError) as caught:
            DeviceBus(card.prefix)
        assert str(caught.value) == \
            f"{path}: there is no such device: is the xdma module loaded, and the card " \
            f"programmed before the machine looked for it?"
        assert caught.value.path == path
        os.rename(path + ".away", path)
    with pytest.raises(DeviceError, match="^/dev/null/x_user: Not a directory$"):
        DeviceBus("/dev/null/x")


def test_a_device_that_may_not_be_opened(card, monkeypatch):
    def refuse(path, flags):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeviceError) as caught:
        DeviceBus(card.prefix)
    assert str(caught.value) == f"{card.prefix}_user: may not be opened: use root, or a udev rule"


def test_errors_while_it_runs(card):
    bus = DeviceBus(card.prefix, memory_bytes=4096)

    def fails(coroutine, message):
        with pytest.raises(DeviceError) as caught:
            asyncio.run(coroutine)
        assert str(caught.value) == f"{card.prefix}_{message}"

    fails(bus.read_memory(4000, 97), "c2h_0: 97 bytes at 0xfa0 are not in the memory of 0x1000")
    fails(bus.write_memory(-1, b"1"), "h2c_0: 1 bytes at -0x1 are not in the memory of 0x1000")
    fails(bus.read_register(1022), "user: register 0x3fe gave 2 of 4 bytes")
    os.truncate(card.memory, 100)
    fails(bus.read_memory(96, 8), "c2h_0: nothing comes from 0x64")
    bus.close()
    bus.close()
    fails(bus.read_register(0), "user: is closed")
    fails(bus.write_memory(0, b"1"), "h2c_0: is closed")
    fails(bus.wait(), "user: is closed")
    with DeviceBus(card.prefix) as bus:
        fails(bus.read_memory(-4, 4), "c2h_0: 4 bytes at -0x4 are not in the memory")


@pytest.mark.parametrize(("call", "message"), [
    ("pread", "user: pread failed: Input/output error"),
    ("pwrite", "h2c_0: pwrite failed: Input/output error")])
def test_a_link_that_goes_down(card, monkeypatch, call, message):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    fail.__name__ = call
    with DeviceBus(card.prefix) as bus:
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(DeviceError) as caught:
            asyncio.run(bus.read_register(0) if call == "pread" else bus.write_memory(0, b"1"))
        assert str(caught.value) == f"{card.prefix}_{message}"


@pytest.mark.parametrize("count", [0, 3])
def test_short_writes(card, monkeypatch, count):
    with DeviceBus(card.prefix) as bus:
        monkeypatch.setattr(os, "pwrite", lambda *_: count)
        with pytest.raises(DeviceError) as caught:
            asyncio.run(bus.write_register(4, 1))
        assert str(caught.value) == f"{card.prefix}_user: register 0x4 took {count} of 4 bytes"
        if not count:
            with pytest.raises(DeviceError) as caught:
                asyncio.run(bus.write_memory(8, b"1"))
            assert str(caught.value) == f"{card.prefix}_h2c_0: nothing goes to 0x8"
