"""Clocks and resets of a card."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

from .ip.primitives import bufg, mmcm

__all__ = ["CardClocks", "DOMAINS"]

#: Clock domains that are driven here.
DOMAINS = "reference", "hbm_start", "hbm", "sync"
_INPUT_MHZ = 100
#: Of the oscillator of the MMCM.
_OSCILLATOR_MHZ = 900


class CardClocks(wiring.Component):
    """Drives the domains of the card from its 100 MHz clock; in simulation, nothing.

    The parent defines the domains: :data:`DOMAINS`.

    | domain | clock | reset until |
    |---|---|---|
    | ``reference`` | 100 MHz | the MMCM is locked |
    | ``hbm_start`` | as ``hbm`` | the MMCM is locked: the HBM's ports |
    | ``hbm`` | 450 MHz | the HBM is ready too |
    | ``sync`` | 200 MHz, the kernel | the HBM is ready too |

    Resets begin at once and end with their clock. None ever comes back without the clock failing:
    the HBM's ports must not be reset once there was traffic (PG276).

    Parameters
    ----------
    kernel_mhz, hbm_mhz : float
        Of domains ``sync`` and ``hbm``.

    Members
    -------
    memory_ready : In(1)
        The HBM is ready; asynchronous.

    Raises
    ------
    ValueError
        If a frequency cannot be made of 900 MHz.
    """

    memory_ready: In(1)

    def __init__(self, *, kernel_mhz=200, hbm_mhz=450):
        self.kernel_mhz = kernel_mhz
        self.hbm_mhz = hbm_mhz
        # The kernel's is output 0, which may divide by eighths.
        self._mmcm = mmcm(period=1000 / _INPUT_MHZ, multiplier=_OSCILLATOR_MHZ / _INPUT_MHZ,
                          dividers=[_OSCILLATOR_MHZ / kernel_mhz,
                                    self._whole(_OSCILLATOR_MHZ / hbm_mhz)])
        super().__init__()

    @staticmethod
    def _whole(divider):
        return int(divider) if divider == int(divider) else divider

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            return m
        m.submodules.clock_buffer = pin = io.Buffer("i", platform.request("sysclk", 0, dir="-"))
        feedback = Signal()
        outputs = Signal(2)
        locked = Signal()
        running = Signal()
        m.submodules.reference_buffer = bufg().instance(
            platform, {"I": pin.i, "O": ClockSignal("reference")})
        m.submodules.mmcm = self._mmcm.instance(platform, {
            "CLKIN1": ClockSignal("reference"), "CLKFBIN": feedback, "CLKFBOUT": feedback,
            "PWRDWN": C(0, 1), "RST": C(0, 1), "CLKOUT0": outputs[0], "CLKOUT1": outputs[1],
            "LOCKED": locked})
        m.submodules.kernel_buffer = bufg().instance(
            platform, {"I": outputs[0], "O": ClockSignal()})
        m.submodules.hbm_buffer = bufg().instance(
            platform, {"I": outputs[1], "O": ClockSignal("hbm")})
        m.d.comb += [
            ClockSignal("hbm_start").eq(ClockSignal("hbm")),
            running.eq(locked & self.memory_ready),
        ]
        for domain, ready in zip(DOMAINS, (locked, locked, running, running), strict=True):
            m.submodules[f"{domain}_reset"] = ResetSynchronizer(~ready, domain=domain)
        return m
