"""The driver against a core made of a dictionary."""

import asyncio
from types import SimpleNamespace

import pytest

from dfx_rtl.compiler import RunParameters
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.registers import IDENTIFIER, REGISTERS
from dfx_rtl.control.state import State
from dfx_rtl.host.driver import Bus, CoreError, Driver, next_run

RUN = RunParameters(program_base=1 << 33, program_length=9, token_base=0x100, output_base=0x200,
                    logits_base=0, logits_stride=0, layer_stride=64, layers=2, heads=2, emb=16,
                    vocabulary=11, positions=16, end_of_text=10)


class FakeBus(Bus):
    """A core that finishes one token a wait."""

    def __init__(self, tokens, *, fail_after=None):
        self.words = {REGISTERS["IDENTIFIER"].offset: IDENTIFIER}
        self.memory = bytearray(4096)
        self.tokens, self.fail_after = tokens, fail_after
        self.count = 0
        self.starts = 0

    def put(self, name, **fields):
        self.words[REGISTERS[name].offset] = REGISTERS[name].pack(**fields)

    async def read_register(self, offset):
        return self.words.get(offset, 0)

    async def write_register(self, offset, word):
        if offset == REGISTERS["CONTROL"].offset:
            fields = REGISTERS["CONTROL"].unpack(word)
            self.starts += fields["start"]
            self.put("STATUS", state=State.IDLE if fields["reset"] else State.RUNNING)
        else:
            self.words[offset] = word

    async def read_memory(self, address, size):
        return bytes(self.memory[address:address + size])

    async def write_memory(self, address, content):
        self.memory[address:address + len(content)] = content

    async def wait(self):
        if self.count == self.fail_after:
            self.put("STATUS", state=State.FAILED)
            self.put("ERROR", cause=Cause.HBM_READ, place=7, response=2)
            return
        place = 0x200 + 4 * self.count
        self.memory[place:place + 4] = self.tokens[self.count].to_bytes(4, "little")
        self.count += 1
        self.put("TOKENS", count=self.count)
        if self.count == len(self.tokens):
            self.put("STATUS", state=State.DONE)


def test_a_run():
    bus, seen = FakeBus([3, 1, 4]), []
    driver = Driver(bus)

    async def host():
        await driver.identify()
        await driver.configure(RUN)
        return await driver.run(RUN, [5, 6], 3, seen.append)

    assert asyncio.run(host()) == seen == [3, 1, 4]
    assert bus.starts == 1
    assert bus.memory[0x100:0x108] == bytes([5, 0, 0, 0, 6, 0, 0, 0])
    assert bus.words[REGISTERS["PROGRAM_BASE_HIGH"].offset] == 2
    assert bus.words[REGISTERS["END_OF_TEXT"].offset] == 1 << 17 | 10
    assert bus.words[REGISTERS["EMBEDDING"].offset] == 16


def test_an_error_says_what_and_where():
    driver = Driver(FakeBus([3, 1, 4], fail_after=1))
    with pytest.raises(CoreError, match=r"^the core stopped: HBM_READ at 7 \(SLVERR\)$"):
        asyncio.run(driver.run(RUN, [5], 3))


def test_something_else_at_the_address():
    bus = FakeBus([])
    bus.words[0] = 0xDEAD
    with pytest.raises(RuntimeError, match="^register IDENTIFIER reads 0x0000dead, not 0x44465831: "
                                           "this is no DFX core$"):
        asyncio.run(Driver(bus).identify())


def test_a_reset_that_does_not_drain():
    class Stuck(FakeBus):
        async def write_register(self, offset, word):
            self.put("STATUS", state=State.STOPPING)

    assert asyncio.run(Driver(Stuck([])).reset(patience=3)) is False
    assert asyncio.run(Driver(FakeBus([])).reset()) is True


def ring_run(core_id):
    return SimpleNamespace(**vars(RUN) | {"core_id": core_id, "core_count": 3,
                                          "bidirectional": True})


def test_each_run_of_a_ring_has_a_number_of_its_own():
    bus = FakeBus([3])
    driver = Driver(bus)
    ring = REGISTERS["RING"]

    async def host():
        seen = []
        await driver.configure(ring_run(1))
        for number in (None,) * 17 + (4, None):
            await driver.start(ring_run(1), [5], 1, run_number=number)
            fields = ring.unpack(bus.words[ring.offset])
            assert fields["bidirectional"] == 1
            seen.append(fields["run"])
        return seen

    assert asyncio.run(host()) == [*range(1, 16), 0, 1, 4, 5]
    assert bus.words[REGISTERS["CORE_COUNT"].offset] == 3


@pytest.mark.parametrize("last, number", [
    ((0, 0, 0), 1), ((15, 15), 0), ((3, 4, 5), 6), ((15, 0, 1), 2), ((7,), 8)])
def test_a_number_that_no_core_had(last, number):
    buses = [FakeBus([]) for _ in last]
    for bus, run in zip(buses, last, strict=True):
        bus.put("RING", run=run)
    assert asyncio.run(next_run([Driver(bus) for bus in buses])) == number


def test_a_core_that_is_alone_leaves_the_ring_register_alone():
    bus = FakeBus([3])
    asyncio.run(Driver(bus).start(RUN, [5], 1))
    assert REGISTERS["RING"].offset not in bus.words
