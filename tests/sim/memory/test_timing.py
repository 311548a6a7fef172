import re

import pytest

from sim.memory.timing import *


def test_presets():
    hbm = Timing.hbm()
    assert (hbm.latency, hbm.row_miss) == (48, 14)
    assert (hbm.refresh_length, hbm.refresh_interval) == (117, 1755)
    assert Timing.hbm(225).refresh_length == 58
    assert Timing.ddr().latency == 22
    assert Timing.ddr(200).latency == 15
    assert Timing.hbm(stall_threshold=9).stall_threshold == 9
    assert hbm.replace(seed=7) == Timing.hbm(seed=7)


def test_to_const():
    bits = TimingLayout.const(Timing.hbm(seed=0x12345678).to_const())
    assert bits.latency == 48
    assert bits.seed == 0x12345678


@pytest.mark.parametrize("parameters, message", [
    ({"latency": -1}, "Timing.latency must be an integer of 16 bits, not -1"),
    ({"row_miss": 256}, "Timing.row_miss must be an integer of 8 bits, not 256"),
    ({"seed": 1.5}, "Timing.seed must be an integer of 32 bits, not 1.5"),
    ({"outstanding": 0}, "Timing.outstanding must be at least 1, not 0"),
    ({"refresh_interval": 9, "refresh_length": 9},
     "Timing.refresh_length must be less than the interval of 9, not 9"),
    ({"refresh_phase": 1}, "Timing.refresh_phase must be less than the interval of 0, not 1"),
])
def test_errors(parameters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Timing(**parameters)
