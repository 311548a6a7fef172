"""The HBM2 of the card: 32 AXI3 ports on two stacks (PG276)."""

from functools import cached_property

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.bus.axi import Axi3Signature

from .vendor import VendorModule, VendorPort

__all__ = ["HbmIp"]

#: Ports of the two stacks, which is also the number of pseudo-channels.
PORTS = 32
DATA_WIDTH = 256
ID_WIDTH = 6
_DENSITY = {33: "8GB", 34: "16GB"}
_ADDRESS = (("ADDR", None), ("BURST", 2), ("ID", ID_WIDTH), ("LEN", 4), ("SIZE", 3))


class HbmIp(wiring.Component):
    """The hard HBM controllers with the switch on: every port reaches all of the memory.

    On a card, an ``Instance`` of the IP; ports that are not used never ask for anything. In
    simulation, a memory port with a checker for each used port, all on the same bytes:
    :attr:`hub`. There the model's rate is a beat a cycle for each port; real ports that meet in one
    pseudo-channel share its rate.

    The bytes of an address: the upper 5 bits name the pseudo-channel; port n is next to number n.

    Parameters
    ----------
    address_width : int
        33 for 8 GB, 34 for 16 GB. Others only in simulation.
    used : tuple of int
        Ports that are used.
    data_width : int
        256. Others only in simulation.

    Members
    -------
    port00, port01, ... : In(Axi3Signature(address_width, data_width, 6))
        The used ports, in domain ``hbm``. Bursts must be of full width and incrementing.
    ready : Out(1)
        The controllers are initialised; asynchronous.
    too_hot : Out(1)
        A stack is about to be damaged by heat; asynchronous. It must reach the card's pin.

    Raises
    ------
    ValueError
        If a port does not exist; on a card, if a width is not the IP's.
    """

    def __init__(self, address_width, used=tuple(range(PORTS)), *, data_width=DATA_WIDTH):
        for index in used:
            if index not in range(PORTS):
                raise ValueError(f"HBM port must be in 0..{PORTS - 1}, not {index!r}")
        self.address_width = address_width
        self.used = tuple(used)
        self._axi = Axi3Signature(address_width, data_width, ID_WIDTH)
        super().__init__({
            **{f"port{index:02}": In(self._axi) for index in self.used},
            "ready": Out(1),
            "too_hot": Out(1),
        })

    def port(self, index):
        """A used port."""
        return getattr(self, f"port{index:02}")

    @cached_property
    def _models(self):
        """Imported here, since a card does not need the simulation."""
        from sim.memory import MemoryPort
        return {index: MemoryPort(self._axi, 1 << self.address_width)
                for index in self.used}

    @cached_property
    def hub(self):
        """In simulation: where the bytes of the used ports are served, in domain ``hbm``."""
        from sim.memory import StorageHub
        return StorageHub([model.storage for model in self._models.values()])

    @property
    def models(self):
        """In simulation: the memory port of each used port, with its timing and violation."""
        return self._models

    def module(self):
        """The IP.

        Raises
        ------
        ValueError
            If a width is not the IP's.
        """
        if self.address_width not in _DENSITY:
            raise ValueError(f"HBM address width must be 33 or 34 on a card, "
                             f"not {self.address_width!r}")
        if self._axi.data_width != DATA_WIDTH:
            raise ValueError(f"HBM data width must be {DATA_WIDTH} on a card, "
                             f"not {self._axi.data_width!r}")
        ports = []

        def add(direction, *items):
            ports.extend(VendorPort(name, direction, width) for name, width in items)

        for stack in range(2):
            add("input", (f"HBM_REF_CLK_{stack}", 1), (f"APB_{stack}_PCLK", 1),
                (f"APB_{stack}_PRESET_N", 1))
            add("output", (f"apb_complete_{stack}", 1), (f"DRAM_{stack}_STAT_CATTRIP", 1),
                (f"DRAM_{stack}_STAT_TEMP", 7))
        for index in range(PORTS):
            axi = f"AXI_{index:02}_"
            add("input", (f"{axi}ACLK", 1), (f"{axi}ARESET_N", 1))
            for channel in ("AR", "AW"):
                add("input", *((f"{axi}{channel}{name}", width or self.address_width)
                               for name, width in _ADDRESS), (f"{axi}{channel}VALID", 1))
                add("output", (f"{axi}{channel}READY", 1))
            add("input", (f"{axi}WDATA", DATA_WIDTH), (f"{axi}WSTRB", DATA_WIDTH // 8),
                (f"{axi}WLAST", 1), (f"{axi}WVALID", 1), (f"{axi}WDATA_PARITY", DATA_WIDTH // 8),
                (f"{axi}RREADY", 1), (f"{axi}BREADY", 1))
            add("output", (f"{axi}WREADY", 1), (f"{axi}RDATA", DATA_WIDTH),
                (f"{axi}RDATA_PARITY", DATA_WIDTH // 8), (f"{axi}RID", ID_WIDTH),
                (f"{axi}RRESP", 2), (f"{axi}RLAST", 1), (f"{axi}RVALID", 1),
                (f"{axi}BID", ID_WIDTH), (f"{axi}BRESP", 2), (f"{axi}BVALID", 1))
        # To confirm in Vivado, with report_property: all names but USER_HBM_DENSITY,
        # USER_HBM_STACK and USER_SWITCH_ENABLE_01 are taken from other people's scripts.
        return VendorModule("dfx_hbm", tuple(ports), ip="hbm", properties={
            "USER_HBM_DENSITY": _DENSITY[self.address_width],
            "USER_HBM_STACK": 2,
            "USER_SWITCH_ENABLE_00": "TRUE",
            "USER_SWITCH_ENABLE_01": "TRUE",
            "USER_APB_EN": "false",
            "USER_XSDB_INTF_EN": "FALSE",
        })

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            self._elaborate_model(m)
        else:
            self._elaborate_card(m, platform)
        return m

    def _elaborate_model(self, m):
        m.submodules.hub = DomainRenamer("hbm")(self.hub)
        m.d.comb += self.ready.eq(1)
        for index, model in self._models.items():
            m.submodules[f"port{index:02}"] = DomainRenamer("hbm")(model)
            connect(m, flipped(self.port(index)), model.bus)

    def _elaborate_card(self, m, platform):
        reference = ClockSignal("reference")
        connections = {}
        complete = Signal(2)
        hot = Signal(2)
        m.d.comb += [self.ready.eq(complete.all()), self.too_hot.eq(hot.any())]
        for stack in range(2):
            connections |= {
                f"HBM_REF_CLK_{stack}": reference,
                f"APB_{stack}_PCLK": reference,
                f"APB_{stack}_PRESET_N": ~ResetSignal("reference"),
                f"apb_complete_{stack}": complete[stack],
                f"DRAM_{stack}_STAT_CATTRIP": hot[stack],
            }
        for index in range(PORTS):
            axi = f"AXI_{index:02}_"
            # The reset of the ports ends before the controllers are ready, and never comes again.
            connections |= {f"{axi}ACLK": ClockSignal("hbm"),
                            f"{axi}ARESET_N": ~ResetSignal("hbm_start"),
                            f"{axi}WDATA_PARITY": C(0, DATA_WIDTH // 8)}
            bus = self.port(index) if index in self.used else None
            for port in self._module_ports(axi):
                name = port.name.removeprefix(axi).lower()
                if bus is not None:
                    connections[port.name] = Value.cast(getattr(bus, name))
                elif port.direction == "input":
                    # Answers are always taken, should there ever be one.
                    connections[port.name] = C(int(name in ("rready", "bready")), port.width)
        m.submodules.ip = self.module().instance(platform, connections)

    def _module_ports(self, axi):
        """The IP's ports of one AXI port that are signals of the bus."""
        return [port for port in self.module().ports if port.name.startswith(axi)
                and not port.name.endswith(("ACLK", "ARESET_N", "PARITY"))]
