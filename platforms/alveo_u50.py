"""Alveo U50: 8 GB of HBM2, one QSFP28 cage, two dies, no DDR."""

from amaranth.build import *

from .alveo import AlveoPlatform, pcie_resource, qsfp_resource

__all__ = ["AlveoU50Platform"]


class AlveoU50Platform(AlveoPlatform):
    """Alveo U50. Pins: public constraints of this card (Corundum, open-nic-shell)."""

    device = "xcu50"
    package = "fsvh2104"
    speed = "2-e"
    hbm_address_width = 33
    slrs = 2
    qsfp_slr = 1
    # Quad 131.
    qsfp_quads = (7,)
    qsfp_reference = 161.1328125
    power_budget = 63
    resources = [
        # To confirm in Vivado: in the lowest die, as the HBM's reference clock must be.
        Resource("sysclk", 0, DiffPairs("BB18", "BC18", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS")),
        Resource("sysclk", 1, DiffPairs("G17", "G16", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS")),
        Resource("hbm_cattrip", 0, Pins("J18", dir="o"),
                 Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLDOWN")),
        qsfp_resource(0, refclk=("N36", "N37"), frequency=161.1328125e6,
                      rx_p="J45 G45 F43 E45", rx_n="J46 G46 F44 E46",
                      tx_p="D42 C40 B42 A40", tx_n="D43 C41 B43 A41"),
        pcie_resource(
            refclk=("AF9", "AF8"), perst="AW27",
            rx_p="AL2 AM4 AK4 AN2 AP4 AR2 AT4 AU2 AV4 AW2 BA2 BC2 AY4 BB4 BD4 BE6",
            rx_n="AL1 AM3 AK3 AN1 AP3 AR1 AT3 AU1 AV3 AW1 BA1 BC1 AY3 BB3 BD3 BE5",
            tx_p="Y5 AA7 AB5 AC7 AD5 AF5 AE7 AH5 AG7 AJ7 AL7 AM9 AN7 AP9 AR7 AT9",
            tx_n="Y4 AA6 AB4 AC6 AD4 AF4 AE6 AH4 AG6 AJ6 AL6 AM8 AN6 AP8 AR6 AT8"),
    ]
