"""Primitives of UltraScale+ devices that a card uses (UG974)."""

from .vendor import VendorModule, VendorPort

__all__ = ["EMITTED", "bufg", "ibufds_gte4", "mmcm"]


def _ports(inputs, outputs):
    return (*(VendorPort(name, "input") for name in inputs),
            *(VendorPort(name, "output") for name in outputs))


def bufg():
    """A global clock buffer."""
    return VendorModule("BUFG", _ports(("I",), ("O",)))


def ibufds_gte4():
    """The reference clock of transceivers: ``O`` goes to them, ``ODIV2`` to the fabric."""
    return VendorModule("IBUFDS_GTE4", _ports(("I", "IB", "CEB"), ("O", "ODIV2")),
                        {"REFCLK_HROW_CK_SEL": 0})


def mmcm(*, period, multiplier, dividers):
    """A clock generator: output ``n`` runs at ``multiplier / dividers[n]`` times the input.

    Parameters
    ----------
    period : float
        Of the input, in nanoseconds.
    multiplier : float
        Of the oscillator, which must run at 800 to 1600 MHz.
    dividers : list of float
        Of the outputs; only the first need not be an integer.

    Raises
    ------
    ValueError
        If the oscillator or a divider is out of its range.
    """
    frequency = 1000 / period * multiplier
    if not 800 <= frequency <= 1600:
        raise ValueError(f"MMCM oscillator must run at 800 to 1600 MHz, not {frequency:g}")
    for index, divider in enumerate(dividers):
        if divider % (1 if index else .125) or not 1 <= divider <= 128:
            raise ValueError(f"MMCM divider {index} must be a multiple of "
                             f"{'1' if index else '0.125'} in 1..128, not {divider:g}")
    return VendorModule(
        "MMCME4_BASE",
        _ports(("CLKIN1", "CLKFBIN", "PWRDWN", "RST"),
               ("CLKFBOUT", *(f"CLKOUT{index}" for index in range(len(dividers))), "LOCKED")),
        {"CLKIN1_PERIOD": float(period), "CLKFBOUT_MULT_F": float(multiplier),
         **{f"CLKOUT{index}_DIVIDE{'' if index else '_F'}": divider if index else float(divider)
            for index, divider in enumerate(dividers)}})


#: Those that Amaranth emits for buffers and synchronisers; here only for the stubs.
EMITTED = (
    VendorModule("IBUF", _ports(("I",), ("O",))),
    VendorModule("IBUFDS", _ports(("I", "IB"), ("O",))),
    VendorModule("OBUFT", _ports(("I", "T"), ("O",))),
    VendorModule("FDPE", _ports(("C", "CE", "PRE", "D"), ("Q",)), {"INIT": 1}),
)
