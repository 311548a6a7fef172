"""A core with its memories: what both engines simulate."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.bus.axi import AxiLiteSignature
from dfx_rtl.control.activity import Account
from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.control.ring import DIRECTIONS
from dfx_rtl.core import Core, TraceSignature
from dfx_rtl.dma.requests import ddr_signature, hbm_signature
from dfx_rtl.isa import Unit

from .link.endpoint import Endpoint
from .memory.channel import MemoryPort
from .memory.checker import AxiLiteChecker, Violation
from .memory.storage import StorageHub
from .memory.timing import FaultLayout, TimingLayout

__all__ = ["EventLayout", "ProfileLayout", "System", "TRACE"]

#: The kinds of writes that the trace holds.
TRACE = ("vector", "scalar", "store", "logits", "token")

#: A bit for each kind, and one for a broken rule of a bus.
EventLayout = data.StructLayout({**dict.fromkeys(TRACE, 1), "violated": 1})

#: What a profile is made of. Of the instructions only beginnings and ends are here: a unit executes
#: its instructions in the order of the program, which says which one it is.
ProfileLayout = data.StructLayout({
    "taken": len(Unit),      # a bit a unit: it takes a command
    "retired": len(Unit),    # a bit a unit: an instruction of it ends
    "account": Account,      # what the cycle of the MPU is spent on
    "ddr_read": 1,           # a beat of DDR is read
    "ddr_write": 1,          # a beat is written
    "store": 1,              # a part of K or V is handed to an HBM port
    "clear": 1,              # the units are cleared: a run begins in the next cycle, or one ended
})


class System(wiring.Component):
    """One core, a memory port for each HBM channel and one for DDR, a checker on every bus, and an
    end of a link to each neighbour in the ring.

    The bytes of the memories are not here: an engine serves them at the two hubs.

    Parameters
    ----------
    config : CoreConfig
        The core's parameters.
    core : Core or None
        The core; None makes one.
    ends : list of components or None
        The ends of the links to the next core and to the one before; None is an
        :class:`~.link.endpoint.Endpoint` each. Others have its members, but another layout of what
        crosses.
    more : dict
        More members, for a core that has inputs of its own.

    Members
    -------
    host, interrupt
        As of the core.
    events : Out(EventLayout)
        What happened in the cycle before; all 0 in most cycles.
    trace : Out(TraceSignature)
        The core's, a cycle later; a member keeps its value until the next event of its kind.
    profile : Out(ProfileLayout)
        What the core did in the cycle before, for a profile.
    hbm_timing, ddr_timing : In(TimingLayout)
        Timing of the memories, constant during a run; the seeds of the channels differ by their
        number.
    hbm_faults, ddr_fault : In(FaultLayout)
        Faults, a channel each.
    boundary_out, boundary_in : Out(layout), In(layout), two of each
        What crosses to a neighbour and from it, in a cycle: 0 is the next core, 1 the one before.
        The layout is that of the ends. A core that is alone has nothing on ``boundary_in``.
    violations : Out(array of Violation)
        The first broken rule of each HBM channel, of DDR and of the host's bus.
    """

    def __init__(self, config, core=None, *, ends=None, **more):
        self.config = config
        self.core = Core(config) if core is None else core
        self._hbm = [MemoryPort(hbm_signature(config), config.channel_bytes, constant_rready=True)
                     for _ in range(config.channels)]
        self._ends = ends or [Endpoint(config.tile) for _ in range(DIRECTIONS)]
        crossing = self._ends[0].boundary_out.shape()
        self._ddr = MemoryPort(ddr_signature(config), config.ddr_bytes)
        self.hbm_hub = StorageHub([port.storage for port in self._hbm])
        self.ddr_hub = StorageHub([self._ddr.storage])
        super().__init__({
            "host": In(AxiLiteSignature(REGISTERS.address_width)),
            "interrupt": Out(1),
            "trace": Out(TraceSignature(config)),
            "events": Out(EventLayout),
            "profile": Out(ProfileLayout),
            "hbm_timing": In(TimingLayout),
            "ddr_timing": In(TimingLayout),
            "hbm_faults": In(data.ArrayLayout(FaultLayout, config.channels)),
            "ddr_fault": In(FaultLayout),
            "boundary_out": Out(crossing).array(DIRECTIONS),
            "boundary_in": In(crossing).array(DIRECTIONS),
            "violations": Out(data.ArrayLayout(Violation, config.channels + 2)),
            **more,
        })

    def elaborate(self, platform):
        m = Module()
        in_hbm = DomainRenamer("hbm")
        m.domains.sync = ClockDomain()
        m.domains.hbm = ClockDomain()
        m.submodules.core = core = self.core
        m.submodules.ddr = ddr = self._ddr
        m.submodules.hbm_hub = in_hbm(self.hbm_hub)
        m.submodules.ddr_hub = self.ddr_hub
        m.submodules.host_checker = checker = AxiLiteChecker(core.host)

        connect(m, flipped(self.host), core.host)
        connect(m, core.ddr, ddr.bus)
        m.d.comb += [
            self.interrupt.eq(core.interrupt),
            ddr.timing.eq(self.ddr_timing),
            ddr.fault.eq(self.ddr_fault),
        ]
        for place, end in enumerate(self._ends):
            m.submodules[f"end{place}"] = end
            # What is sent clockwise comes in from the other side.
            connect(m, core.send[place], end.send)
            connect(m, end.receive, core.receive[1 - place])
            m.d.comb += [
                self.boundary_out[place].eq(end.boundary_out),
                end.boundary_in.eq(self.boundary_in[place]),
            ]
        for channel, port in enumerate(self._hbm):
            m.submodules[f"hbm{channel}"] = in_hbm(port)
            connect(m, core.hbm[channel], port.bus)
            m.d.comb += [
                port.timing.eq(self.hbm_timing),
                port.timing.seed.eq(self.hbm_timing.seed + channel),
                port.fault.eq(self.hbm_faults[channel]),
                self.violations[channel].eq(port.violation),
            ]
        m.d.comb += [
            self.violations[self.config.channels].eq(ddr.violation),
            self.violations[self.config.channels + 1].eq(checker.violation),
        ]

        # A register behind the trace: an engine looks once a cycle, after the edge, at few bits.
        violated = self.violations.as_value().any()
        m.d.sync += self.events.eq(Cat(
            *(getattr(core.trace, f"{name}_stb") for name in TRACE), violated))
        for name in TRACE:
            with m.If(getattr(core.trace, f"{name}_stb")):
                m.d.sync += getattr(self.trace, name).eq(getattr(core.trace, name))
        self._elaborate_profile(m)
        return m

    def _elaborate_profile(self, m):
        ddr, control, profile = self.core.ddr, self.core.units["control"], self.profile
        commands = [getattr(control, f"commands_{unit.name.lower()}") for unit in Unit]
        m.d.sync += [
            profile.taken.eq(Cat(command.valid & command.ready for command in commands)),
            profile.retired.eq(control.retired),
            profile.account.eq(control.account),
            profile.ddr_read.eq(ddr.rvalid & ddr.rready),
            profile.ddr_write.eq(ddr.wvalid & ddr.wready),
            profile.store.eq(self.core.trace.store_stb),
            profile.clear.eq(control.clear),
        ]

    def waves(self):
        """Signals for a waveform viewer, by the units of the block diagram."""
        ports = self.core.units
        return {
            "host": [self.interrupt, self.host],
            **{name: [getattr(unit, member) for member in sorted(unit.signature.members)]
               for name, unit in ports.items()},
            "hbm": [self.core.hbm],
            "ddr": [self.core.ddr],
        }
