import random
import re

import pytest

from sim.engines.verilate import EngineError
from sim.link import LineParameters, SoakBench, error_threshold, soak
from sim.link.soak import CompiledBench


@pytest.mark.slow
@pytest.mark.parametrize("lanes, rate", [(1, "1e-4"), (1, "1e-6"), (4, "1e-6")])
def test_a_million_packets(capsys, lanes, rate):
    assert soak.main(["--lanes", str(lanes), "--rate", rate, "--ppm", "100", "--stall", "16"]) == 0
    out = capsys.readouterr().out
    assert int(re.search(r"received_count (\d+)", out)[1]) >= 1_000_000
    assert int(re.search(r"retries (\d+)", out)[1]) > 100
    assert "every packet arrived once, in order and right" in out


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--one-way"], ["--pause", "33"]])
def test_throughput(capsys, arguments):
    assert soak.main(["--fixed", "--packets", "50000", *arguments]) == 0
    share = re.search(r"words: ([\d.]+) of the blocks", capsys.readouterr().out)[1]
    # 32 / 33 x 4840 / 4847 = 0.9683.
    assert float(share) == pytest.approx(0.9683, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_cable_that_is_pulled_a_thousand_times(lanes):
    line = LineParameters(latency=20, skews=(1, 0, 3), alignments=(65, 0, 60))
    compiled = CompiledBench(SoakBench(lanes, line, longest=16, slip_cycles=8, reset_cycles=128,
                                       retry_cycles=1000, give_up_cycles=50_000), ppm=-100)
    generator = random.Random(lanes)
    compiled.set("send_stall", 40)
    compiled.set("receive_stall", 80)
    unplugged, noise = 1 << 39, 1 << 40
    for _ in range(1000):
        rate = generator.choice((0.0, 1e-5, 1e-4))
        compiled.set("error", error_threshold(rate) | generator.choice((1, 30)) << 32)
        compiled.run(generator.choice((50, 500, 2500)) + generator.randrange(500))
        compiled.set("one_line", generator.randrange(2))
        compiled.set("error", unplugged | noise * generator.randrange(2))
        compiled.run(1 + generator.randrange(generator.choice((10, 40, 400))))
        compiled.set("one_line", 0)
        assert not compiled.get("wrong") and not compiled.get("failed")
    compiled.set("error", 0)
    compiled.set("stop", 1)
    compiled.run(20_000)
    assert compiled.get("up")
    assert compiled.get("sent_count") == compiled.get("received_count") > 20_000
    assert not compiled.get("wrong")


@pytest.mark.slow
def test_a_link_that_fails_is_told():
    compiled = CompiledBench(SoakBench(1, LineParameters(), retries=1, retry_cycles=400))
    compiled.run(6000)
    assert compiled.get("up") == 1
    compiled.set("error", 0x80000000 | 1 << 32)
    compiled.run(100_000)
    assert compiled.get("failed") == 1 and compiled.get("wrong") == 0


def test_without_a_compiler(monkeypatch, capsys):
    def missing():
        raise EngineError("the compiled engine needs a C++ compiler")

    monkeypatch.setattr(soak, "Toolchain", missing)
    assert soak.main([]) == 2
    assert capsys.readouterr().err == "soak: the compiled engine needs a C++ compiler\n"
