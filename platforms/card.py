"""The top of a card: wires the core, the memory, the host and the links together."""

import dataclasses

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import connect
from amaranth.utils import exact_log2

from dfx_rtl.bus.axi import Axi3Signature, Axi4Signature, AxiLiteSignature

from .axi_arbiter import Axi3Arbiter
from .axi_bridge import AxiBridge
from .axi_lite_crossing import AxiLiteCrossing
from .clocks import DOMAINS, CardClocks
from .ip.aurora import AuroraIp
from .ip.core import CoreIp
from .ip.hbm import PORTS, HbmIp
from .ip.xdma import XdmaIp
from .ring_link import RingLink

__all__ = ["Card", "fit_config"]

#: The port of the HBM that the DDR port of the core and the host use. It is the one next to PCI
#: Express, and the last that a core needs.
SHARED = PORTS - 1


def fit_config(config, hbm_address_width):
    """A configuration for a card: half of the HBM for the channels, half instead of DDR.

    Parameters
    ----------
    config : CoreConfig
        What one would like.
    hbm_address_width : int
        Bits of a byte address of the card's HBM.

    Returns
    -------
    CoreConfig
        The same with memories that are no larger than the card's.
    """
    return dataclasses.replace(
        config,
        channel_bytes=min(config.channel_bytes, 1 << hbm_address_width - 1 - exact_log2(PORTS)),
        ddr_bytes=min(config.ddr_bytes, 1 << hbm_address_width - 1))


class Card(wiring.Component):
    """A card with one core.

    Memory: channel n of the core is the lower half of pseudo-channel n, at HBM port n. The upper
    halves, one after the other, stand for the DDR memory: the core's DDR port and the host reach
    them through port 31, which they share with channel 31 if the core has so many.

    Clock domains: ``sync``, ``hbm`` and ``pcie``, and two for each cage; in simulation the
    testbench drives them. The card is the top: it has no ports but pins.

    Parameters
    ----------
    config : CoreConfig
        The core; see :func:`fit_config`.
    hbm_address_width : int
        Bits of a byte address of the HBM.
    cages : int
        QSFP28 cages that are used: 0 for a core that is alone in its ring. A cable in the first
        one goes to the core before this one, one in the last to the core behind it. With one cage
        both are the same core, in a ring of two: there flits go to the next core only, one hop.

    Attributes
    ----------
    core, hbm, xdma, clocks, links
        The blocks.

    Raises
    ------
    ValueError
        If the memories do not fit, or the core's buses do not fit the HBM's.
    """

    def __init__(self, config, hbm_address_width, *, cages=0):
        half = 1 << hbm_address_width - 1
        if config.channels > PORTS:
            raise ValueError(f"Core must have at most {PORTS} channels, not {config.channels}")
        if config.channel_bytes > half // PORTS:
            raise ValueError(f"Channel must have at most {half // PORTS} bytes, "
                             f"not {config.channel_bytes}")
        if config.ddr_bytes > half:
            raise ValueError(f"DDR must have at most {half} bytes, not {config.ddr_bytes}")
        if config.ddr_bits < config.axi_bits:
            raise ValueError(f"DDR port must be at least as wide as a channel of "
                             f"{config.axi_bits} bits, not {config.ddr_bits}")
        self._config = config
        self._offset_width = hbm_address_width - 1 - exact_log2(PORTS)
        self.core = CoreIp(config)
        self.hbm = HbmIp(hbm_address_width,
                         tuple(dict.fromkeys((*range(config.channels), SHARED))),
                         data_width=config.axi_bits)
        self.xdma = XdmaIp()
        self.clocks = CardClocks(kernel_mhz=3600 / config.kernel_period,
                                 hbm_mhz=3600 / config.hbm_period)
        self._cages = [AuroraIp(index) for index in range(cages)]
        self.links = [RingLink(config.tile, index) for index in range(cages)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.clocks = clocks = self.clocks
        m.submodules.hbm = hbm = self.hbm
        m.submodules.xdma = self.xdma
        m.submodules.core = self.core
        m.d.comb += clocks.memory_ready.eq(hbm.ready)
        self._elaborate_memory(m)
        self._elaborate_host(m)
        self._elaborate_links(m)
        if platform is not None:
            for name in (*DOMAINS, "pcie", *(name for cage in self._cages
                                             for name in cage.domains)):
                m.domains += ClockDomain(name)
            m.d.comb += platform.too_hot.eq(hbm.too_hot)
            self._constrain(platform)
        return m

    def _elaborate_memory(self, m):
        config = self._config
        managers = []
        for channel in range(config.channels):
            manager = self.core.hbm[channel]
            if channel == SHARED:
                managers.append((manager, lambda address: self._channel_address(SHARED, address)))
            else:
                _attach(m, manager, self.hbm.port(channel),
                        lambda address, channel=channel: self._channel_address(channel, address))

        lower = Axi3Signature(exact_log2(config.ddr_bytes), config.axi_bits, 1)
        bridges = []
        for name, signature, domain in (
                ("ddr_bridge", self.core.ddr.signature, "sync"),
                ("host_bridge", Axi4Signature(exact_log2(config.ddr_bytes), 512, 4), "pcie")):
            m.submodules[name] = bridge = AxiBridge(
                Axi4Signature(signature.address_width, signature.data_width, signature.id_width),
                lower, domain=domain)
            bridges.append(bridge)
            managers.append((bridge.lower, self._region_address))
        connect(m, self.core.ddr, bridges[0].upper)
        _attach(m, self.xdma.memory, bridges[1].upper, lambda address: address)

        arbiter = Axi3Arbiter(Axi3Signature(self.hbm.address_width, config.axi_bits, 1),
                              len(managers))
        m.submodules.arbiter = DomainRenamer("hbm")(arbiter)
        for (manager, place), bus in zip(managers, arbiter.managers, strict=True):
            _attach(m, manager, bus, place)
        _attach(m, arbiter.port, self.hbm.port(SHARED), lambda address: address)

    def _channel_address(self, channel, address):
        """A byte of a channel: in the lower half of its pseudo-channel."""
        padding = self._offset_width + 1 - len(address)
        return Cat(address, C(0, padding), C(channel, exact_log2(PORTS)))

    def _region_address(self, address):
        """A byte of the DDR memory: in the upper halves, one after the other."""
        return Cat(address[:self._offset_width],
                   C(0, max(0, self._offset_width - len(address))), C(1, 1),
                   address[self._offset_width:])

    def _elaborate_host(self, m):
        host = self.core.host
        m.submodules.register_crossing = crossing = AxiLiteCrossing(
            AxiLiteSignature(host.signature.address_width),
            manager_domain="pcie", subordinate_domain="sync")
        _attach(m, self.xdma.registers, crossing.manager, lambda address: address)
        connect(m, crossing.subordinate, host)
        m.submodules.interrupt_crossing = FFSynchronizer(
            self.core.interrupt, self.xdma.interrupt, o_domain="pcie")

    def _elaborate_links(self, m):
        core = self.core
        if not self._cages:
            # A core alone neither sends nor receives.
            m.d.comb += [send.ready.eq(1) for send in core.send]
            return
        for index, (cage, link) in enumerate(zip(self._cages, self.links, strict=True)):
            m.submodules[f"cage{index}"] = cage
            m.submodules[f"link{index}"] = link
            connect(m, link.transceiver, cage.transceiver)
        # In both directions round the ring: send[0] and receive[0] run from a core to the next.
        previous, following = self.links[0], self.links[-1]
        connect(m, core.send[0], following.send)
        connect(m, previous.receive, core.receive[0])
        if len(self.links) > 1:
            connect(m, core.send[1], previous.send)
            connect(m, following.receive, core.receive[1])
        else:
            # In a ring of two the router sends nothing this way.
            m.d.comb += core.send[1].ready.eq(1)
        m.d.comb += [
            core.link_error[0].eq(following.error),
            core.link_error[1].eq(previous.error),
        ]

    def _constrain(self, platform):
        """Clock crossings, and which die each block is on."""
        platform.add_constraints("set_false_path -from [get_ports {pcie_0__perst__io}]\n")
        clocks = {
            "kernel_clock": ("card/clocks/mmcm/CLKOUT0", 1000 / self.clocks.kernel_mhz),
            "hbm_clock": ("card/clocks/mmcm/CLKOUT1", 1000 / self.clocks.hbm_mhz),
            "pcie_clock": ("card/xdma/ip/axi_aclk", 4.0),
        }
        for index in range(len(self._cages)):
            for side, name in (("transmit", "tx"), ("receive", "rx")):
                clocks[f"link{index}_{side}_clock"] = (
                    f"card/cage{index}/ip/gtwiz_userclk_{name}_usrclk2_out", 2.56)
        # Data cross in asynchronous FIFOs only: a word may take a cycle of the faster clock.
        lines = [f"set {name} [get_clocks -of_objects [get_pins {{{pin}}}]]"
                 for name, (pin, _) in clocks.items()]
        for source, (_, source_period) in clocks.items():
            lines.extend(f"set_max_delay -datapath_only -from ${source} -to ${target} "
                         f"{min(source_period, target_period):.3f}"
                         for target, (_, target_period) in clocks.items() if target != source)
        dies = {0: ["card/arbiter", "card/ddr_bridge", "card/host_bridge",
                    "card/core/ip/dma"]}
        for index in range(len(self._cages)):
            dies.setdefault(platform.qsfp_slr, []).extend(
                [f"card/cage{index}", f"card/link{index}"])
        for die, cells in dies.items():
            lines.append(f"create_pblock slr{die}")
            lines.extend(f"add_cells_to_pblock [get_pblocks slr{die}] [get_cells {{{cell}}}]"
                         for cell in cells)
            lines.append(f"resize_pblock [get_pblocks slr{die}] -add {{SLR{die}}}")
        platform.add_script_after_synthesis("\n".join(lines) + "\n")


def _attach(m, manager, subordinate, place):
    """Connect two buses whose addresses and identifiers have different widths.

    What the narrower one lacks is 0; ``place`` makes the subordinate's address of the manager's.
    """
    for name in manager.signature.members:
        source, target = getattr(manager, name), getattr(subordinate, name)
        if (name.endswith("ready") and name[0] in "aw") or (name[0] in "br"
                                                           and not name.endswith("ready")):
            source, target = target, source
        value = Value.cast(source)
        m.d.comb += Value.cast(target).eq(place(value) if name in ("awaddr", "araddr") else value)
