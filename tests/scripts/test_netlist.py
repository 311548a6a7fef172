"""The netlist's cells: what has no model."""

import pytest

from platforms.ulx3s.build import NAME
from scripts.netlist import _check_widths
from sim.engines.verilate import EngineError


def netlist(a, b):
    parameters = {"DATA_WIDTH_A": f"{a:032b}", "DATA_WIDTH_B": f"{b:032b}"}
    return {"modules": {NAME: {"cells": {
        "adder": {"type": "CCU2C", "parameters": {}},
        "words": {"type": "DP16KD", "parameters": parameters}}}}}


@pytest.mark.parametrize("widths", [(18, 18), (4, 18), (36, 36), (1, 2)])
def test_block_ram_that_has_a_model(widths):
    _check_widths(netlist(*widths))


def test_block_ram_that_has_none():
    with pytest.raises(EngineError) as caught:
        _check_widths(netlist(18, 9))
    assert str(caught.value) == ("block RAM words has ports of [18, 9] bits: there are models of "
                                 "[1, 2, 4, 18, 36]")
