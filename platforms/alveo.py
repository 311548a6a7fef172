"""What the Alveo cards with HBM have in common."""

import subprocess

from amaranth import *
from amaranth.build import *
from amaranth.lib import io
from amaranth.vendor import XilinxPlatform

__all__ = ["AlveoPlatform", "pcie_resource", "qsfp_resource"]


def pcie_resource(*, refclk, perst, rx_p, rx_n, tx_p, tx_n):
    """PCI Express, lanes from 0 on. Pins of transceivers have no I/O standard."""
    return Resource("pcie", 0,
        Subsignal("refclk", DiffPairs(*refclk, dir="i"), Clock(100e6)),
        Subsignal("perst", Pins(perst, dir="i"), Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLUP")),
        Subsignal("rx", DiffPairs(rx_p, rx_n, dir="i")),
        Subsignal("tx", DiffPairs(tx_p, tx_n, dir="o")))


def qsfp_resource(index, *, refclk, frequency, rx_p, rx_n, tx_p, tx_n):
    """A QSFP28 cage, lanes from 0 on, with reference clock 0 of its quad."""
    return Resource("qsfp", index,
        Subsignal("refclk", DiffPairs(*refclk, dir="i"), Clock(frequency)),
        Subsignal("rx", DiffPairs(rx_p, rx_n, dir="i")),
        Subsignal("tx", DiffPairs(tx_p, tx_n, dir="o")))


class _Card(Elaboratable):
    """A design, and the pin that no design may forget."""

    def __init__(self, design):
        self._design = design

    def elaborate(self, platform):
        m = Module()
        # Requested before the design is elaborated, so that the design cannot take it.
        pin = platform.request("hbm_cattrip", 0, dir="-")
        m.submodules.cattrip_buffer = buffer = io.Buffer("o", pin)
        m.d.comb += buffer.o.eq(platform.too_hot)
        m.submodules.card = self._design
        return m


class AlveoPlatform(XilinxPlatform):
    """An Alveo card with HBM.

    HBM_CATTRIP is driven whatever the design is: low, or by :attr:`too_hot`. Left open, the card
    pulls it high, and its satellite controller cuts the power; such an image in the flash can make
    the card unusable (UG1314).

    Attributes
    ----------
    too_hot : Signal
        For the HBM to drive.
    vendor_modules : list of VendorModule
        Those that the design uses, once it is elaborated.
    hbm_address_width : int
        Bits of a byte address of the HBM.
    slrs : int
        Dies of the device. The HBM and PCI Express are in the lowest.
    qsfp_slr : int
        The die with the transceivers of the cages.
    qsfp_quads : tuple of int
        Row of each cage's quad in the left column of transceivers: X0Y(4n) to X0Y(4n + 3).
    qsfp_reference : float
        Frequency of the cages' reference clocks, in MHz.
    power_budget : int or None
        In watts.
    """

    default_clk = "sysclk"
    connectors = []

    hbm_address_width: int
    slrs: int
    qsfp_slr: int
    qsfp_quads: tuple
    qsfp_reference: float
    power_budget: int | None = None

    def __init__(self):
        super().__init__(toolchain="Vivado")
        self.too_hot = Signal()
        self.vendor_modules = []
        self._after_synthesis = []
        self._constraints = []

    def use_module(self, module):
        """Note that the design uses a vendor's block; an IP is made by the Tcl."""
        if module not in self.vendor_modules:
            self.vendor_modules.append(module)

    def add_constraints(self, text):
        """Add lines to the XDC."""
        self._constraints.append(text)

    def add_script_after_synthesis(self, text):
        """Add Tcl between synthesis and placement, where cells and generated clocks are known."""
        self._after_synthesis.append(text)

    def qsfp_channels(self, index):
        """Locations of the transceivers of a cage, the lowest first."""
        row = 4 * self.qsfp_quads[index]
        return tuple(f"X0Y{row + lane}" for lane in range(4))

    def prepare(self, elaboratable, name="top", **kwargs):
        return super().prepare(_Card(elaboratable), name, **kwargs)

    def toolchain_prepare(self, fragment, name, **kwargs):
        ips = [module for module in self.vendor_modules if module.ip is not None]
        scripts = [module.script() for module in ips]
        if ips:
            scripts.append("generate_target all [get_ips]\n"
                           "foreach ip [get_ips] { synth_ip $ip }\n")
        overrides = {
            "script_after_read": "".join(scripts),
            "add_constraints": self._configuration() + "".join(self._constraints),
            "script_after_synth": "".join(self._after_synthesis),
        }
        return super().toolchain_prepare(fragment, name, **overrides, **kwargs)

    def _configuration(self):
        """Constraints of the card itself: its flash, and pins that have no timing."""
        lines = [
            "set_property CFGBVS GND [current_design]",
            "set_property CONFIG_VOLTAGE 1.8 [current_design]",
            "set_property CONFIG_MODE SPIx4 [current_design]",
            "set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]",
            *(f"set_property BITSTREAM.CONFIG.{name} {value} [current_design]" for name, value in (
                ("SPI_BUSWIDTH", "4"), ("CONFIGRATE", "85.0"), ("CONFIGFALLBACK", "ENABLE"),
                ("EXTMASTERCCLK_EN", "DISABLE"), ("SPI_FALL_EDGE", "YES"),
                ("UNUSEDPIN", "PULLUP"), ("SPI_32BIT_ADDR", "YES"),
                ("OVERTEMPSHUTDOWN", "ENABLE"))),
            "set_false_path -to [get_ports {hbm_cattrip_0__io}]",
        ]
        if self.power_budget is not None:
            lines.append(f"set_operating_conditions -design_power_budget {self.power_budget}")
        return "\n".join(lines) + "\n"

    def toolchain_program(self, products, name):
        """Load the bitstream over JTAG; the host must then look for PCI Express devices anew."""
        with products.extract(f"{name}.bit") as bitstream:
            script = "\n".join([
                "open_hw_manager", "connect_hw_server", "open_hw_target",
                "current_hw_device [lindex [get_hw_devices] 0]",
                f"set_property PROGRAM.FILE {{{bitstream}}} [current_hw_device]",
                "program_hw_devices", "close_hw_manager", ""])
            subprocess.run(["vivado", "-nolog", "-nojournal", "-mode", "tcl"],
                           input=script.encode(), check=True)
