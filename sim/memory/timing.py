"""What a memory port is told before a run: its timing, and the fault that it shall have."""

from dataclasses import dataclass, replace

from amaranth.lib import data, enum

__all__ = ["TimingLayout", "Timing", "FaultKind", "FaultLayout"]


class TimingLayout(data.Struct):
    """Timing of a memory port, in cycles of its clock. It is constant during a run.

    ``latency``: from an accepted AR to the first R beat of an idle port, in an open row;
    a value below 3 acts as 3.
    ``write_latency``: from the last accepted W beat to B; a value below 2 acts as 2.
    ``row_miss``: what a burst takes longer if it lies in another row than the burst accepted
    before it. It is hidden behind the bursts before, but two openings are at least this far apart.
    ``turnaround``: idle cycles of the data bus when it changes its direction.
    ``refresh_interval``, ``refresh_length``: in the last ``refresh_length`` cycles of every
    interval no data and no response moves, and time stands still for all that is in flight;
    an interval of 0 is no refresh. ``refresh_phase`` shortens the first interval.
    ``stall_threshold``: each valid and ready is withheld in a cycle with this probability / 256.
    ``seed``: of the stalls. ``outstanding``: accepted bursts a direction, 1 or more.
    """
    latency: 16
    write_latency: 16
    row_miss: 8
    turnaround: 8
    refresh_interval: 16
    refresh_length: 16
    refresh_phase: 16
    stall_threshold: 8
    seed: 32
    outstanding: 8


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Named values of :class:`TimingLayout`; ``ctx.set(port.timing, timing.to_const())``."""

    latency: int = 3
    write_latency: int = 2
    row_miss: int = 0
    turnaround: int = 0
    refresh_interval: int = 0
    refresh_length: int = 0
    refresh_phase: int = 0
    stall_threshold: int = 0
    seed: int = 1
    outstanding: int = 64

    def __post_init__(self):
        for name, value in vars(self).items():
            width = TimingLayout.as_shape()[name].width
            if not isinstance(value, int) or not 0 <= value < 1 << width:
                raise ValueError(f"Timing.{name} must be an integer of {width} bits, "
                                 f"not {value!r}")
        if self.outstanding < 1:
            raise ValueError(f"Timing.outstanding must be at least 1, not {self.outstanding!r}")
        for name in ("refresh_length", "refresh_phase"):
            value = getattr(self, name)
            if value and value >= self.refresh_interval:
                raise ValueError(f"Timing.{name} must be less than the interval of "
                                 f"{self.refresh_interval}, not {value!r}")

    @classmethod
    def hbm(cls, megahertz=450, **changes):
        """A pseudo-channel of HBM2 at the clock of its port.

        Idle latency is 48 cycles at 450 MHz in an open row and 62 in another (Shuhai, FCCM 2020,
        with the switch off); 260 ns of every 3.9 us go to refresh (PG276). Turnaround and the
        latency of writes are assumptions.
        """
        def cycles(at_450):
            return round(at_450 * megahertz / 450)
        return cls(**{"latency": cycles(48), "write_latency": cycles(48), "row_miss": cycles(14),
                      "turnaround": cycles(8), "refresh_interval": cycles(1755),
                      "refresh_length": cycles(117), "outstanding": 32, **changes})

    @classmethod
    def ddr(cls, megahertz=300, **changes):
        """A channel of DDR4 at the clock of its port.

        Idle latency is 22 cycles at 300 MHz in an open row and 32 in another (Shuhai, FCCM 2020);
        350 ns of every 7.8 us go to refresh (8 Gb dies). Turnaround and the latency of writes are
        assumptions.
        """
        def cycles(at_300):
            return round(at_300 * megahertz / 300)
        return cls(**{"latency": cycles(22), "write_latency": cycles(22), "row_miss": cycles(10),
                      "turnaround": cycles(6), "refresh_interval": cycles(2340),
                      "refresh_length": cycles(105), "outstanding": 32, **changes})

    def replace(self, **changes):
        """A copy with some values changed."""
        return replace(self, **changes)

    def to_const(self):
        """The values by name, as :class:`TimingLayout` takes them."""
        return dict(vars(self))


class FaultKind(enum.Enum, shape=3):
    """What goes wrong: an error response to one burst, or silence for good."""
    NONE = 0
    READ_SLVERR = 1
    READ_DECERR = 2
    WRITE_SLVERR = 3
    WRITE_DECERR = 4
    HANG = 5


class FaultLayout(data.Struct):
    """A fault of a memory port, and how many bursts are served before it.

    An error hits one burst, the one after ``after`` bursts of the same direction; a write that is
    hit leaves the memory as it was. HANG counts the bursts of both directions: from there on the
    port takes nothing (all ready low) and gives nothing that it has not already shown.
    """
    kind: FaultKind
    after: 16
