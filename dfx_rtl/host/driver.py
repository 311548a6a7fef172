"""The driver: what a host does with a core, over an abstract bus.

The same code drives the simulation and the card. A bus is asynchronous, since a simulated one
takes simulated time; on a card its methods simply return.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ..bus.axi import Response
from ..control.causes import Cause
from ..control.registers import COUNTERS, IDENTIFIER, REGISTERS
from ..control.ring import FLIT_RUN
from ..control.state import State

__all__ = ["Bus", "CoreError", "Driver", "Status", "next_run"]


class Bus(ABC):
    """How a host reaches a core: its registers, the memory beside it, its interrupt."""

    @abstractmethod
    async def read_register(self, offset):
        """The 32-bit word at a byte offset."""

    @abstractmethod
    async def write_register(self, offset, word):
        """Write the 32-bit word at a byte offset."""

    @abstractmethod
    async def read_memory(self, address, size):
        """``size`` bytes of DDR."""

    @abstractmethod
    async def write_memory(self, address, content):
        """Write bytes to DDR."""

    @abstractmethod
    async def wait(self):
        """Return when the interrupt is raised, or after a while."""


class CoreError(RuntimeError):
    """The core stopped with an error.

    Attributes
    ----------
    cause : Cause
        Why.
    place : int
        Where; see :class:`~dfx_rtl.control.causes.Cause`.
    response : Response
        The AXI response, where one is the cause.
    """

    def __init__(self, cause, place, response):
        self.cause, self.place, self.response = Cause(cause), place, Response(response)
        detail = f" ({self.response.name})" if self.response is not Response.OKAY else ""
        super().__init__(f"the core stopped: {self.cause.name} at {place}{detail}")


@dataclass(frozen=True)
class Status:
    """The status register, read once."""

    state: State
    overflow: bool
    invalid: bool


async def next_run(drivers):
    """A number for the next run of a ring, which none of its cores had in its last run.

    What an ended run has left on the links carries the number of that run, and is dropped.

    Parameters
    ----------
    drivers : list of Driver
        Of all cores of the ring.
    """
    last = [(await driver.read("RING"))["run"] for driver in drivers]
    count = 1 << FLIT_RUN
    return next(number % count for number in range(last[0] + 1, last[0] + count)
                if number % count not in last)


class Driver:
    """Loads a compiled model's tables and runs generations on a core.

    Parameters
    ----------
    bus : Bus
        The way to the core.
    """

    def __init__(self, bus):
        self._bus = bus

    async def read(self, name):
        """The fields of a register, by name."""
        register = REGISTERS[name]
        return register.unpack(await self._bus.read_register(register.offset))

    async def write(self, name, **fields):
        """Write a register; fields that are not given become 0."""
        register = REGISTERS[name]
        await self._bus.write_register(register.offset, register.pack(**fields))

    async def _write_long(self, name, value):
        await self.write(f"{name}_LOW", value=value & 0xFFFFFFFF)
        await self.write(f"{name}_HIGH", value=value >> 32)

    async def identify(self):
        """Check that there is a core, and return its shape.

        Raises
        ------
        RuntimeError
            If there is none.
        """
        found = (await self.read("IDENTIFIER"))["value"]
        if found != IDENTIFIER:
            raise RuntimeError(f"register IDENTIFIER reads {found:#010x}, not {IDENTIFIER:#010x}: "
                               f"this is no DFX core")
        return await self.read("SHAPE")

    async def status(self):
        """The status register."""
        fields = await self.read("STATUS")
        return Status(State(fields["state"]), bool(fields["overflow"]), bool(fields["invalid"]))

    async def configure(self, parameters, *, watchdog=1 << 16):
        """Write what stays the same between runs of a model.

        Parameters
        ----------
        parameters : RunParameters
            Of the compiled model.
        watchdog : int
            Cycles without progress that are an error; 0 never.
        """
        for name in ("layers", "heads", "vocabulary", "program_length", "layer_stride",
                     "logits_stride", "core_id", "core_count"):
            await self.write(name.upper(), value=getattr(parameters, name))
        await self.write("EMBEDDING", value=parameters.emb)
        for name in ("program_base", "token_base", "output_base", "logits_base"):
            await self._write_long(name.upper(), getattr(parameters, name))
        await self.write("WATCHDOG", value=watchdog)
        await self.write("END_OF_TEXT", id=parameters.end_of_text or 0,
                         enable=int(parameters.end_of_text is not None))
        await self.write("INTERRUPT_ENABLE", done=1, error=1, token=1)

    async def start(self, parameters, prompt, output_count, *, first_position=0, run_number=None):
        """Write the prompt and start a run; returns at once. See :meth:`run`."""
        if parameters.core_count > 1:
            if run_number is None:
                run_number = await next_run([self])
            await self.write("RING", bidirectional=int(parameters.bidirectional), run=run_number)
        words = b"".join(int(token).to_bytes(4, "little") for token in prompt)
        await self._bus.write_memory(parameters.token_base, words)
        await self.write("INPUT_COUNT", value=len(prompt))
        await self.write("OUTPUT_COUNT", value=output_count)
        await self.write("FIRST_POSITION", value=first_position)
        await self.write("INTERRUPT_STATUS", done=1, error=1, token=1)
        await self.write("CONTROL", start=1)

    async def run(self, parameters, prompt, output_count, on_token=None, *, first_position=0,
                  run_number=None):
        """Start a run and wait for its end.

        Parameters
        ----------
        parameters : RunParameters
            Of the compiled model.
        prompt : list of int
            Token ids.
        output_count : int
            Tokens to generate.
        on_token : callable or None
            Called with each generated id as it is seen.
        first_position : int
            Where the run begins. To go on with a text, give all of it as the prompt, and the number
            of its first tokens that earlier runs have processed: K and V of those are still in HBM.
        run_number : int or None
            For a core in a ring, see :func:`next_run`. All cores get the same one, and none of them
            is started before all have stopped. None counts on from this core's last run, which is
            right if all cores of the ring have always run together.

        Returns
        -------
        list of int
            The generated ids; fewer than asked for if the end-of-text id came.

        Raises
        ------
        CoreError
            If the core stopped with an error.
        """
        await self.start(parameters, prompt, output_count, first_position=first_position,
                         run_number=run_number)
        tokens = []
        while True:
            await self._bus.wait()
            events = await self.read("INTERRUPT_STATUS")
            await self.write("INTERRUPT_STATUS", **events)
            state = (await self.status()).state
            if state is State.FAILED:
                raise await self.error()
            await self.fetch(parameters, tokens, on_token, done=state is State.DONE)
            if state is State.DONE:
                return tokens

    async def error(self):
        """Why the core stopped, as a CoreError."""
        fields = await self.read("ERROR")
        return CoreError(fields["cause"], fields["place"], fields["response"])

    async def fetch(self, parameters, tokens, on_token=None, *, done):
        """Append the ids that have been generated since the last call, and tell of each.

        Parameters
        ----------
        parameters : RunParameters
            Of the compiled model.
        tokens : list of int
            The ids so far.
        on_token : callable or None
            Called with each new id.
        done : bool
            Whether the run has ended.
        """
        count = (await self.read("TOKENS"))["count"]
        # The last id may still be on its way to the memory; the others have arrived.
        arrived = count if done else max(len(tokens), count - 1)
        if arrived == len(tokens):
            return
        content = await self._bus.read_memory(parameters.output_base + 4 * len(tokens),
                                              4 * (arrived - len(tokens)))
        for offset in range(0, len(content), 4):
            tokens.append(int.from_bytes(content[offset:offset + 4], "little"))
            if on_token is not None:
                on_token(tokens[-1])

    async def reset(self, patience=200):
        """Soft reset: the core drains its memory ports and goes to IDLE.

        Parameters
        ----------
        patience : int
            How often to look whether it is there.

        Returns
        -------
        bool
            Whether it got there; if not, a port owes an answer and only a full reset helps.
        """
        await self.write("CONTROL", reset=1)
        for _ in range(patience):
            if (await self.status()).state is State.IDLE:
                return True
        return False

    async def counters(self):
        """The performance counters, by name, in cycles since the start."""
        counts = {}
        for name in COUNTERS:
            high = (await self.read(f"{name}_HIGH"))["value"]
            while True:
                low = (await self.read(f"{name}_LOW"))["value"]
                again = (await self.read(f"{name}_HIGH"))["value"]
                if again == high:
                    break
                high = again
            counts[name] = low | high << 32
        return counts
