# amaranth: UnusedElaboratable=no
"""Which clocks a card can have; its Verilog is looked at in test_build.py."""

import pytest

from platforms.clocks import CardClocks


def test_frequencies():
    assert (CardClocks().kernel_mhz, CardClocks().hbm_mhz) == (200, 450)
    CardClocks(kernel_mhz=240, hbm_mhz=300)


def test_a_frequency_that_cannot_be_made():
    with pytest.raises(ValueError, match="^MMCM divider 1 must be a multiple of 1 in 1..128, "
                                         "not 2.25$"):
        CardClocks(hbm_mhz=400)
