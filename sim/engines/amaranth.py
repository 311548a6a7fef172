"""The engine that comes with Amaranth: its own simulator. Needs nothing but pip."""

from amaranth.sim import Simulator

from dfx_rtl.bus.axi import Response
from dfx_rtl.host.driver import Bus

from ..memory.storage import serve
from ..system import TRACE
from .partition import PartitionedEngine

__all__ = ["AmaranthEngine", "ProtocolError", "SimulationBus"]

#: Kernel cycles between two looks of the host at the interrupt.
LOOK = 32
#: Looks after which a wait ends without an interrupt.
LOOKS = 64


class ProtocolError(AssertionError):
    """A rule of a bus was broken."""

    @classmethod
    def first(cls, violations, cycle):
        """The error for the values of ``System.violations``, one of which is not ``NONE``."""
        channels = len(violations) - 2
        for index, name in enumerate(violations):
            if name.value:
                place = f"HBM channel {index}" if index < channels else ("DDR", "host")[
                    index - channels]
                return cls(f"{place} broke the rule {name.name} before cycle {cycle}")


class SimulationBus(Bus):
    """The host's side of a simulated core: AXI4-Lite by a testbench, DDR by its storage."""

    def __init__(self, ctx, system, ddr, on_wait):
        self._ctx, self._system, self._ddr, self._on_wait = ctx, system, ddr, on_wait

    async def read_register(self, offset):
        ctx, host = self._ctx, self._system.host
        ctx.set(host.araddr, offset)
        ctx.set(host.arvalid, 1)
        await ctx.tick().until(host.arready)
        ctx.set(host.arvalid, 0)
        ctx.set(host.rready, 1)
        word, response = await ctx.tick().sample(host.rdata, host.rresp).until(host.rvalid)
        ctx.set(host.rready, 0)
        assert response == Response.OKAY, f"register {offset:#x} answers {response}"
        return word

    async def write_register(self, offset, word):
        ctx, host = self._ctx, self._system.host
        ctx.set(host.awaddr, offset)
        ctx.set(host.awvalid, 1)
        ctx.set(host.wdata, word)
        ctx.set(host.wstrb, 0xF)
        ctx.set(host.wvalid, 1)
        waiting = {"aw", "w"}
        while waiting:
            _, _, aw_ready, w_ready = await ctx.tick().sample(host.awready, host.wready)
            if aw_ready:
                ctx.set(host.awvalid, 0)
                waiting.discard("aw")
            if w_ready:
                ctx.set(host.wvalid, 0)
                waiting.discard("w")
        ctx.set(host.bready, 1)
        response, = await ctx.tick().sample(host.bresp).until(host.bvalid)
        ctx.set(host.bready, 0)
        assert response == Response.OKAY, f"register {offset:#x} answers {response}"

    async def read_memory(self, address, size):
        return bytes(self._ddr.array[address:address + size])

    async def write_memory(self, address, content):
        self._ddr.array[address:address + len(content)] = list(content)

    async def wait(self):
        for _ in range(LOOKS):
            await self._ctx.tick().repeat(LOOK)
            if self._on_wait is not None:
                self._on_wait()
            if self._ctx.get(self._system.interrupt):
                return


class AmaranthEngine:
    """Simulates a system in Amaranth's simulator.

    Parameters
    ----------
    system : System
        What is simulated.
    hbm, ddr : list of Storage, Storage
        The bytes of the memories.
    inputs : dict
        The values of inputs of the system that are constant during a run, by name: timing and more.

    Attributes
    ----------
    system : System
        What is simulated.
    cycle : int
        Kernel cycles so far.
    """

    name = "amaranth"

    #: What Amaranth's simulator runs on; "pysim" is its own.
    simulator_engine = PartitionedEngine

    def __init__(self, system, hbm, ddr, inputs):
        self.cycle = 0
        self.system = system
        self._hbm, self._ddr = hbm, ddr
        self._inputs = inputs
        self._observers = []

    def observe(self, observer, kinds=TRACE):
        """Have ``observer(kind, write)`` called for each write of these kinds: its kind and its
        value, a dict of plain integers, with ``cycle`` among them."""
        self._observers.append((observer, frozenset(kinds)))

    def prepare(self, waves=None):
        """Build what :meth:`run` needs: here that is nothing."""

    def run(self, host, *, on_wait=None, faults=None, waves=None, recording=None):
        """Run ``await host(bus)`` from a full reset to its end, and return what it returns.

        Parameters
        ----------
        host : coroutine function
            What the host does, given a :class:`SimulationBus`.
        on_wait : callable or None
            Called now and then while the host waits.
        faults : dict
            Faults of the memories: ``{"ddr": fault, 3: fault}``, by channel number.
        waves : Waves or None
            Which cycles are recorded, and where.
        recording : Recording or None
            Takes ``System.profile``.
        """
        system, config = self.system, self.system.config
        simulator = Simulator(system, engine=self.simulator_engine)
        unit = 1e-9
        for domain, period in (("sync", config.kernel_period), ("hbm", config.hbm_period)):
            # Rising edges at half a period: of one domain at odd, of the other at even times.
            simulator.add_clock(period * unit, phase=period / 2 * unit, domain=domain)
        result = []

        async def testbench(ctx):
            for name, value in self._inputs.items():
                ctx.set(getattr(system, name), value)
            for place, fault in (faults or {}).items():
                ctx.set(system.ddr_fault if place == "ddr" else system.hbm_faults[place], fault)
            await ctx.tick()
            result.append(await host(SimulationBus(ctx, system, self._ddr, on_wait)))

        async def watch(ctx):
            async for _ in ctx.tick():
                self.cycle += 1
                events = ctx.get(system.events.as_value())
                if events:
                    self._report(ctx, events)

        async def record(ctx):
            cycle = 0
            async for _ in ctx.tick():
                recording.add(cycle, ctx.get(profile))
                cycle += 1

        simulator.add_testbench(testbench)
        simulator.add_testbench(watch, background=True)
        simulator.add_testbench(serve(system.hbm_hub, self._hbm, domain="hbm"), background=True)
        simulator.add_testbench(serve(system.ddr_hub, [self._ddr]), background=True)
        if recording is not None:
            profile = system.profile.as_value()
            simulator.add_testbench(record, background=True)
        if waves is None:
            simulator.run()
        else:
            waves.record(simulator, self)
        return result[0]

    def _report(self, ctx, events):
        system = self.system
        if events >> len(TRACE):
            raise ProtocolError.first([ctx.get(violation) for violation in system.violations],
                                      self.cycle)
        if self._observers:
            for index, kind in enumerate(TRACE):
                if events >> index & 1:
                    write = _plain(ctx.get(getattr(system.trace, kind)))
                    write["cycle"] = self.cycle - 1
                    for observer, kinds in self._observers:
                        if kind in kinds:
                            observer(kind, write)


def _plain(const):
    """A constant of a layout as nested dicts and integers."""
    layout = const.shape()
    return {key: getattr(const, key) for key in layout.members}
