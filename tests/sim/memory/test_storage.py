# amaranth: UnusedElaboratable=no
import random
import re

import numpy as np
import pytest
from amaranth import *

from sim.memory.storage import *


def test_read_write():
    storage = Storage(64, 8)
    storage.write(3, 0x1122334455667788)
    assert storage.read(3) == 0x1122334455667788
    storage.write(3, 0xffffffffffffffff, 0b10000001)
    assert storage.read(3) == 0xff223344556677ff
    storage.write(3, 0, 0)
    assert storage.read(3) == 0xff223344556677ff
    assert storage.array[24] == 0xff and storage.array[25] == 0x77
    assert len(storage) == 64


def test_images():
    own = np.arange(64, dtype=np.uint8)
    storage = Storage(64, 8, own)
    storage.write(0, 0)
    assert own[1] == 0                              # no copy
    half = np.arange(4, dtype=np.float16)
    storage = Storage(64, 8, half)
    storage.write(0, 0)
    assert half[1] == 1                             # a copy, as it is shorter
    assert storage.read(0) == 0
    assert Storage(64, 8, b"\x07\x01").read(0) == 0x107
    assert Storage(8, 8, bytes(range(8))).read(0) == 0x0706050403020100


def test_memmap(tmp_path):
    mapped = np.memmap(tmp_path / "image", dtype=np.uint8, mode="w+", shape=64)
    storage = Storage(64, 32, mapped)
    storage.write(1, 1 << 255)
    mapped.flush()
    assert (tmp_path / "image").read_bytes()[63] == 0x80


def test_fill():
    storage = Storage(16, 4)
    storage.fill(4, 14)
    assert storage.array.view("<u2").tolist() == [0, 0, 0x7e00, 0x7c00, 0x7e00, 0x7c00, 0x7e00, 0]
    storage.fill(pattern=[0x1234])
    assert storage.read(3) == 0x12341234


@pytest.mark.parametrize("count", [1, 3])
def test_serve(simulate, count):
    """Ports of different sizes, at random, against arrays."""
    widths = [(5, 64), (3, 32), (6, 128)][:count]
    ports = [StorageSignature(*width).create(path=(f"port{k}",)) for k, width in enumerate(widths)]
    hub = StorageHub(ports)
    storages = [Storage(data_width // 8 << address_width, data_width // 8)
                for address_width, data_width in widths]
    model = [[0] * (1 << address_width) for address_width, _ in widths]
    choice = random.Random(count)

    async def testbench(ctx):
        shown = [0] * count
        for _ in range(300):
            for k, (address_width, data_width) in enumerate(widths):
                action = choice.choice(["read", "write", "rest"])
                beat = choice.randrange(1 << address_width)
                value, strobe = choice.getrandbits(data_width), choice.getrandbits(data_width // 8)
                ctx.set(ports[k].read_enable, action == "read")
                ctx.set(ports[k].write_enable, action == "write")
                ctx.set(ports[k].read_address, beat)
                ctx.set(ports[k].write_address, beat)
                ctx.set(ports[k].write_data, value)
                ctx.set(ports[k].write_strobe, strobe)
                if action == "read":
                    shown[k] = model[k][beat]
                if action == "write":
                    mask = sum(0xff << 8 * i for i in range(data_width // 8) if strobe >> i & 1)
                    model[k][beat] = model[k][beat] & ~mask | value & mask
            await ctx.tick()
            await ctx.delay(1e-9)
            assert [ctx.get(port.read_data) for port in ports] == shown

    simulate(hub, testbench, background=[serve(hub, storages)])
    for storage, values in zip(storages, model, strict=True):
        assert [storage.read(beat) for beat in range(len(values))] == values


@pytest.mark.parametrize("make, message", [
    (lambda: Storage(0, 8), "Size must be a positive multiple of 8 bytes, not 0"),
    (lambda: Storage(12, 8), "Size must be a positive multiple of 8 bytes, not 12"),
    (lambda: Storage(8, 8, bytes(9)), "Image must fit in 8 bytes, not 9"),
    (lambda: StorageHub([]), "A storage hub must have a port"),
    (lambda: serve(StorageHub([StorageSignature(4, 64).create()]), []),
     "There must be a storage for each of 1 ports, not 0"),
])
def test_errors(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
