"""The boards' pins, without a design."""

import re

import pytest
from amaranth.build import Subsignal
from amaranth.build.dsl import Clock, DiffPairs

from platforms.build import PLATFORMS


def _pins(resource):
    """Name and pins of each signal of a resource, of differential ones both."""
    for item in resource.ios:
        if isinstance(item, Subsignal):
            yield from ((f"{resource.name}{resource.number}.{item.name}.{end}", names)
                        for end, names in _ends(item.ios[0]))
        elif not isinstance(item, Clock):
            yield from ((f"{resource.name}{resource.number}.{end}", names)
                        for end, names in _ends(item))


def _ends(io):
    if isinstance(io, DiffPairs):
        return ("p", io.p.names), ("n", io.n.names)
    return (("io", io.names),)


@pytest.mark.parametrize(("name", "cages"), [("u280", 2), ("u55c", 2), ("u50", 1)])
def test_pins(name, cages):
    platform = PLATFORMS[name]
    signals = dict(pins for resource in platform.resources for pins in _pins(resource))
    every = [pin for pins in signals.values() for pin in pins]
    assert len(every) == len(set(every)), "a pin twice"
    assert all(re.fullmatch("[A-Z]{1,2}[0-9]{1,2}", pin) for pin in every)
    for end in "pn":
        assert len(signals[f"pcie0.rx.{end}"]) == len(signals[f"pcie0.tx.{end}"]) == 16
        for cage in range(cages):
            assert len(signals[f"qsfp{cage}.rx.{end}"]) == len(signals[f"qsfp{cage}.tx.{end}"]) == 4
    assert f"qsfp{cages}.rx.p" not in signals
    assert len(platform.qsfp_quads) == cages
    # Of a pair of transceiver pins, N is one row below or beside P: the same letters, the next
    # number.
    for signal, pins in signals.items():
        if signal.endswith(".p") and signal.startswith(("pcie", "qsfp")):
            for positive, negative in zip(pins, signals[f"{signal[:-1]}n"], strict=True):
                letters, number = re.fullmatch("([A-Z]+)([0-9]+)", positive).groups()
                assert negative in (f"{letters}{int(number) - 1}", f"{letters}{int(number) + 1}")


@pytest.mark.parametrize("name", PLATFORMS)
def test_reference_clocks(name):
    """The transceivers' wizard is told what the board has."""
    platform = PLATFORMS[name]
    for resource in platform.resources:
        if resource.name == "qsfp":
            assert resource.ios[0].clock.frequency == 1e6 * platform.qsfp_reference


def test_channels():
    assert PLATFORMS["u280"]().qsfp_channels(1) == ("X0Y44", "X0Y45", "X0Y46", "X0Y47")
    assert PLATFORMS["u50"]().qsfp_channels(0) == ("X0Y28", "X0Y29", "X0Y30", "X0Y31")
