"""Cores in a ring: tokens of one core, every write compared, links that fail."""

import pytest

from dfx_rtl.bus.axi import Response
from dfx_rtl.compiler import compile
from dfx_rtl.compiler.cluster import compile_cluster
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.host.cluster import ClusterError
from dfx_rtl.link import DownCause
from dfx_rtl.model.cluster import Cluster
from dfx_rtl.model.machine import Machine
from sim.check import Check, Difference
from sim.memory.timing import FaultKind
from sim.profile import Recording, Timeline
from sim.simulation import Simulation

TINY = {"emb": 16, "layers": 1, "heads": 2, "vocabulary": 23, "positions": 16, "seed": 3}
PROMPT, COUNT = [1, 5], 2
WATCHDOG = 1200


@pytest.fixture
def tiny(tmp_path):
    """``tiny(3, ring="unidirectional")``: programs of a small model for a ring."""

    def make(cores, config="nano", *, ring="bidirectional", layernorm="explicit", **changes):
        path = tmp_path / "-".join(["model", *map(str, changes.values())])
        if not path.exists():
            write_random_checkpoint(path, **{**TINY, **changes})
        checkpoint = Checkpoint.load(path)
        models = compile_cluster(checkpoint, CONFIGS[config], cores, ring=ring,
                                 layernorm=layernorm)
        expected = Machine(compile(checkpoint, CONFIGS[config], layernorm=layernorm)).run(
            PROMPT, COUNT)
        return models, expected

    return make


def run(models, expected, engine="amaranth", **options):
    """Run with every write compared; returns all that must not depend on engine and threads."""
    simulation = Simulation(models, engine, **options)
    check = Check(models, PROMPT, COUNT)
    simulation.engine.observe(check.observe)
    result = simulation.generate(PROMPT, COUNT)
    check.finish(result)
    assert result.tokens == expected
    assert check.count > 50 * len(models)
    assert len(result.cores) == len(models) and result.counters == result.cores[0].counters
    for core in result.cores:
        counters = dict(core.counters)
        assert counters.pop("CYCLES") == sum(counters.values()) > 0
    return result.tokens, result.token_cycles, result.cores, check.count


@pytest.mark.parametrize("cores, ring, layernorm, stalls, hop_latency", [
    (2, "bidirectional", "explicit", 0, 3),
    (3, "unidirectional", "folded", 60, 20),
])
def test_every_write_equals_the_machine(tiny, cores, ring, layernorm, stalls, hop_latency):
    models, expected = tiny(cores, ring=ring, layernorm=layernorm)
    run(models, expected, stalls=stalls, hop_latency=hop_latency)


@pytest.mark.slow
@pytest.mark.parametrize("layernorm", ["explicit", "folded"])
@pytest.mark.parametrize("ring", ["bidirectional", "unidirectional"])
@pytest.mark.parametrize("cores, config", [(1, "nano"), (2, "nano"), (3, "nano"), (2, "small"),
                                           (3, "small")])
def test_both_engines_give_the_same_cycles(tiny, cores, config, ring, layernorm):
    models, expected = tiny(cores, config, ring=ring, layernorm=layernorm, emb=24, layers=2,
                            vocabulary=67)
    for stalls, hop_latency in ((0, 90), (60, 20)):
        options = {"stalls": stalls, "hop_latency": hop_latency, "seed": 2}
        compiled = run(models, expected, "compiled", **options)
        assert compiled == run(models, expected, "amaranth", **options)


@pytest.mark.slow
def test_threads_and_distance(tiny):
    """Threads change nothing; a longer way costs time, and only that."""
    models, expected = tiny(4, emb=64, layers=3, vocabulary=67)
    cycles = []
    for hop_latency in (3, 90, 400):
        outcomes = [run(models, expected, "compiled", hop_latency=hop_latency, threads=threads)
                    for threads in (1, 2, 3, 8)]
        assert all(outcome == outcomes[0] for outcome in outcomes)
        cycles.append(outcomes[0][2][0].counters["CYCLES"])
    assert cycles == sorted(set(cycles))


def test_a_text_goes_on_from_the_machines_caches(tiny):
    models, _ = tiny(2, ring="unidirectional")
    prompt = [1, 5, 2, 7]
    simulation = Simulation(models, hop_latency=10)
    check = Check(models, prompt, 1, first_position=3)
    simulation.load_caches(check.machine)
    simulation.engine.observe(check.observe)
    recording = Recording()
    result = simulation.generate(prompt, 1, first_position=3, recording=recording)
    check.finish(result)
    assert result.tokens == Cluster(models).run(prompt, 1)
    timeline = Timeline(models[0], len(prompt), recording, result, first_position=3)
    assert timeline.causes == [result.counters[name] for name in result.counters
                               if name != "CYCLES"]


def test_the_check_names_the_core(tiny):
    """One sign bit of one weight of the second core."""
    models, _ = tiny(2)
    key = next(region for region in models[1].layout.layer if region.name.endswith("attn.key"))
    simulation = Simulation(models, hop_latency=10)
    hbm, _ = simulation.memories[1]
    hbm[0].array[key.start * models[1].config.word_bytes + 1] ^= 0x80
    check = Check(models, [1], 1)
    simulation.engine.observe(check.observe)
    with pytest.raises(Difference, match=r"^core 1, position 0, layer 0, instruction \d+ "
                                         r"\(conv1d .*\): chunk \d+: expected 0x[0-9a-f]+, "
                                         r"found 0x[0-9a-f]+$"):
        simulation.generate([1], 1)


def fail(models, engine="amaranth", **options):
    """A run that fails: its error."""
    faults = options.pop("faults", None)
    simulation = Simulation(models, engine, hop_latency=10, **options)
    with pytest.raises(ClusterError) as caught:
        simulation.generate(PROMPT, COUNT, watchdog=WATCHDOG, faults=faults)
    error = caught.value
    assert sorted(error.errors) == list(range(len(models))) and not error.running
    return error


def test_a_dead_link_stops_every_core(tiny):
    models, _ = tiny(2)
    error = fail(models, link_fault=(0, 0, 1300))
    assert {entry.cause for entry in error.errors.values()} == {Cause.WATCHDOG_LINK}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["amaranth", "compiled"])
@pytest.mark.parametrize("cores, ring, fault", [
    (2, "unidirectional", (1, 0, 1250)), (3, "bidirectional", (2, 0, 0)),
    (3, "bidirectional", (0, 1, 1400)), (3, "unidirectional", (2, 1, 1400)),
])
def test_dead_links(tiny, engine, cores, ring, fault):
    models, _ = tiny(cores, ring=ring)
    error = fail(models, engine, link_fault=fault)
    assert {entry.cause for entry in error.errors.values()} == {Cause.WATCHDOG_LINK}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["amaranth", "compiled"])
def test_a_memory_of_one_core(tiny, engine):
    """The core whose memory fails is named; the others wait for it in vain."""
    models, _ = tiny(2)
    error = fail(models, engine, faults={(1, 1): {"kind": FaultKind.READ_SLVERR, "after": 7}})
    assert (error.core, error.cause, error.place) == (1, Cause.HBM_READ, 1)
    assert error.response is Response.SLVERR
    assert error.errors[0].cause == Cause.WATCHDOG_LINK
    assert str(error) == (f"core 1 stopped: HBM_READ at 1 (SLVERR); core 0 stopped: "
                          f"WATCHDOG_LINK at {error.errors[0].place}")


@pytest.mark.slow
@pytest.mark.parametrize("cores, ring, rate", [(2, "bidirectional", 0), (2, "bidirectional", 1e-4),
                                               (3, "unidirectional", 1e-4)])
def test_the_links_of_the_card(tiny, cores, ring, rate):
    """Blocks are hit on the lines, and no flit is lost or wrong."""
    models, expected = tiny(cores, ring=ring)
    options = {"link": "aurora", "bit_error_rate": rate, "hop_latency": 20, "stalls": 30}
    compiled, ours = (run(models, expected, engine, **options)
                      for engine in ("compiled", "amaranth"))
    # The hosts look at different times: later, more blocks have been hit.
    assert compiled[:2] == ours[:2] and compiled[3] == ours[3]
    assert [core.counters for core in compiled[2]] == [core.counters for core in ours[2]]
    assert all((core.line_error_count > 0) == (rate > 0) for core in compiled[2])


@pytest.mark.slow
@pytest.mark.parametrize("cores, cycle", [(2, 2600), (3, 0)])
def test_a_line_that_is_cut(tiny, cores, cycle):
    """The link layers of its two ends notice; another core waits in vain."""
    models, _ = tiny(cores)
    simulation = Simulation(models, "compiled", link="aurora", link_fault=(0, 0, cycle))
    with pytest.raises(ClusterError) as caught:
        simulation.generate(PROMPT, COUNT)
    errors = caught.value.errors
    no_channel = DownCause.NO_CHANNEL.value
    assert (errors[0].cause, errors[0].place) == (Cause.LINK, no_channel)
    assert (errors[1].cause, errors[1].place) == (Cause.LINK, 1 << 8 | no_channel)
    assert [errors[core].cause for core in range(2, cores)] == [Cause.WATCHDOG_LINK] * (cores - 2)


@pytest.mark.parametrize("cores, options, message", [
    (2, {"link": "rope"}, "link must be one of plain, aurora, not 'rope'"),
    (1, {"link": "aurora"}, "link aurora is for at least 2 cores: one core has no links"),
    (2, {"link": "aurora", "bit_error_rate": 0.1}, "bit error rate must be in 0..0.01, not 0.1"),
    (2, {"bit_error_rate": 1e-6},
     "link plain has no bits: a bit error rate needs link aurora"),
    (2, {"link": "aurora", "hop_latency": 5}, "hop latency must be in 6..1000, not 5"),
])
def test_links_that_cannot_be(tiny, cores, options, message):
    models, _ = tiny(cores)
    with pytest.raises(ValueError) as caught:
        Simulation(models, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("cores, fault", [(1, (0, 0, 9)), (2, (2, 0, 9))])
def test_a_link_that_is_not_there(tiny, cores, fault):
    models, _ = tiny(cores)
    with pytest.raises(ValueError) as caught:
        Simulation(models, link_fault=fault)
    assert str(caught.value) == f"link fault of core {fault[0]}: the ring has {cores} cores"
