"""The profile: it accounts for every cycle, says what the trace says, and its files open."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from dfx_rtl.control.activity import Account
from dfx_rtl.gpt2 import Tokenizer
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.isa import Opcode, Unit
from dfx_rtl.model.machine import Machine
from sim.generate import main
from sim.profile import Recording, Timeline, activity_spans
from sim.profile_page import window
from sim.simulation import Simulation
from sim.system import TRACE, ProfileLayout

PROMPT, COUNT = [1, 5], 2


def record(compiled, *, engine="amaranth", stalls=0, writes=None, count=COUNT):
    """A run: its recording and its result; ``writes`` takes what the core writes."""
    simulation, recording = Simulation(compiled, engine, stalls=stalls), Recording()
    if writes is not None:
        simulation.engine.observe(lambda kind, write: writes.append((kind, write)), TRACE)
    return recording, simulation.generate(PROMPT, count, recording=recording)


@pytest.fixture
def profile(tiny):
    def run(compiled=None, **options):
        compiled = compiled or tiny("nano")
        recording, result = record(compiled, **options)
        return Timeline(compiled, len(PROMPT), recording, result), result
    return run


@pytest.mark.parametrize("stalls", [0, 60])
def test_every_cycle_and_every_write(profile, stalls):
    writes = []
    timeline, result = profile(stalls=stalls, writes=writes)
    counters = result.counters
    assert timeline.cycles == counters["CYCLES"]
    assert timeline.causes == [counters[f"MPU_{cause.name}"] for cause in Account]
    assert sum(timeline.causes) == timeline.cycles

    # The segments are all cycles, and each has the tiles of its instruction.
    segments, shape = timeline.segments, timeline.compiled.shape
    assert [segment.start for segment in segments] == [0, *(segment.end
                                                            for segment in segments[:-1])]
    assert segments[-1].end == timeline.cycles
    assert [segment.name for segment in (segments[0], segments[-1])] == ["start", "end"]
    for key in (lambda segment: timeline.layer_name(segment.layer),
                lambda segment: timeline.kind(segment.number)):
        totals = timeline.totals(key)
        assert np.sum([total.cycles for total in totals], axis=0).tolist() == timeline.causes
        assert sum(total.count for total in totals) == len(segments) - 2
    positions = timeline.totals(lambda segment: segment.position)[1:-1]
    assert [total.cycles[Account.BUSY] for total in positions] == [
        shape.useful_tiles(position, head=position > 0) for position in range(3)]

    # Each instruction is there once for each time that it is executed.
    program = timeline.compiled.instructions
    opcodes = [entry.opcode for entry in program]
    for number, entry in enumerate(program):
        times = 3
        if number < opcodes.index(Opcode.TOKEN):
            times = 1
        elif opcodes.index(Opcode.LAYER) < number < opcodes.index(Opcode.NEXT_LAYER):
            times = 3 * 2
        elif number > opcodes.index(Opcode.LM_HEAD):
            times = 2
        found = [span for span in timeline.spans if span.number == number]
        assert len(found) == (0 if entry.unit is None else times), entry
        assert all(span.unit == entry.unit for span in found)

    # No two spans of a row overlap.
    ends = defaultdict(int)
    for span in timeline.spans:
        assert ends[span.unit, span.row] <= span.start < span.end <= timeline.cycles
        ends[span.unit, span.row] = span.end

    # What an instruction writes, it writes within its span.
    spans = {(span.number, span.layer, span.position): span for span in timeline.spans}
    for kind, write in writes:
        tag = write["tag"]
        span = spans[tag.instruction, tag.layer, tag.position]
        assert span.start <= write["cycle"] - timeline.start < span.end, (kind, span)
    assert len(writes) > 200
    assert [cycle for _, cycle in timeline.tokens] == [
        write["cycle"] - timeline.start for kind, write in writes if kind == "token"][-2:]
    assert timeline.stores.sum() == sum(kind == "store" for kind, _ in writes)


def test_an_early_end(profile, tiny):
    compiled = tiny("nano", layers=1)
    token, = Machine(compiled).run(PROMPT, 1)
    ending = replace(compiled, run=replace(compiled.run, end_of_text=token))
    timeline, result = profile(ending, count=5)
    assert len(timeline.tokens) == 1
    assert timeline.causes == [result.counters[f"MPU_{cause.name}"] for cause in Account]
    # Nothing of the position that had begun ever ends.
    positions = {unit: {span.position for span in timeline.spans if span.unit == unit}
                 for unit in Unit}
    assert positions[Unit.MPU] == {0, 1} and positions[Unit.LOAD] == {0, 1, 2}
    assert max(span.end for span in timeline.spans) <= timeline.cycles


def test_a_recording_finds_the_run():
    def value(**members):
        return ProfileLayout.const(members).as_bits()

    recording = Recording()
    wait = value(account=Account.ISSUE)
    for cycle, word in [(0, wait), (3, value(clear=1)), (4, wait), (7, value(clear=1)),
                        (8, wait), (9, wait), (11, value(taken=3)), (13, value(ddr_read=1)),
                        (15, value(clear=1)), (16, wait)]:
        recording.add(cycle, word)
    start, members = recording.run(10)
    assert start == 8
    assert members["taken"].tolist() == [0, 0, 0, 3, 3, 0, 0, 0, 0, 0]
    assert members["ddr_read"].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert members["account"].tolist() == [8, 8, 8, 0, 0, 0, 0, 0, 8, 8]


def test_many_stalls_are_merged():
    random = np.random.default_rng(1)
    lengths = random.choice([1, 2, 3, 400], 100_000, p=[.4, .3, .295, .005])
    activity = np.repeat(random.integers(0, len(Account), 100_000), lengths)
    spans = activity_spans(activity, 5000)
    assert 1000 < len(spans) <= 5000
    assert [start for start, _, _ in spans[1:]] == [end for _, end, _ in spans[:-1]]
    assert all(sum(cycles) == end - start for start, end, cycles in spans)
    assert np.sum([cycles for *_, cycles in spans], axis=0).tolist() == np.bincount(
        activity).tolist()
    # What is long stays as it is.
    assert sum(max(cycles) == sum(cycles) >= 400 for *_, cycles in spans) > 300
    exact = activity_spans(activity, 1_000_000)
    assert all(sum(map(bool, cycles)) == 1 for *_, cycles in exact)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model"
    write_random_checkpoint(path, emb=16, layers=2, heads=2, vocabulary=20, positions=12, seed=5)
    return path, Tokenizer.load(path).decode([5, 6])


def test_files(checkpoint, tmp_path, capsys):
    path, prompt = checkpoint
    result = tmp_path / "result.json"
    assert main([str(path), "--prompt", prompt, "--tokens", "2", "--json", str(result),
                 "--profile", str(tmp_path / "run.html")]) == 0
    assert re.search(r"^profile: \S+run.json, \S+run.html, \S+run.svg$", capsys.readouterr().err,
                     re.MULTILINE)
    counters = json.loads(result.read_text())["counters"]
    total = counters.pop("CYCLES")

    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events
             if event["name"] == "thread_name"}
    assert {"MPU activity", *Unit.__members__} <= set(names.values())
    assert all("pid" in event and event["ph"] in "MXCi" for event in events)
    spans, causes = defaultdict(list), defaultdict(int)
    for event in events:
        if event["ph"] == "X":
            spans[names[event["tid"]]].append(event)
    for track, entries in spans.items():
        if track.startswith("program"):
            continue
        for before, after in zip(entries, entries[1:], strict=False):
            assert before["ts"] + before["dur"] <= after["ts"], track
    for event in spans["MPU activity"]:
        for cause, count in event["args"].items():
            causes[f"MPU_{cause}"] += count
    assert {name: causes.get(name, 0) for name in counters} == counters
    assert sum(event["dur"] for event in spans["MPU activity"]) == total
    assert any(re.match(r"conv1d key = normal\.0 x layer\.attn\.key \+", event["name"])
               and event["args"]["layer"] == 1 and event["args"]["position"] == 2
               for event in spans["MPU"])
    assert {event["name"].split(":")[0] for event in events if event["ph"] == "C"} == {
        "HBM tiles", "DDR beats", "K, V to HBM"}

    page = (tmp_path / "run.html").read_text()
    assert not re.search(r"https?:|src=|href=|@[A-Z]+@", page)
    view = json.loads(re.search(r"const view = (.*);\n", page)[1])
    assert np.sum([span[2:] for span in view["activity"]], axis=0).tolist() == [
        counters[f"MPU_{cause.name}"] for cause in Account]
    assert sum(view["counters"][0]["values"]) == counters["MPU_BUSY"]
    for cause in counters.values():
        assert f"<b>{cause:,}</b>" in page
    for name in ("layer 1", "LM head", "conv1d mlp.fc", "softmax", "store_value", "position 2"):
        assert f"<td>{name}</td>" in page

    picture = ElementTree.parse(tmp_path / "run.svg")
    texts = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"MPU cycles", "MPU", "VPU", "LOAD", "STORE", "HBM tiles", "DDR beats"} <= texts


def test_windows_share_out_the_whole():
    view = {
        "note": "a run", "cycles": 100, "title": "", "names": [], "labels": [],
        "causes": [{"name": "BUSY", "cycles": 84}, {"name": "ISSUE", "cycles": 16}],
        "strips": [{"name": "layer", "spans": [[0, 60, "a"], [60, 100, "b"]]}],
        "activity": [[0, 30, 30, 0], [30, 50, 4, 16], [50, 100, 50, 0]],
        "units": [{"name": "MPU", "rows": 1, "spans": [[0, 10, 55, 7, 0, 1]]}],
        "counters": [{"name": "tiles", "size": 10, "values": list(range(10)), "total": 45}],
        "tokens": [[20, "x"], [70, "y"]],
    }
    before, behind = window(view, 0, 40), window(view, 40, 100)
    assert before["activity"] == [[0, 30, 30, 0], [30, 40, 2, 8]]
    assert behind["activity"] == [[0, 10, 2, 8], [10, 60, 50, 0]]
    assert before["units"][0]["spans"] == [[0, 10, 40, 7, 0, 1]]
    assert behind["units"][0]["spans"] == [[0, 0, 15, 7, 0, 1]]
    assert behind["strips"][0]["spans"] == [[0, 20, "a"], [20, 60, "b"]]
    assert before["tokens"] == [[20, "x"]] and behind["tokens"] == [[30, "y"]]
    assert before["counters"][0]["total"] + behind["counters"][0]["total"] == 45
    assert [cause["cycles"] for cause in before["causes"]] == [32, 8]
    assert behind["note"] == "a run; here cycles 40 to 100"


def test_no_directory(checkpoint, capsys):
    path, prompt = checkpoint
    assert main([str(path), "--prompt", prompt, "--tokens", "1",
                 "--profile", "/nowhere/run"]) == 2
    assert capsys.readouterr() == (
        "", "error: profile /nowhere/run cannot be written: no such directory\n")


@pytest.mark.slow
def test_the_compiled_engine_records_the_same(tiny):
    compiled = tiny("nano")
    recordings = [record(compiled, engine=engine, stalls=60) for engine in ("amaranth", "compiled")]
    timelines = [Timeline(compiled, len(PROMPT), *recording) for recording in recordings]
    for name in ("start", "cycles", "spans", "segments", "tokens"):
        assert getattr(timelines[0], name) == getattr(timelines[1], name)
    for name in ("activity", "ddr_reads", "ddr_writes", "stores"):
        assert (getattr(timelines[0], name) == getattr(timelines[1], name)).all()
