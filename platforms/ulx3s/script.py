"""What the host's driver writes to start a run, as a table for a console without a processor."""

import asyncio
from dataclasses import dataclass

from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.host.driver import Bus, Driver

__all__ = ["RegisterWrite", "start_script"]


@dataclass(frozen=True)
class RegisterWrite:
    """A write of a register: its name, its byte offset, the word."""

    name: str
    offset: int
    word: int


class _Recorder(Bus):
    """A bus that only takes notes."""

    def __init__(self):
        self.writes = []
        self._names = {register.offset: register.name for register in REGISTERS}

    async def read_register(self, offset):
        raise RuntimeError(f"the console's table cannot read register {self._names[offset]}")

    async def write_register(self, offset, word):
        self.writes.append(RegisterWrite(self._names[offset], offset, word))

    async def read_memory(self, address, size):
        raise RuntimeError("the console's table cannot read memory")

    async def write_memory(self, address, content):
        """The prompt, which the console writes as it comes."""

    async def wait(self):
        raise RuntimeError("the console's table cannot wait")


def start_script(run):
    """The register writes that configure a core and start a run, in their order.

    They are those of :class:`~dfx_rtl.host.driver.Driver`, behind a soft reset, since the run
    before may have failed. The words of ``INPUT_COUNT`` and ``OUTPUT_COUNT`` are of a run of one
    token, to be replaced.

    Parameters
    ----------
    run : RunParameters
        Of the compiled model, for one core.

    Returns
    -------
    list of RegisterWrite
    """
    recorder = _Recorder()
    driver = Driver(recorder)

    async def record():
        await driver.write("CONTROL", reset=1)
        await driver.configure(run)
        await driver.start(run, [0], 1)

    asyncio.run(record())
    return recorder.writes
