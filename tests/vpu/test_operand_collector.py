# amaranth: UnusedElaboratable=no
from random import Random

import pytest
from amaranth import *
from amaranth.lib import wiring

from dfx_rtl.vpu.operand_collector import OperandCollector
from tests.vpu.bench import pack


class Bench(wiring.Component):
    def __init__(self, tile, lanes):
        self.dut = OperandCollector(tile, lanes)
        self.valid = Signal(64, init=(1 << 64) - 1)
        self.stall = Signal()
        self.scalar_stall = Signal()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [
            dut.operand.ready.eq(self.valid.bit_select(dut.operand.address, 1) & ~self.stall),
            dut.scalar.ready.eq(~self.scalar_stall),
        ]
        return m


def expected_beats(tile, lanes, contents, request):
    """The beats of a request, as (a, b, c, enable, chunk_first, chunk_last, last, statistics)."""
    passes = [1] if request["statistics"] else []
    passes.append(request["last_operand"] + 1)
    beats = []
    for number, operands in enumerate(passes):
        length = request["length"]
        for start in range(0, length, lanes):
            members = []
            for operand in range(operands):
                values = []
                for element in range(start, start + lanes):
                    chunk = request["sources"][operand] + element // tile
                    values.append(contents[chunk][element % tile] if element < length else 0)
                members.append(pack(values))
            last = start + lanes >= length
            beats.append((members, min(length - start, lanes), int(start % tile == 0),
                          int(last or (start + lanes) % tile == 0), int(last),
                          int(len(passes) == 2 and number == 0)))
    return beats


def run(simulate, tile, lanes, requests, *, seed=0, stall=0.0, beat_stall=0.0):
    """Run requests; give the list of lists of beats, and per request the cycles of things."""
    bench = Bench(tile, lanes)
    dut = bench.dut
    random = Random(seed)
    contents = [[random.randrange(1 << 16) for _ in range(tile)] for _ in range(64)]
    scalars = [random.randrange(1 << 32) for _ in range(16)]
    timings = []

    async def testbench(ctx):
        for request in requests:
            expected = expected_beats(tile, lanes, contents, request) if request["vector"] else []
            # The fields of a request by their order: a dict sets them by name.
            ctx.set(dut.requests.payload, request)
            ctx.set(dut.requests.valid, 1)
            seen, reads, moments = [], [], []
            cycle = 0
            wanted = request["first_enable"] + request["second_enable"]
            while len(seen) < len(expected) or wanted > 0:
                ctx.set(bench.stall, random.random() < stall)
                ctx.set(bench.scalar_stall, random.random() < stall)
                ctx.set(dut.beats.ready, random.random() >= beat_stall)
                beat = dut.beats.payload
                _, _, *sample = await ctx.tick().sample(
                    dut.requests.ready, dut.operand.valid, dut.operand.ready,
                    dut.operand.address, dut.scalar.valid, dut.scalar.ready, dut.scalar.address,
                    dut.beats.valid, dut.beats.ready, beat.a.as_value(), beat.b.as_value(),
                    beat.c.as_value(), beat.enable, beat.chunk_first, beat.chunk_last,
                    beat.last, beat.statistics, dut.scalars_valid)
                (taken, valid, ready, address, scalar_valid, scalar_ready, scalar_address,
                 beat_valid, beat_ready, a, b, c, enable, first, chunk_last, last, statistics,
                 scalars_valid) = sample
                if cycle == 0:
                    assert taken
                    ctx.set(dut.requests.valid, 0)
                if valid and ready:
                    ctx.set(dut.operand.data.as_value(), pack(contents[address]))
                    reads.append((cycle, address))
                if scalar_valid and scalar_ready:
                    ctx.set(dut.scalar.data.as_value(), scalars[scalar_address])
                    wanted -= 1
                if beat_valid and beat_ready:
                    assert scalars_valid
                    moments.append(cycle)
                    seen.append(([a, b, c], enable, first, chunk_last, last, statistics))
                cycle += 1
            ctx.set(dut.beats.ready, 0)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.requests.ready)
            assert not ctx.get(dut.beats.valid)
            assert not ctx.get(dut.operand.valid)
            for got, (members, count, *rest) in zip(seen, expected, strict=True):
                assert got[0][:len(members)] == members
                assert list(got[1:]) == [(1 << count) - 1, *rest]
            pair = ctx.get(dut.scalars.as_value())
            assert ctx.get(dut.scalars_valid)
            if request["first_enable"]:
                assert pair & 0xFFFFFFFF == scalars[request["first"]]
            if request["second_enable"]:
                assert pair >> 32 == scalars[request["second"]]
            timings.append((reads, moments))

    simulate(bench, testbench)
    return timings


def make_request(length, operands=1, *, statistics=0, first=0, second=0):
    return {"vector": int(operands > 0), "sources": [3, 20, 40],
            "last_operand": max(operands - 1, 0), "statistics": statistics, "length": length,
            "first_enable": first, "first": 5, "second_enable": second, "second": 9}


@pytest.mark.parametrize("tile,lanes", [(8, 2), (16, 4), (8, 8), (8, 1)])
@pytest.mark.parametrize("stall,beat_stall", [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_random(simulate, tile, lanes, stall, beat_stall):
    random = Random(tile + lanes)
    requests = [make_request(random.randint(1, 6 * tile), random.randint(1, 3),
                             statistics=random.randint(0, 1), first=random.randint(0, 1),
                             second=random.randint(0, 1)) for _ in range(12)]
    requests.append(make_request(0, 0, first=1, second=1))
    requests.append(make_request(0, 0))
    requests.append(make_request(1, 3, statistics=1))
    run(simulate, tile, lanes, requests, stall=stall, beat_stall=beat_stall)


@pytest.mark.parametrize("tile,lanes", [(8, 2), (16, 4), (8, 8), (8, 1)])
@pytest.mark.parametrize("operands", [1, 2, 3])
def test_latency_and_throughput(simulate, tile, lanes, operands):
    (reads, moments), = run(simulate, tile, lanes, [make_request(5 * tile, operands)])
    beats = tile // lanes
    assert reads[0] == (1, 3)
    # The first beat: two cycles after the last operand of the chunk was read.
    assert moments[0] == operands + 2
    assert moments[-1] - moments[0] == 4 * max(beats, operands) + beats - 1


def test_beats_wait_for_scalars(simulate):
    (_, moments), = run(simulate, 8, 2, [make_request(8, 1, first=1, second=1)])
    assert moments[0] == 4


def test_second_pass_is_prefetched(simulate):
    (reads, moments), = run(simulate, 8, 2, [make_request(16, 3, statistics=1)])
    statistics_end = moments[7]
    # The first chunk of each operand has been read while the statistics streamed.
    assert [address for cycle, address in reads if cycle < statistics_end] == [3, 4, 3, 20, 40]
    assert moments[8] == statistics_end + 1


def test_lanes_wrong():
    with pytest.raises(ValueError) as error:
        OperandCollector(8, 3)
    assert str(error.value) == ("Lanes of an operand collector must divide the tile of 8, "
                                "which 3 does not")
