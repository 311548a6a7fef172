"""Whole cores in Amaranth's simulator, compared with the numpy machine write by write."""

import numpy as np
import pytest

from dfx_rtl.compiler import compile_copy
from dfx_rtl.host.driver import Driver
from dfx_rtl.model.machine import Machine
from sim.check import Check, Difference
from sim.engines.amaranth import AmaranthEngine
from sim.simulation import Simulation


def run(compiled, prompt, count, **options):
    """Run with every write compared; returns the simulation and its result."""
    simulation = Simulation(compiled, **options)
    check = Check(compiled, prompt, count)
    simulation.engine.observe(check.observe)
    result = simulation.generate(prompt, count)
    check.finish(result)
    assert check.count > 50
    assert result.tokens == Machine(compiled).run(prompt, count)
    return simulation, result


@pytest.mark.parametrize("stalls,seed", [(0, 1), (40, 1), (120, 2)])
def test_every_write_equals_the_machine(tiny, stalls, seed):
    _, result = run(tiny(), [1, 5, 2], 3, stalls=stalls, seed=seed)
    assert len(result.tokens) == 3
    assert not result.invalid and not result.overflow


@pytest.mark.parametrize("stalls", [0, 60])
def test_a_text_goes_on_where_an_earlier_run_ended(tiny, stalls):
    compiled, prompt = tiny(), [1, 5, 2, 7]
    tokens = Machine(compiled).run(prompt, 3)
    simulation = Simulation(compiled, stalls=stalls)
    assert simulation.generate(prompt, 2).tokens == tokens[:2]
    # The last token of a run has been chosen, but not processed.
    whole = simulation.generate([*prompt, *tokens[:2]], 1, first_position=5)
    assert whole.tokens == tokens[2:]
    assert simulation.generate(prompt, 3, first_position=2).tokens == tokens


def test_the_machine_fills_the_caches(tiny):
    compiled, prompt = tiny(), [1, 5, 2, 7]
    simulation = Simulation(compiled)
    check = Check(compiled, prompt, 2, first_position=3)
    simulation.load_caches(check.machine)
    simulation.engine.observe(check.observe)
    result = simulation.generate(prompt, 2, first_position=3)
    check.finish(result)
    assert result.tokens == Machine(compiled).run(prompt, 2)
    assert check.count > 50


def test_every_cycle_of_the_mpu_has_a_cause(tiny):
    _, result = run(tiny(), [4], 2)
    counters = dict(result.counters)
    assert counters.pop("CYCLES") == result.cycles > 0
    assert sum(counters.values()) == result.cycles
    assert counters["MPU_BUSY"] > 0


def test_the_check_finds_one_wrong_weight(tiny):
    """One sign bit of one weight: the first wrong write is named."""
    compiled = tiny(layers=1)
    simulation = Simulation(compiled)
    key = next(region for region in compiled.layout.layer if region.name.endswith("attn.key"))
    simulation.hbm[0].array[key.start * compiled.config.word_bytes + 1] ^= 0x80
    check = Check(compiled, [1], 1)
    simulation.engine.observe(check.observe)
    with pytest.raises(Difference, match=r"^position 0, layer 0, instruction \d+ \(conv1d .*\): "
                                         r"chunk \d+: expected 0x[0-9a-f]+, found 0x[0-9a-f]+$"):
        simulation.generate([1], 1)


@pytest.mark.slow
def test_amaranths_own_engine_counts_the_same_cycles(tiny, monkeypatch):
    compiled = tiny(layers=1)
    _, ours = run(compiled, [1, 5], 2, stalls=60)
    monkeypatch.setattr(AmaranthEngine, "simulator_engine", "pysim")
    _, amaranths = run(compiled, [1, 5], 2, stalls=60)
    assert ours.tokens == amaranths.tokens
    assert ours.counters == amaranths.counters


def test_positions_beyond_a_tile_and_a_chunk(tiny):
    """At nano a chunk of scores is 8 positions: go beyond it."""
    run(tiny(layers=1), [1, 2, 3, 4, 5, 6, 7], 5)


@pytest.mark.parametrize("emb,heads", [(20, 5), (12, 3)])
def test_shapes_that_divide_nothing(tiny, emb, heads):
    run(tiny(emb=emb, heads=heads, layers=1, vocabulary=13), [3, 12], 2)


def logits_of(compiled, prompt):
    simulation, _ = run(compiled, prompt, 1)
    address = compiled.run.logits_base
    content = simulation.ddr.array[address:address + 4 * compiled.run.vocabulary]
    assert np.array_equal(content.view("<u4"), _machine_logits(compiled, prompt))
    return content.tobytes()


def _machine_logits(compiled, prompt):
    machine = Machine(compiled)
    machine.run(prompt, 1)
    return machine.logits(0).view("<u4")


@pytest.mark.slow
def test_logits_are_the_same_bits_on_every_shape_of_core(tiny):
    logits = {name: logits_of(tiny(name, logits=True, emb=40, heads=5, layers=1), [7, 0])
              for name in ("nano", "small", "small8", "tall")}
    assert len(set(logits.values())) == 1


def test_logits_arrive_in_ddr(tiny):
    logits_of(tiny(logits=True), [7, 0])


def test_end_of_text_ends_the_run(tiny):
    compiled = tiny()
    free = Machine(compiled).run([1, 5], 6)
    end = free[2]
    expected = free[:free.index(end) + 1]
    compiled = tiny(end_of_text=end)
    _, result = run(compiled, [1, 5], 6)
    assert result.tokens == expected


def test_two_runs_on_one_core(tiny):
    """What a run leaves behind does not reach the next one."""
    compiled = tiny()
    simulation = Simulation(compiled)

    async def host(bus):
        driver = Driver(bus)
        await driver.configure(compiled.run)
        first = await driver.run(compiled.run, [1, 5, 2], 3)
        second = await driver.run(compiled.run, [9], 2)
        again = await driver.run(compiled.run, [1, 5, 2], 3)
        return first, second, again

    first, second, again = simulation.engine.run(host)
    assert first == again == Machine(compiled).run([1, 5, 2], 3)
    assert second == Machine(compiled).run([9], 2)


def test_the_weights_can_come_from_ddr(tiny):
    """The copy program brings the weights into HBM; then the model runs on them."""
    compiled = tiny()
    copy = compile_copy(compiled)
    simulation = Simulation(copy)

    async def host(bus):
        driver = Driver(bus)
        await driver.configure(copy.run)
        assert await driver.run(copy.run, [0], 0) == []
        for channel, storage in enumerate(simulation.hbm):
            image = compiled.hbm[channel]
            found = storage.array[:image.size].copy()
            for first, count in compiled.caches:
                start = first * compiled.config.word_bytes
                found[start:start + count * compiled.config.word_bytes] = 0
            assert np.array_equal(found, image)
        await bus.write_memory(0, compiled.ddr.tobytes())
        await driver.configure(compiled.run)
        return await driver.run(compiled.run, [1, 5], 2)

    assert simulation.engine.run(host) == Machine(compiled).run([1, 5], 2)
