"""The clock generator's numbers."""

import pytest

from platforms.ip.primitives import mmcm


def test_the_cards_clocks():
    """900 MHz of 100 MHz, and 200 and 450 MHz of that."""
    module = mmcm(period=10, multiplier=9, dividers=[4.5, 2])
    assert module.parameters == {"CLKIN1_PERIOD": 10.0, "CLKFBOUT_MULT_F": 9.0,
                                 "CLKOUT0_DIVIDE_F": 4.5, "CLKOUT1_DIVIDE": 2}
    assert "CLKOUT1" in {port.name for port in module.ports}


@pytest.mark.parametrize(("changes", "message"), [
    ({"multiplier": 17}, "MMCM oscillator must run at 800 to 1600 MHz, not 1700"),
    ({"dividers": [4.55, 2]}, r"MMCM divider 0 must be a multiple of 0.125 in 1..128, not 4.55"),
    ({"dividers": [4.5, 2.5]}, r"MMCM divider 1 must be a multiple of 1 in 1..128, not 2.5"),
    ({"dividers": [4.5, 129]}, r"MMCM divider 1 must be a multiple of 1 in 1..128, not 129"),
])
def test_errors(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        mmcm(**{"period": 10, "multiplier": 9, "dividers": [4.5, 2], **changes})
