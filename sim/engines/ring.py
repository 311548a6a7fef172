"""Several systems in one simulation: a ring, whose delay lines an engine serves."""

from dataclasses import dataclass

from amaranth import *
from amaranth.hdl import Fragment
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.control.ring import DIRECTIONS

from ..link.endpoint import ENDPOINT_LATENCY
from ..system import EventLayout

__all__ = ["Links", "Ring", "neighbour"]


def neighbour(core, direction, count):
    """Where a core's link leads: the neighbour, and the direction of its link back."""
    return (core + (1, -1)[direction]) % count, 1 - direction


@dataclass(frozen=True, kw_only=True)
class Links:
    """The links of a ring.

    Parameters
    ----------
    hop_latency : int
        Kernel cycles from a transfer on a core's ``send`` to its neighbour's ``receive``; with a
        link layer, from where it leaves for the line to where it comes from there.
    inside : int
        Those of them that pass inside of the systems.
    fault : (int, int, int) or None
        A cable that is cut: a core, 0 for its link to the next core or 1 for the one to the core
        before it, and the kernel cycle from which on nothing crosses it, either way.

    Raises
    ------
    ValueError
        If the latency is not greater than ``inside`` or is above 1000, or the fault is not of the
        form above.
    """

    hop_latency: int = 90
    inside: int = ENDPOINT_LATENCY
    fault: tuple | None = None

    def __post_init__(self):
        if not isinstance(self.hop_latency, int) or not self.inside < self.hop_latency <= 1000:
            raise ValueError(f"hop latency must be in {self.inside + 1}..1000, "
                             f"not {self.hop_latency!r}")
        if self.fault is not None:
            core, direction, cycle = self.fault
            if core < 0 or direction not in range(DIRECTIONS) or cycle < 0:
                raise ValueError(f"link fault must be a core, a direction of 0 or 1 and a cycle, "
                                 f"not {self.fault!r}")

    @property
    def delay(self):
        """Cycles between the boundaries of neighbours; at least 1."""
        return self.hop_latency - self.inside

    def cut(self, count):
        """The (core, direction) from which nothing leaves once the fault has come."""
        if self.fault is None:
            return ()
        core, direction, _ = self.fault
        return (core, direction), neighbour(core, direction, count)


class Ring(wiring.Component):
    """The systems of a ring, for Amaranth's simulator.

    What crosses from all cores to their neighbours is one wide word. An engine hands each word
    back ``Links.delay`` cycles later, and so is the delay line of all links.

    Parameters
    ----------
    systems : list of System
        Of all cores, in the order of the ring.

    Members
    -------
    events : Out(array of EventLayout)
        Theirs.
    interrupt : Out(1)
        Of any of them.
    boundary_out : Out(systems * DIRECTIONS * width)
        What leaves: of core k in direction w at (2 k + w) widths.
    boundary_in : In(systems * DIRECTIONS * width)
        The same word, later.
    """

    def __init__(self, systems):
        self._systems = systems
        self.width = len(systems[0].boundary_out[0].as_value())
        width = len(systems) * DIRECTIONS * self.width
        super().__init__({
            "events": Out(data.ArrayLayout(EventLayout, len(systems))),
            "interrupt": Out(1),
            "boundary_out": Out(width),
            "boundary_in": In(width),
        })

    def mask(self, places):
        """The bits of the word that leave in places, pairs of core and direction."""
        return sum(((1 << self.width) - 1) << (DIRECTIONS * core + direction) * self.width
                   for core, direction in places)

    def elaborate(self, platform):
        m = Module()
        for name in ("sync", "hbm"):
            setattr(m.domains, name, ClockDomain(name))
        for number, system in enumerate(self._systems):
            fragment = Fragment.get(system, platform)
            # The system defines its clock domains; here all share those of the ring.
            fragment.domains.clear()
            m.submodules[f"system{number}"] = fragment
            m.d.comb += self.events[number].eq(system.events)
            for direction in range(DIRECTIONS):
                core, back = neighbour(number, direction, len(self._systems))
                place = (DIRECTIONS * number + direction) * self.width
                part = slice(place, place + self.width)
                m.d.comb += [
                    self.boundary_out[part].eq(system.boundary_out[direction]),
                    self._systems[core].boundary_in[back].eq(self.boundary_in[part]),
                ]
        m.d.comb += self.interrupt.eq(Cat(system.interrupt for system in self._systems).any())
        return m
