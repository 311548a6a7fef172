"""What a ring's links are, and where they lead."""

import pytest

from dfx_rtl.config import CONFIGS
from sim.engines.ring import Links, Ring, neighbour
from sim.link.endpoint import ENDPOINT_LATENCY
from sim.system import System


def test_delay():
    assert Links(hop_latency=3).delay == 1
    assert Links().delay == 90 - ENDPOINT_LATENCY


@pytest.mark.parametrize("latency", [2, 1001, 9.5, "9"])
def test_latency(latency):
    with pytest.raises(ValueError) as caught:
        Links(hop_latency=latency)
    assert str(caught.value) == f"hop latency must be in 3..1000, not {latency!r}"


@pytest.mark.parametrize("fault", [(-1, 0, 5), (0, 2, 5), (0, 1, -1)])
def test_fault(fault):
    with pytest.raises(ValueError) as caught:
        Links(fault=fault)
    assert str(caught.value) == (f"link fault must be a core, a direction of 0 or 1 and a cycle, "
                                 f"not {fault}")


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_link_leads_there_and_back(count):
    for core in range(count):
        for direction in (0, 1):
            place = neighbour(core, direction, count)
            assert place == ((core + 1 - 2 * direction) % count, 1 - direction)
            assert neighbour(*place, count) == (core, direction)


def test_cut():
    assert Links().cut(3) == ()
    assert set(Links(fault=(2, 0, 7)).cut(3)) == {(2, 0), (0, 1)}


# amaranth: UnusedElaboratable=no
def test_mask():
    ring = Ring([System(CONFIGS["nano"]) for _ in range(2)])
    width = ring.width
    assert ring.mask([(0, 1), (1, 0)]) == (1 << 3 * width) - (1 << width)
    assert len(ring.boundary_out) == 4 * width
