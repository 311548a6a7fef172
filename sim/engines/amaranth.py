"""The engine that comes with Amaranth: its own simulator. Needs nothing but pip."""

from collections import deque

from amaranth.sim import Simulator

from dfx_rtl.bus.axi import Response
from dfx_rtl.host.driver import Bus

from ..memory.storage import serve
from ..system import TRACE, EventLayout
from .partition import PartitionedEngine
from .ring import Links, Ring

__all__ = ["AmaranthEngine", "ProtocolError", "SimulationBus"]

#: Kernel cycles between two looks of the host at the interrupt.
LOOK = 32
#: Looks after which a wait ends without an interrupt.
LOOKS = 64


class ProtocolError(AssertionError):
    """A rule of a bus was broken."""

    @classmethod
    def first(cls, violations, cycle, core=None):
        """The error for the values of ``System.violations``, one of which is not ``NONE``; of a
        core of a ring with its number."""
        channels = len(violations) - 2
        of_core = "" if core is None else f"core {core}, "
        for index, name in enumerate(violations):
            if name.value:
                place = f"HBM channel {index}" if index < channels else ("DDR", "host")[
                    index - channels]
                return cls(f"{of_core}{place} broke the rule {name.name} before cycle {cycle}")


class SimulationBus(Bus):
    """The host's side of a simulated core: AXI4-Lite by a testbench, DDR by its storage.

    In a ring, ``interrupt`` is that of any core; else it is the core's.
    """

    def __init__(self, ctx, system, ddr, on_wait, interrupt=None):
        self._ctx, self._system, self._ddr, self._on_wait = ctx, system, ddr, on_wait
        self._interrupt = system.interrupt if interrupt is None else interrupt

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

    def look(self, name):
        """The value of an output of the system, seen from outside."""
        return self._ctx.get(getattr(self._system, name))

    async def wait(self):
        for _ in range(LOOKS):
            await self._ctx.tick().repeat(LOOK)
            if self._on_wait is not None:
                self._on_wait()
            if self._ctx.get(self._interrupt):
                return


class AmaranthEngine:
    """Simulates systems in Amaranth's simulator.

    Parameters
    ----------
    systems : list of System
        What is simulated: the cores of a ring in their order, or one that is alone.
    memories : list of (list of Storage, Storage)
        The bytes of HBM and DDR of each core.
    inputs : list of dict
        For each core the values of inputs of the system that are constant during a run, by name:
        timing and more.
    links : Links
        Those of the ring.
    threads : int or None
        Of no meaning here.

    Attributes
    ----------
    system : System
        The first one.
    cycle : int
        Kernel cycles so far.
    """

    name = "amaranth"

    #: Whether one System stands for all cores.
    shares_system = False

    #: What Amaranth's simulator runs on; "pysim" is its own.
    simulator_engine = PartitionedEngine

    def __init__(self, systems, memories, inputs, links=None, threads=None):
        self.cycle = 0
        self.system = systems[0]
        self._systems, self._memories, self._inputs = systems, memories, inputs
        self._links = links or Links()
        self._observers = []

    def observe(self, observer, kinds=TRACE):
        """Have ``observer(kind, write)`` called for each write of these kinds: its kind and its
        value, a dict of plain integers, with ``cycle`` and ``core`` among them."""
        self._observers.append((observer, frozenset(kinds)))

    def prepare(self, waves=None):
        """Build what :meth:`run` needs: here that is nothing."""

    def run(self, host, *, on_wait=None, faults=None, waves=None, recording=None):
        """Run ``await host(*buses)`` from a full reset to its end, and return what it returns.

        Parameters
        ----------
        host : coroutine function
            What the host does, given a :class:`SimulationBus` for each core.
        on_wait : callable or None
            Called now and then while the host waits.
        faults : dict
            Faults of the memories: ``{"ddr": fault, 3: fault}``, by channel number, for a core
            alone; in a ring the keys are pairs of the core's number and these.
        waves : Waves or None
            Which cycles are recorded, and where.
        recording : Recording or None
            Takes ``System.profile`` of the first core.
        """
        systems, config = self._systems, self.system.config
        ring = Ring(systems) if len(systems) > 1 else None
        simulator = Simulator(self.system if ring is None else ring, engine=self.simulator_engine)
        unit = 1e-9
        for domain, period in (("sync", config.kernel_period), ("hbm", config.hbm_period)):
            # Rising edges at half a period: of one domain at odd, of the other at even times.
            simulator.add_clock(period * unit, phase=period / 2 * unit, domain=domain)
        result = []

        async def testbench(ctx):
            for system, inputs in zip(systems, self._inputs, strict=True):
                for name, value in inputs.items():
                    ctx.set(getattr(system, name), value)
            for place, fault in (faults or {}).items():
                core, place = place if isinstance(place, tuple) else (0, place)
                system = systems[core]
                ctx.set(system.ddr_fault if place == "ddr" else system.hbm_faults[place], fault)
            await ctx.tick()
            result.append(await host(*(
                SimulationBus(ctx, system, ddr, on_wait, ring and ring.interrupt)
                for system, (_, ddr) in zip(systems, self._memories, strict=True))))

        happened = self.system.events.as_value() if ring is None else ring.events.as_value()

        async def watch(ctx):
            async for _ in ctx.tick():
                self.cycle += 1
                events = ctx.get(happened)
                if events:
                    self._report(ctx, events)

        async def record(ctx):
            cycle = 0
            async for _ in ctx.tick():
                recording.add(cycle, ctx.get(profile))
                cycle += 1

        simulator.add_testbench(testbench)
        simulator.add_testbench(watch, background=True)
        for system, (hbm, ddr) in zip(systems, self._memories, strict=True):
            simulator.add_testbench(serve(system.hbm_hub, hbm, domain="hbm"), background=True)
            simulator.add_testbench(serve(system.ddr_hub, [ddr]), background=True)
        if ring is not None:
            simulator.add_testbench(self._carry(ring), background=True)
        if recording is not None:
            profile = self.system.profile.as_value()
            simulator.add_testbench(record, background=True)
        if waves is None:
            simulator.run()
        else:
            waves.record(simulator, self)
        return result[0]

    def _carry(self, ring):
        """A testbench that is the delay lines of a ring."""
        links = self._links
        lost = ring.mask(links.cut(len(self._systems)))

        async def testbench(ctx):
            way, before, cycle = deque([0] * links.delay), 0, 0
            async for _ in ctx.tick():
                word = ctx.get(ring.boundary_out)
                if lost and cycle >= links.fault[2]:
                    word &= ~lost
                way.append(word)
                word = way.popleft()
                if word != before:
                    ctx.set(ring.boundary_in, word)
                    before = word
                cycle += 1
        return testbench

    def _report(self, ctx, events):
        width = EventLayout.size
        for core, system in enumerate(self._systems):
            own = events >> core * width & ((1 << width) - 1)
            if own >> len(TRACE):
                raise ProtocolError.first(
                    [ctx.get(violation) for violation in system.violations], self.cycle,
                    core if len(self._systems) > 1 else None)
            for index, kind in enumerate(TRACE):
                if own >> index & 1 and self._observers:
                    write = _plain(ctx.get(getattr(system.trace, kind)))
                    write |= {"cycle": self.cycle - 1, "core": core}
                    for observer, kinds in self._observers:
                        if kind in kinds:
                            observer(kind, write)


def _plain(const):
    """A constant of a layout as nested dicts and integers."""
    layout = const.shape()
    return {key: getattr(const, key) for key in layout.members}
