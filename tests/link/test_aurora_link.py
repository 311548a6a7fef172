"""Two ends on a line: nothing is lost, whatever happens to it."""

import importlib.util
import random
from pathlib import Path

import pytest

from dfx_rtl import verilog
from dfx_rtl.link import AuroraLink, DownCause
from sim.link import LineParameters, LinkPair, SoakBench, error_threshold

SHORT = {"slip_cycles": 8, "reset_cycles": 64, "give_up_cycles": 6000, "retry_cycles": 400}
SKEWED = LineParameters(latency=9, skews=(2, 0, 5, 1), alignments=(60, 65, 0, 63))


async def both_up(ctx, pair):
    while not (ctx.get(pair.a.up) and ctx.get(pair.b.up)):
        assert ctx.get(pair.a.down_cause) == DownCause.NONE
        assert ctx.get(pair.b.down_cause) == DownCause.NONE
        await ctx.tick("a")


@pytest.mark.parametrize("lanes, skews, latency", [
    (1, (0,), 11), (2, (0, 0), 13), (4, (2, 0, 5, 1), 18)])
@pytest.mark.parametrize("words", [1, 16])
def test_latency(simulate_pair, lanes, skews, latency, words):
    line = 9
    pair = LinkPair(lanes, LineParameters(latency=line, skews=skews, alignments=(65,) * lanes),
                    **SHORT)
    packet = [random.Random(index).getrandbits(64 * lanes) for index in range(words)]

    async def testbench(ctx):
        await both_up(ctx, pair)
        await ctx.tick("a").repeat(50)
        ctx.set(pair.b.receive.ready, 1)
        ctx.set(pair.a.send.valid, 1)
        cycle = 0
        for index, word in enumerate(packet):
            ctx.set(pair.a.send.payload, {"data": word, "last": index == words - 1})
            assert ctx.get(pair.a.send.ready)
            await ctx.tick("a")
            cycle += 1
        ctx.set(pair.a.send.valid, 0)
        while not ctx.get(pair.b.receive.valid):
            await ctx.tick("a")
            cycle += 1
        # The formula of the docstring: the skew is 5 on the four lanes.
        assert cycle == words + latency + line
        for index, word in enumerate(packet):
            assert ctx.get(pair.b.receive.valid)
            assert ctx.get(pair.b.receive.payload.data) == word
            assert ctx.get(pair.b.receive.payload.last) == (index == words - 1)
            await ctx.tick("a")
        assert not ctx.get(pair.b.receive.valid)
        assert ctx.get(pair.b.packet_count) == 1

    simulate_pair(pair, testbench)


def soak(simulate_pair, lanes, line, *, cycles, packets=0, error=None, stall=0, ppm=0.0, phase=0.0,
         longest=8, act=None, **parameters):
    """Random packets both ways; then everything that was sent must arrive."""
    bench = SoakBench(lanes, line, longest=longest, **{**SHORT, **parameters})
    counts = {}

    async def testbench(ctx):
        ctx.set(bench.send_stall, stall)
        ctx.set(bench.receive_stall, stall)
        ctx.set(bench.error, error or {})
        await ctx.tick("a").repeat(cycles)
        if act:
            await act(ctx, bench)
        ctx.set(bench.stop, 1)
        while ctx.get(bench.sent_count) != ctx.get(bench.received_count):
            await ctx.tick("a").repeat(20)
            assert not ctx.get(bench.failed) and not ctx.get(bench.wrong)
        await ctx.tick("a").repeat(200)
        assert ctx.get(bench.sent_count) == ctx.get(bench.received_count)
        assert not ctx.get(bench.wrong)
        for name in ("received_count", "errors", "retries", "crc_errors", "header_errors"):
            counts[name] = ctx.get(getattr(bench, name))
        assert counts["received_count"] > packets

    simulate_pair(bench, testbench, deadline=cycles + 30_000, ppm=ppm, phase=phase)
    return counts


@pytest.mark.parametrize("lanes, rate, ppm, phase", [
    (1, 1e-6, 100, 0.0), (1, 1e-4, -100, 0.3), (4, 1e-4, 100, 0.7)])
def test_soak(simulate_pair, lanes, rate, ppm, phase):
    counts = soak(simulate_pair, lanes, SKEWED, cycles=2500, packets=150, stall=40, ppm=ppm,
                  phase=phase, error={"threshold": error_threshold(rate), "burst": 1})
    if rate > 1e-5:
        assert counts["retries"] > 0 and counts["crc_errors"] > 0


def test_bursts_and_a_gearbox_that_pauses(simulate_pair):
    line = LineParameters(latency=9, alignments=(60,), pause=33)
    counts = soak(simulate_pair, 1, line, cycles=2500, packets=150, stall=10,
                  error={"threshold": error_threshold(1e-4), "burst": 60})
    assert counts["retries"] > 0


def test_clocks_that_differ_over_compensation(simulate_pair):
    # 400 ppm is more than two oscillators of 100 ppm may differ by.
    counts = soak(simulate_pair, 1, SKEWED, cycles=6000, packets=1000, ppm=400, phase=0.5)
    assert counts["retries"] == counts["crc_errors"] == 0


def test_buffers_of_one_packet(simulate_pair):
    counts = soak(simulate_pair, 1, SKEWED, cycles=2500, packets=50, stall=100, send_words=8,
                  receive_words=8, packet_words=8,
                  error={"threshold": error_threshold(1e-4), "burst": 1})
    assert counts["retries"] > 0


@pytest.mark.parametrize("one_way", [False, True])
def test_throughput(simulate_pair, one_way):
    # At least 95 % of the blocks, with packets of 32 words, both ways or one way.
    bench = SoakBench(1, LineParameters(latency=20), longest=32, fixed=True, **SHORT)

    async def testbench(ctx):
        ctx.set(bench.one_way, one_way)
        await ctx.tick("a").until(bench.up)
        await ctx.tick("a").repeat(100)
        before = ctx.get(bench.word_count)
        # A whole period of compensation.
        await ctx.tick("a").repeat(4847)
        words = ctx.get(bench.word_count) - before
        assert words / 4847 >= 0.967
        assert ctx.get(bench.retries) == 0

    simulate_pair(bench, testbench)


@pytest.mark.parametrize("lanes, noise", [(1, 0), (2, 1)])
def test_cable_pulled_and_put_back(simulate_pair, lanes, noise):
    async def act(ctx, bench):
        for cycles in (3, 30, 300):
            ctx.set(bench.error, {"unplugged": 1, "noise": noise})
            await ctx.tick("a").repeat(cycles)
            ctx.set(bench.error, {})
            await ctx.tick("a").repeat(1200)
            assert ctx.get(bench.up)

    soak(simulate_pair, lanes, SKEWED, cycles=700, packets=100, stall=30, act=act)


def test_a_long_line(simulate_pair):
    # 700 cycles there and back: each end is in reset long before the other one knows.
    pair = LinkPair(1, LineParameters(latency=350), **{**SHORT, "reset_cycles": 1024})

    async def testbench(ctx):
        await both_up(ctx, pair)
        # Just long enough for the lock to be lost, but not the alignment.
        ctx.set(pair.error_a, {"unplugged": 1})
        await ctx.tick("a").repeat(8)
        ctx.set(pair.error_a, {})
        await ctx.tick("a").repeat(720)
        assert not ctx.get(pair.a.up) and not ctx.get(pair.b.up)
        await both_up(ctx, pair)
        for _ in range(20):
            await ctx.tick("a").repeat(100)
            assert ctx.get(pair.a.up) and ctx.get(pair.b.up)

    simulate_pair(pair, testbench)


@pytest.mark.parametrize("end", "ab")
def test_one_lane_loses_its_alignment(simulate_pair, end):
    async def act(ctx, bench):
        ctx.set(getattr(bench.pair, f"realign_{end}"), 2)
        await ctx.tick("a")
        ctx.set(getattr(bench.pair, f"realign_{end}"), 0)
        await ctx.tick("a").repeat(40)
        assert not ctx.get(bench.up)
        await ctx.tick("a").until(bench.up)

    soak(simulate_pair, 2, SKEWED, cycles=700, packets=100, act=act)


def pull_times(count, last):
    return [1 + last * index // count for index in range(count)]


@pytest.mark.parametrize("start", pull_times(5, 500))
def test_pulled_at_any_stage_of_initialisation(simulate_pair, start):
    pair = LinkPair(2, SKEWED, **SHORT)

    async def testbench(ctx):
        await ctx.tick("a").repeat(start)
        # One direction is enough.
        ctx.set(pair.error_b, {"unplugged": 1, "noise": start % 2})
        await ctx.tick("a").repeat(100)
        ctx.set(pair.error_b, {})
        await both_up(ctx, pair)

    simulate_pair(pair, testbench)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(5, 600, 9))
@pytest.mark.parametrize("lanes", [1, 4])
def test_pulled_or_reset_at_every_stage(simulate_pair, lanes, start):
    pair = LinkPair(lanes, SKEWED, **SHORT)

    async def testbench(ctx):
        await ctx.tick("a").repeat(start)
        if start % 2:
            ctx.set(pair.error_a, {"unplugged": 1, "noise": start % 4 == 1})
            await ctx.tick("a").repeat(50 + start % 50)
            ctx.set(pair.error_a, {})
        else:
            ctx.set(pair.reset_a, 1)
            await ctx.tick("a_line").repeat(5)
            ctx.set(pair.reset_a, 0)
        while not (ctx.get(pair.a.up) and ctx.get(pair.b.up)):
            if ctx.get(pair.b.down_cause) == DownCause.REMOTE_RESET:
                # It was up already when the other end was reset.
                assert start % 2 == 0
                ctx.set(pair.b.restart, 1)
                await ctx.tick("b")
                ctx.set(pair.b.restart, 0)
            assert ctx.get(pair.b.down_cause) == DownCause.NONE
            assert ctx.get(pair.a.down_cause) == DownCause.NONE
            await ctx.tick("a")

    simulate_pair(pair, testbench, ppm=100)


@pytest.mark.parametrize("reset", ["reset", "restart"])
def test_one_sided_reset(simulate_pair, put, reset):
    pair = LinkPair(1, SKEWED, **SHORT)

    async def strobe(ctx, end):
        if reset == "reset" and end == "a":
            ctx.set(pair.reset_a, 1)
            await ctx.tick("a_line").repeat(10)
            ctx.set(pair.reset_a, 0)
        else:
            ctx.set(getattr(pair, end).restart, 1)
            await ctx.tick(end)
            ctx.set(getattr(pair, end).restart, 0)

    async def give(ctx, port, data):
        ctx.set(port.payload, {"data": data, "last": 1})
        ctx.set(port.valid, 1)
        await ctx.tick("a").until(port.ready)
        ctx.set(port.valid, 0)

    async def testbench(ctx):
        await both_up(ctx, pair)
        # A packet that b has, and one that it has not acknowledged.
        await give(ctx, pair.a.send, 1)
        await ctx.tick("a").repeat(100)
        await give(ctx, pair.b.send, 2)
        await strobe(ctx, "a")
        while ctx.get(pair.b.down_cause) == DownCause.NONE:
            await ctx.tick("a")
        # The end that lives knows; the other one waits, and neither is up.
        assert ctx.get(pair.b.down_cause) == DownCause.REMOTE_RESET
        assert ctx.get(pair.a.down_cause) == DownCause.NONE
        await ctx.tick("a").repeat(500)
        assert not ctx.get(pair.a.up) and not ctx.get(pair.b.up)
        assert not ctx.get(pair.b.send.ready)
        # What came before is still there.
        assert ctx.get(pair.b.receive.valid)
        assert ctx.get(pair.b.receive.payload.data) == 1
        await strobe(ctx, "b")
        assert not ctx.get(pair.b.receive.valid)
        await both_up(ctx, pair)
        await give(ctx, pair.a.send, 3)
        await ctx.tick("a").repeat(60)
        assert ctx.get(pair.b.receive.payload.data) == 3
        assert not ctx.get(pair.a.receive.valid)

    simulate_pair(pair, testbench)


def test_never_connected(simulate_pair):
    pair = LinkPair(1, SKEWED, **{**SHORT, "give_up_cycles": 1024})

    async def testbench(ctx):
        ctx.set(pair.error_a, {"unplugged": 1})
        ctx.set(pair.error_b, {"unplugged": 1})
        await ctx.tick("a").repeat(1023)
        assert ctx.get(pair.a.down_cause) == DownCause.NONE
        await ctx.tick("a").repeat(2)
        assert ctx.get(pair.a.down_cause) == DownCause.NO_CHANNEL
        assert ctx.get(pair.b.down_cause) == DownCause.NO_CHANNEL
        # A restart of both, and the cable, bring it back.
        for end in "ab":
            ctx.set(getattr(pair, f"error_{end}"), {})
            ctx.set(getattr(pair, end).restart, 1)
        await ctx.tick("a")
        for end in "ab":
            ctx.set(getattr(pair, end).restart, 0)
        await both_up(ctx, pair)

    simulate_pair(pair, testbench)


@pytest.mark.parametrize("lost", ["a", "b", "ab"])
def test_cable_that_stays_pulled(simulate_pair, lost):
    pair = LinkPair(1, SKEWED, **{**SHORT, "give_up_cycles": 2000})

    async def testbench(ctx):
        await both_up(ctx, pair)
        for end in lost:
            ctx.set(getattr(pair, f"error_{end}"), {"unplugged": 1, "noise": 1})
        await ctx.tick("a").repeat(2100)
        assert ctx.get(pair.a.down_cause) == DownCause.NO_CHANNEL
        assert ctx.get(pair.b.down_cause) == DownCause.NO_CHANNEL

    simulate_pair(pair, testbench)


def test_a_packet_that_is_too_long_takes_both_ends_down(simulate_pair):
    pair = LinkPair(1, SKEWED, **{**SHORT, "packet_words": 4, "give_up_cycles": 2000})

    async def testbench(ctx):
        await both_up(ctx, pair)
        ctx.set(pair.a.send.valid, 1)
        await ctx.tick("a").repeat(6)
        assert ctx.get(pair.a.down_cause) == DownCause.LENGTH
        await ctx.tick("a").repeat(2300)
        assert ctx.get(pair.b.down_cause) == DownCause.NO_CHANNEL

    simulate_pair(pair, testbench)


def test_errors_beyond_repair(simulate_pair):
    # Every other block is hit: headers survive, packets do not.
    pair = LinkPair(1, SKEWED, **{**SHORT, "retries": 2})

    async def testbench(ctx):
        await both_up(ctx, pair)
        ctx.set(pair.error_a, {"threshold": 0x80000000, "burst": 1})
        ctx.set(pair.a.send.valid, 1)
        ctx.set(pair.a.send.payload.last, 1)
        await ctx.tick("a")
        ctx.set(pair.a.send.valid, 0)
        await ctx.tick("a").repeat(2500)
        assert ctx.get(pair.a.down_cause) == DownCause.RETRIES

    simulate_pair(pair, testbench)


@pytest.mark.parametrize("lanes", [1, 4])
def test_verilog_is_clean(tmp_path, capsys, lanes):
    path = Path(__file__).parents[2] / "scripts/lint_verilog.py"
    specification = importlib.util.spec_from_file_location("lint_verilog", path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    # The script looks for a top of this name.
    text = tmp_path / "dfx_core.v"
    text.write_text(verilog.convert(AuroraLink(lanes), "dfx_core"))
    assert script.main([str(text)]) == 0
    assert capsys.readouterr().out == f"{text}: clean\n"


@pytest.mark.parametrize("changes, error, text", [
    ({"lanes": 0}, ValueError, "Lanes must be an integer between 1 and 4, not 0"),
    ({"lanes": "1"}, TypeError, "Lanes must be an integer between 1 and 4, not '1'"),
    ({"packet_words": 1024}, ValueError,
     "Packet words must be an integer between 1 and 512, not 1024"),
    ({"send_words": 100}, ValueError,
     "Buffer words must be a power of two between 8 and 32768, not 100"),
    ({"receive_words": 100}, ValueError,
     "Remote words must be a power of two between 8 and 32768, not 100"),
    ({"retry_cycles": 100}, ValueError,
     "Retry time must be an integer between 192 and 16777216, not 100"),
    ({"retries": 0}, ValueError, "Retries must be an integer between 1 and 65536, not 0"),
    ({"give_up_cycles": 1000}, ValueError,
     "Give-up time must be an integer between 1024 and 4294967296, not 1000"),
    ({"slip_cycles": 65}, ValueError, "Slip cycles must be an integer between 1 and 64, not 65"),
    ({"skew": 8}, ValueError, "Skew must be an integer between 1 and 7, not 8"),
    ({"reset_cycles": 1}, ValueError,
     "Reset time must be an integer between 32 and 65536, not 1"),
])
def test_errors(changes, error, text):
    with pytest.raises(error) as raised:
        AuroraLink(**changes)
    assert str(raised.value) == text
