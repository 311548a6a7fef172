"""A core that is slowed down computes the same, and later."""

from dfx_rtl.model import Machine
from sim.handicap import HandicappedSystem
from sim.simulation import Simulation


def cycles(compiled, **handicap):
    """Cycles of a run whose tokens are right."""
    system = HandicappedSystem(compiled.config)
    result = Simulation(compiled, system=system, handicap=handicap).generate([1, 2], 2)
    assert result.tokens == Machine(compiled).run([1, 2], 2)
    return result.cycles


def test_each_handicap_costs_cycles_and_changes_nothing_else(tiny):
    compiled = tiny(layers=1)
    plain = Simulation(compiled).generate([1, 2], 2).cycles
    assert cycles(compiled) == plain
    for handicap in ({"dead_cycles": 20}, {"result_delay": 50}, {"whole_vectors": 1}):
        assert cycles(compiled, **handicap) > plain + 20, handicap
