"""A core in a ring whose links are those of the card: lanes, packets and retries."""

from amaranth.lib.wiring import In, Out

from dfx_rtl.control.ring import DIRECTIONS

from .link.aurora_end import AuroraEnd
from .link.channel import ErrorLayout
from .system import System

__all__ = ["AuroraSystem"]


#: Cycles without a channel after which a link fails, which is soon enough to be seen.
GIVE_UP_CYCLES = 1 << 15


class AuroraSystem(System):
    """A :class:`.System` with an :class:`.AuroraEnd` for each neighbour.

    The seeds of the errors are part of the hardware: they are the same in all cores of a ring.

    Parameters
    ----------
    config : CoreConfig
        The core's parameters.

    Members
    -------
    line_error : In(ErrorLayout)
        What goes wrong on both lines to the core.
    line_error_count : Out(33)
        Blocks that were hit on them.
    """

    def __init__(self, config):
        self._lines = [AuroraEnd(config.tile, seed=1 + number, give_up_cycles=GIVE_UP_CYCLES)
                       for number in range(DIRECTIONS)]
        super().__init__(config, ends=self._lines, line_error=In(ErrorLayout),
                         line_error_count=Out(33))

    def elaborate(self, platform):
        m = super().elaborate(platform)
        first, second = self._lines
        m.d.comb += self.line_error_count.eq(first.error_count + second.error_count)
        for place, end in enumerate(self._lines):
            m.d.comb += [
                end.line_error.eq(self.line_error),
                self.core.link_error[place].eq(end.error),
            ]
        return m
