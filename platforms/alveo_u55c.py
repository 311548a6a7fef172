"""Alveo U55C: 16 GB of HBM2, two QSFP28 cages, three dies, no DDR."""

from amaranth.build import *

from .alveo import AlveoPlatform, pcie_resource, qsfp_resource

__all__ = ["AlveoU55CPlatform"]


class AlveoU55CPlatform(AlveoPlatform):
    """Alveo U55C. Pins: public constraints of this card (Corundum, open-nic-shell)."""

    device = "xcu55c"
    package = "fsvh2892"
    speed = "2L-e"
    hbm_address_width = 34
    slrs = 3
    qsfp_slr = 1
    # Quads 130 and 131; to confirm in Vivado: the rows follow from the number of the lowest, 124.
    qsfp_quads = 6, 7
    qsfp_reference = 161.1328125
    resources = [
        # To confirm in Vivado: in the lowest die, as the HBM's reference clock must be.
        Resource("sysclk", 0, DiffPairs("BK43", "BK44", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS")),
        Resource("sysclk", 1, DiffPairs("BK10", "BL10", dir="i"), Clock(100e6),
                 Attrs(IOSTANDARD="LVDS")),
        Resource("hbm_cattrip", 0, Pins("BE45", dir="o"),
                 Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLDOWN")),
        qsfp_resource(0, refclk=("AD42", "AD43"), frequency=161.1328125e6,
                      rx_p="AD51 AC53 AC49 AB51", rx_n="AD52 AC54 AC50 AB52",
                      tx_p="AD46 AC44 AB46 AA48", tx_n="AD47 AC45 AB47 AA49"),
        qsfp_resource(1, refclk=("AB42", "AB43"), frequency=161.1328125e6,
                      rx_p="AA53 Y51 W53 V51", rx_n="AA54 Y52 W54 V52",
                      tx_p="AA44 Y46 W48 W44", tx_n="AA45 Y47 W49 W45"),
        pcie_resource(
            refclk=("AR15", "AR14"), perst="BF41",
            rx_p="AL2 AM4 AN6 AN2 AP4 AR2 AT4 AU2 AV4 AW6 AW2 AY4 BA6 BA2 BB4 BC2",
            rx_n="AL1 AM3 AN5 AN1 AP3 AR1 AT3 AU1 AV3 AW5 AW1 AY3 BA5 BA1 BB3 BC1",
            tx_p="AL11 AM9 AN11 AP9 AR11 AR7 AT9 AU11 AU7 AV9 AW11 AY9 BA11 BB9 BC11 BC7",
            tx_n="AL10 AM8 AN10 AP8 AR10 AR6 AT8 AU10 AU6 AV8 AW10 AY8 BA10 BB8 BC10 BC6"),
    ]
