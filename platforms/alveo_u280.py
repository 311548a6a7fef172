"""Alveo U280: 8 GB of HBM2, two QSFP28 cages, three dies."""

from amaranth.build import *

from .alveo import AlveoPlatform, pcie_resource, qsfp_resource

__all__ = ["AlveoU280Platform"]


class AlveoU280Platform(AlveoPlatform):
    """Alveo U280. Pins: AMD's board file au280 1.1, and UG1314.

    Its two DDR4 modules are not used; see ``docs/decisions/0007-cards.md``.
    """

    device = "xcu280"
    package = "fsvh2892"
    speed = "2L-e"
    hbm_address_width = 33
    slrs = 3
    qsfp_slr = 2
    qsfp_quads = 10, 11
    qsfp_reference = 156.25
    power_budget = 160
    resources = [
        Resource("sysclk", 0, DiffPairs("BJ43", "BJ44", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS", DQS_BIAS="TRUE")),
        Resource("sysclk", 1, DiffPairs("BH6", "BJ6", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS", DQS_BIAS="TRUE")),
        Resource("sysclk", 3, DiffPairs("G31", "F31", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS")),
        Resource("cpu_reset", 0, PinsN("L30", dir="i"), Attrs(IOSTANDARD="LVCMOS18")),
        # D31 is the interrupt of the I2C multiplexer, and no LED.
        Resource("hbm_cattrip", 0, Pins("D32", dir="o"),
                 Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLDOWN")),
        Resource("uart", 0,
            Subsignal("tx", Pins("B33", dir="o")),
            Subsignal("rx", Pins("A28", dir="i")),
            Attrs(IOSTANDARD="LVCMOS18")),
        # MGTREFCLK0 of each quad comes from the fixed oscillator; MGTREFCLK1's frequency is
        # selected by pins whose meaning the public files do not agree on.
        qsfp_resource(0, refclk=("T42", "T43"), frequency=156.25e6,
                      rx_p="L53 K51 J53 H51", rx_n="L54 K52 J54 H52",
                      tx_p="L48 L44 K46 J48", tx_n="L49 L45 K47 J49"),
        qsfp_resource(1, refclk=("P42", "P43"), frequency=156.25e6,
                      rx_p="G53 F51 E53 D51", rx_n="G54 F52 E54 D52",
                      tx_p="G48 E48 C48 A49", tx_n="G49 E49 C49 A50"),
        pcie_resource(
            refclk=("AR15", "AR14"), perst="BH26",
            rx_p="AL2 AM4 AN6 AN2 AP4 AR2 AT4 AU2 AV4 AW6 AW2 AY4 BA6 BA2 BB4 BC2",
            rx_n="AL1 AM3 AN5 AN1 AP3 AR1 AT3 AU1 AV3 AW5 AW1 AY3 BA5 BA1 BB3 BC1",
            tx_p="AL11 AM9 AN11 AP9 AR11 AR7 AT9 AU11 AU7 AV9 AW11 AY9 BA11 BB9 BC11 BC7",
            tx_n="AL10 AM8 AN10 AP8 AR10 AR6 AT8 AU10 AU6 AV8 AW10 AY8 BA10 BB8 BC10 BC6"),
    ]
