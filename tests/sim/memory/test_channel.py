# amaranth: UnusedElaboratable=no
import random
import re

import numpy as np
import pytest
from amaranth import *
from amaranth.back import verilog

from dfx_rtl.bus.axi import *
from sim.memory.channel import *
from sim.memory.checker import *
from sim.memory.storage import *
from sim.memory.timing import *

HBM = Axi3Signature(33, 256, 6)
DDR = Axi4Signature(34, 512, 2)
SIZE = 1 << 15


class Bench(Elaboratable):
    """A port with its storage, and a second, complete checker."""

    def __init__(self, signature=HBM, size=SIZE, seed=0, **parameters):
        self.port = MemoryPort(signature, size, **parameters)
        self.bus = self.port.bus
        self.hub = StorageHub([self.port.storage])
        image = np.random.default_rng(seed).integers(256, size=size, dtype=np.uint8)
        self.storage = Storage(size, signature.beat_bytes, image)
        self.checker = AxiChecker(self.bus, depth=128)
        self.signature = signature

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = self.port
        m.submodules.hub = self.hub
        m.submodules.checker = self.checker
        return m

    def run(self, simulate, *testbenches, background=(), timing=None, fault=None, clean=True):
        async def prepare(ctx):
            ctx.set(self.port.timing, (timing or Timing()).to_const())
            ctx.set(self.port.fault, fault or {"kind": FaultKind.NONE, "after": 0})
            for prefix in ("ar", "aw"):
                ctx.set(getattr(self.bus, f"{prefix}size"), self.signature.size)
                ctx.set(getattr(self.bus, f"{prefix}burst"), Burst.INCR)

        async def check(ctx):
            async for _, _, *violations in ctx.tick().sample(self.checker.violation,
                                                             self.port.violation):
                assert violations == [Violation.NONE, Violation.NONE]

        async def both(ctx):
            await prepare(ctx)
            await testbenches[0](ctx)

        simulate(self, both, *testbenches[1:],
                 background=[serve(self.hub, [self.storage]), *background,
                             *([check] if clean else [])])


async def settled(ctx):
    """Past the first cycles after reset, in which the port is not ready."""
    await ctx.tick().repeat(4)


async def move(ctx, bus, channel, choice=None, **payload):
    """One beat from the manager."""
    while choice is not None and choice.random() < .4:
        await ctx.tick()
    for name, value in payload.items():
        ctx.set(getattr(bus, channel + name), value)
    ctx.set(getattr(bus, f"{channel}valid"), 1)
    await ctx.tick().until(getattr(bus, f"{channel}ready"))
    ctx.set(getattr(bus, f"{channel}valid"), 0)


def collector(bus, channel, names, beats, choice=None):
    """A testbench that takes beats, with the cycle of each: ``beats`` of (cycle, *values)."""
    async def testbench(ctx):
        if choice is None:
            ctx.set(getattr(bus, f"{channel}ready"), 1)
        cycle = 0
        signals = [getattr(bus, channel + name) for name in ("valid", "ready", *names)]
        async for _, _, valid, ready_, *values in ctx.tick().sample(*signals):
            if valid and ready_:
                beats.append((cycle, *values))
            if choice is not None:
                ctx.set(getattr(bus, f"{channel}ready"), choice.random() < .6)
            cycle += 1
    return testbench


def watcher(bus, names, trace):
    async def testbench(ctx):
        async for _, _, *values in ctx.tick().sample(*(getattr(bus, name) for name in names)):
            trace.append(tuple(values))
    return testbench


def first(trace, column, value=1):
    return next(cycle for cycle, row in enumerate(trace) if row[column] == value)


@pytest.mark.parametrize("signature", [HBM, DDR])
@pytest.mark.parametrize("seed", range(4))
def test_random(simulate, signature, seed):
    """Random bursts, data, strobes and pauses: writes to one half, reads from the other."""
    bench = Bench(signature, seed=seed, base_address=2 * SIZE)
    bus, beat_bytes = bench.bus, signature.beat_bytes
    choice = random.Random(seed)
    pauses = random.Random(seed) if seed else None
    timing = [Timing(), Timing(latency=9, write_latency=7, row_miss=5, turnaround=3),
              Timing(latency=20, stall_threshold=100, seed=seed, outstanding=3),
              Timing.hbm(stall_threshold=40, refresh_interval=90, refresh_length=30)][seed]
    model = bench.storage.array.copy()
    preset = model.copy()
    half = SIZE // 2

    def burst(start):
        length = choice.choice([0, 0, 1, 7, signature.max_beats - 1, choice.randrange(16)])
        length = min(length, BOUNDARY_BYTES // beat_bytes - 1)
        page = choice.randrange(half // BOUNDARY_BYTES)
        beat = choice.randrange(BOUNDARY_BYTES // beat_bytes - length)
        return (start + page * BOUNDARY_BYTES + beat * beat_bytes, length,
                choice.randrange(1 << signature.id_width))

    reads = [burst(half) for _ in range(25)]
    writes = [(*burst(0), []) for _ in range(25)]
    for address, length, _, beats in writes:
        for beat in range(length + 1):
            data = choice.randbytes(beat_bytes)
            strobe = choice.choice([0, choice.getrandbits(beat_bytes), (1 << beat_bytes) - 1])
            beats.append((int.from_bytes(data, "little"), strobe))
            for index in range(beat_bytes):
                if strobe >> index & 1:
                    model[address + beat * beat_bytes + index] = data[index]

    async def read_addresses(ctx):
        await settled(ctx)
        for address, length, id in reads:
            await move(ctx, bus, "ar", pauses, addr=2 * SIZE + address, len=length, id=id)

    async def write_addresses(ctx):
        await settled(ctx)
        for address, length, id, _ in writes:
            await move(ctx, bus, "aw", pauses, addr=2 * SIZE + address, len=length, id=id)
            issued.append(id)

    async def write_data(ctx):
        for number, (_, _, _, beats) in enumerate(writes):
            while len(issued) <= number:
                await ctx.tick()
            for index, (data, strobe) in enumerate(beats):
                await move(ctx, bus, "w", pauses, data=data, strb=strobe,
                           last=index == len(beats) - 1)

    async def wait(ctx):
        while len(answers) < len(writes) or len(beats) < sum(read[1] + 1 for read in reads):
            await ctx.tick()

    issued, beats, answers = [], [], []
    bench.run(simulate, read_addresses, write_addresses, write_data, wait, timing=timing,
              background=[collector(bus, "r", ("id", "data", "resp", "last"), beats, pauses),
                          collector(bus, "b", ("id", "resp"), answers, pauses)])
    assert [answer[1:] for answer in answers] == [(id, Response.OKAY) for _, _, id, _ in writes]
    expected = []
    for address, length, id in reads:
        for beat in range(length + 1):
            start = address + beat * beat_bytes
            expected.append((id, int.from_bytes(preset[start:start + beat_bytes].tobytes(),
                                                "little"), Response.OKAY, beat == length))
    assert [beat[1:] for beat in beats] == expected
    assert np.array_equal(bench.storage.array, model)



READ = ("arvalid", "arready", "rvalid", "rready", "rlast", "rdata")


async def read_bursts(ctx, bus, bursts, stride=512, length=15, start=0, spacing=0):
    """Read addresses as fast as they are taken; ``spacing`` cycles between them."""
    ctx.set(bus.arlen, length)
    for index in range(bursts):
        await move(ctx, bus, "ar", addr=start + index * stride)
        if spacing:
            await ctx.tick().repeat(spacing)


async def write_bursts(ctx, bus, bursts, stride=512, length=15):
    """Write bursts without a pause, the address of the next beside the data of one."""
    beats = [(burst, beat) for burst in range(bursts) for beat in range(length + 1)]
    addresses = 0
    ctx.set(bus.awlen, length)
    ctx.set(bus.awaddr, 0)
    ctx.set(bus.wstrb, (1 << len(bus.wstrb)) - 1)
    ctx.set(bus.awvalid, 1)
    ctx.set(bus.wvalid, 1)
    position = 0
    while position < len(beats):
        burst, beat = beats[position]
        ctx.set(bus.wdata, burst << 8 | beat)
        ctx.set(bus.wlast, beat == length)
        _, _, address_moved, moved = await ctx.tick().sample(bus.awvalid & bus.awready, bus.wready)
        if address_moved:
            addresses += 1
            ctx.set(bus.awaddr, addresses * stride)
            ctx.set(bus.awvalid, addresses < bursts)
        position += moved
    ctx.set(bus.wvalid, 0)


@pytest.mark.parametrize("latency", [0, 3, 4, 17, 48])
@pytest.mark.parametrize("signature", [HBM, DDR])
def test_read_latency(simulate, signature, latency):
    """The first burst opens a row; a second one in the same row does not; a third one does."""
    bench, trace = Bench(signature), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        for address in (0, 512, 1024):
            await read_bursts(ctx, bus, 1, start=address, length=3)
            await ctx.tick().repeat(100)

    bench.run(simulate, testbench, timing=Timing(latency=latency, row_miss=14),
              background=[collector(bus, "r", (), []), watcher(bus, READ, trace)])
    starts = [cycle for cycle, row in enumerate(trace) if row[0] and row[1]]
    valid = [cycle for cycle, row in enumerate(trace) if row[2]]
    idle = max(latency, 3)
    miss = max(latency + 14, 3)
    assert valid == [start + delay + beat for start, delay in zip(starts, (miss, idle, miss),
                                                                  strict=True)
                     for beat in range(4)]


@pytest.mark.parametrize("latency", [0, 2, 3, 30])
def test_write_latency(simulate, latency):
    bench, trace = Bench(), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        for _ in range(2):
            await write_bursts(ctx, bus, 1, length=2)
            await ctx.tick().repeat(60)

    bench.run(simulate, testbench, timing=Timing(write_latency=latency),
              background=[collector(bus, "b", (), []),
                          watcher(bus, ("wvalid", "wready", "wlast", "bvalid"), trace)])
    last = [cycle for cycle, row in enumerate(trace) if row[:3] == (1, 1, 1)]
    valid = [cycle for cycle, row in enumerate(trace) if row[3]]
    assert valid == [cycle + max(latency, 2) for cycle in last]
    assert len(last) == 2


@pytest.mark.parametrize("signature, length", [(HBM, 15), (HBM, 0), (HBM, 1), (DDR, 63)])
def test_read_throughput(simulate, signature, length):
    """Latencies overlap: one beat in every cycle, with rows that open and a memory far away."""
    bench, beats = Bench(signature), []
    stride = (length + 1) * signature.beat_bytes
    bursts = min(40, SIZE // stride)

    async def testbench(ctx):
        await settled(ctx)
        await read_bursts(ctx, bench.bus, bursts, stride, length)
        while len(beats) < bursts * (length + 1):
            await ctx.tick()

    bench.run(simulate, testbench, timing=Timing(latency=40, row_miss=14, outstanding=64),
              background=[collector(bench.bus, "r", ("data",), beats)])
    cycles = [cycle for cycle, _ in beats]
    assert cycles == list(range(cycles[0], cycles[0] + bursts * (length + 1)))
    words = [data for _, data in beats]
    assert words == [bench.storage.read(beat) for beat in range(len(words))]


@pytest.mark.parametrize("length", [15, 0])
def test_write_throughput(simulate, length):
    bench, trace = Bench(), []
    bursts = 20

    async def testbench(ctx):
        await settled(ctx)
        await write_bursts(ctx, bench.bus, bursts, 32 * (length + 1), length)

    bench.run(simulate, testbench, timing=Timing(write_latency=12),
              background=[collector(bench.bus, "b", (), []),
                          watcher(bench.bus, ("wvalid", "wready"), trace)])
    cycles = [cycle for cycle, row in enumerate(trace) if row == (1, 1)]
    assert cycles == list(range(cycles[0], cycles[0] + bursts * (length + 1)))
    assert [bench.storage.read(beat) for beat in range(len(cycles))] \
        == [burst << 8 | beat for burst in range(bursts) for beat in range(length + 1)]


def test_outstanding(simulate):
    """No more addresses are taken than the limit, and a limit beyond the queue is the queue."""
    for limit, depth, expected in ((3, 64, 3), (100, 8, 8)):
        bench, trace = Bench(queue_depth=depth), []
        bus = bench.bus

        async def testbench(ctx, bus=bus):
            ctx.set(bus.arlen, 3)
            await settled(ctx)
            ctx.set(bus.arvalid, 1)
            await ctx.tick().repeat(150)
            ctx.set(bus.arvalid, 0)
            ctx.set(bus.rready, 1)
            await ctx.tick().repeat(150)

        bench.run(simulate, testbench, timing=Timing(latency=100, outstanding=limit), clean=False,
                  background=[watcher(bus, ("arvalid", "arready", "rvalid"), trace)])
        assert sum(row[:2] == (1, 1) for row in trace[:90]) == expected


def test_write_outstanding(simulate):
    bench, trace = Bench(), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        ctx.set(bus.bready, 1)
        ctx.set(bus.awvalid, 1)
        await ctx.tick().repeat(50)

    bench.run(simulate, testbench, timing=Timing(outstanding=5),
              background=[watcher(bus, ("awvalid", "awready"), trace)])
    assert sum(row == (1, 1) for row in trace) == 5


def test_row_openings_are_apart(simulate):
    """Scattered beats cost a row each; beats of one row do not."""
    for stride, expected in ((1024, 14), (32, 1)):
        bench, beats = Bench(), []

        async def testbench(ctx, bench=bench, stride=stride, beats=beats):
            await settled(ctx)
            await read_bursts(ctx, bench.bus, 25, stride, 0)
            while len(beats) < 25:
                await ctx.tick()

        bench.run(simulate, testbench, timing=Timing(latency=30, row_miss=14),
                  background=[collector(bench.bus, "r", (), beats)])
        cycles = [cycle for cycle, in beats]
        assert set(np.diff(cycles).tolist()) == {expected}


def test_refresh(simulate):
    """In steady flow, no beat moves in the last cycles of every interval, and only there."""
    bench, trace, beats = Bench(), [], []

    async def testbench(ctx):
        await settled(ctx)
        await read_bursts(ctx, bench.bus, 64)
        while len(beats) < 64 * 16:
            await ctx.tick()

    bench.run(simulate, testbench,
              timing=Timing(latency=40, refresh_interval=200, refresh_length=25, refresh_phase=30,
                            row_miss=14),
              background=[collector(bench.bus, "r", (), beats), watcher(bench.bus, READ, trace)])
    valid = "".join(".R"[row[2]] for row in trace)
    runs = re.findall(r"R+|\.+", valid.strip("."))[1:-1]
    assert {len(run) for run in runs if run[0] == "."} == {25}
    assert {len(run) for run in runs if run[0] == "R"} == {175}
    assert valid.index("." * 25, valid.index("R")) == 200 - 30 - 25 + 5


def test_refresh_stops_time(simulate):
    """A burst in flight over a refresh arrives later by its length."""
    delays = {}
    for wait in (0, 40):
        bench, trace = Bench(), []

        async def testbench(ctx, bench=bench, wait=wait):
            await ctx.tick().repeat(20 + wait)
            await read_bursts(ctx, bench.bus, 1, length=0)
            await ctx.tick().repeat(120)

        bench.run(simulate, testbench,
                  timing=Timing(latency=30, refresh_interval=100, refresh_length=20),
                  background=[collector(bench.bus, "r", (), []), watcher(bench.bus, READ, trace)])
        delays[wait] = first(trace, 2) - first(trace, 0)
    assert delays == {0: 30, 40: 50}


@pytest.mark.parametrize("threshold", [64, 128])
def test_stalls(simulate, threshold):
    """A seed gives the same run again, another seed another one; the threshold is a rate."""
    def run(seed):
        bench, trace, beats = Bench(), [], []

        async def reads(ctx):
            await settled(ctx)
            await read_bursts(ctx, bench.bus, 60)
            while len(beats) < 60 * 16:
                await ctx.tick()

        bench.run(simulate, reads, timing=Timing(stall_threshold=threshold, seed=seed),
                  background=[collector(bench.bus, "r", (), beats),
                              watcher(bench.bus, READ, trace)])
        return trace

    trace = run(1)
    assert run(1) == trace
    assert run(2) != trace
    flowing = trace[20:]
    rate = sum(row[2] for row in flowing) / len(flowing)
    assert abs(rate - (1 - threshold / 256)) < .05


def test_stalls_of_writes(simulate):
    """Addresses, data and responses are all withheld at times, and at times not."""
    bench, trace = Bench(), []
    names = ("arready", "awready", "wready", "wvalid", "wlast", "bvalid")

    async def testbench(ctx):
        await settled(ctx)
        for _ in range(20):
            await write_bursts(ctx, bench.bus, 1, length=3)
            await ctx.tick().repeat(20)

    bench.run(simulate, testbench, timing=Timing(stall_threshold=120),
              background=[collector(bench.bus, "b", (), []), watcher(bench.bus, names, trace)])
    for name in ("arready", "awready"):
        values = {row[names.index(name)] for row in trace[4:]}
        assert values == {0, 1}
    beats = [cycle for cycle, row in enumerate(trace) if row[2] and row[3]]
    gaps = {after - before for first, *rest in np.reshape(beats, (20, 4)).tolist()
            for before, after in zip([first, *rest], rest, strict=False)}
    assert min(gaps) == 1 and len(gaps) > 2
    last = [cycle for cycle, row in enumerate(trace) if row[2:5] == (1, 1, 1)]
    answers = [cycle for cycle, row in enumerate(trace) if row[5]]
    delays = {answer - cycle for cycle, answer in zip(last, answers, strict=True)}
    assert min(delays) == 2 and len(delays) > 2


def test_turnaround(simulate):
    """Both directions flow: the bus turns after 8 bursts and idles at each turn; none starves."""
    bench, trace = Bench(), []

    async def reads(ctx):
        await settled(ctx)
        await read_bursts(ctx, bench.bus, 40)

    async def writes(ctx):
        await settled(ctx)
        await write_bursts(ctx, bench.bus, 40)

    bench.run(simulate, reads, writes, timing=Timing(turnaround=9),
              background=[collector(bench.bus, "r", (), []), collector(bench.bus, "b", (), []),
                          watcher(bench.bus, ("rvalid", "wvalid", "wready"), trace)])
    flow = "".join("R" if read else "W" if valid and ready else "." for read, valid, ready in trace)
    assert not any(read and valid and ready for read, valid, ready in trace)
    runs = re.findall(r"R+|W+|\.+", flow.strip("."))
    assert "R" * 128 in runs[2:] and "W" * 128 in runs[2:]
    gaps = [len(run) for run in runs if run[0] == "."]
    assert min(gaps) >= 9 and max(gaps) <= 12


def test_reads_do_not_block_writes(simulate):
    """A manager that takes no read data before its writes are answered gets on."""
    bench, beats = Bench(), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        await read_bursts(ctx, bus, 2)
        await ctx.tick().repeat(30)
        await write_bursts(ctx, bus, 3)
        ctx.set(bus.bready, 1)
        await ctx.tick().until(bus.bvalid)
        ctx.set(bus.rready, 1)
        await ctx.tick().repeat(60)

    bench.run(simulate, testbench, timing=Timing(turnaround=3),
              background=[watcher(bus, ("rvalid", "rready"), beats)])
    assert sum(row == (1, 1) for row in beats) == 32


def test_late_data_do_not_block_reads(simulate):
    bench, beats = Bench(), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        ctx.set(bus.awlen, 3)
        await move(ctx, bus, "aw", addr=0)
        await ctx.tick().repeat(10)
        await move(ctx, bus, "w", data=1, last=0)
        await read_bursts(ctx, bus, 2)
        while len(beats) < 32:
            await ctx.tick()

    bench.run(simulate, testbench, background=[collector(bus, "r", (), beats)])


@pytest.mark.parametrize("base", [0, 3 * SIZE])
def test_outside(simulate, base):
    """A burst that leaves the memory is answered with DECERR, and writes nothing."""
    bench = Bench(base_address=base)
    bus = bench.bus
    before = bench.storage.array.copy()
    beats, answers = [], []

    async def testbench(ctx):
        await settled(ctx)
        for address in (base + SIZE, base + SIZE - 32, base ^ 1 << 32, base):
            await read_bursts(ctx, bus, 1, start=address, length=1)
            ctx.set(bus.awlen, 1)
            await move(ctx, bus, "aw", addr=address)
            await move(ctx, bus, "w", data=1, strb=0xf, last=0)
            await move(ctx, bus, "w", data=2, strb=0xf, last=1)
        await ctx.tick().repeat(30)
        assert ctx.get(bench.port.violation) == Violation.ADDRESS_RANGE

    bench.run(simulate, testbench, clean=False,
              background=[collector(bus, "r", ("resp", "last"), beats),
                          collector(bus, "b", ("resp",), answers)])
    assert [beat[1:] for beat in beats] == [(Response.DECERR, 0), (Response.DECERR, 1)] * 3 \
        + [(Response.OKAY, 0), (Response.OKAY, 1)]
    assert [answer for _, answer in answers] == [Response.DECERR] * 3 + [Response.OKAY]
    assert np.array_equal(bench.storage.array[64:], before[64:])
    assert bench.storage.array[0] == 1 and bench.storage.array[32] == 2


@pytest.mark.parametrize("kind", [FaultKind.READ_SLVERR, FaultKind.READ_DECERR,
                                  FaultKind.WRITE_SLVERR, FaultKind.WRITE_DECERR])
@pytest.mark.parametrize("after", [0, 2])
def test_error_faults(simulate, kind, after):
    """One burst of the direction fails, with its data as long as ever; the others do not."""
    bench = Bench()
    bus = bench.bus
    beats, answers = [], []
    before = bench.storage.array.copy()

    async def reads(ctx):
        await settled(ctx)
        await read_bursts(ctx, bus, 4, length=1)

    async def writes(ctx):
        await settled(ctx)
        await write_bursts(ctx, bus, 4, length=1)
        await ctx.tick().repeat(20)

    bench.run(simulate, reads, writes, fault={"kind": kind, "after": after},
              background=[collector(bus, "r", ("resp",), beats),
                          collector(bus, "b", ("resp",), answers)])
    response = Response.SLVERR if "SLVERR" in kind.name else Response.DECERR
    good = [Response.OKAY] * 4
    bad = [response if burst == after else Response.OKAY for burst in range(4)]
    is_read = kind.name.startswith("READ")
    assert [beat[1] for beat in beats] == [each for each in (bad if is_read else good)
                                           for _ in range(2)]
    assert [answer[1] for answer in answers] == (good if is_read else bad)
    kept = np.array_equal(bench.storage.array[512 * after:512 * after + 64],
                          before[512 * after:512 * after + 64])
    assert kept != is_read


@pytest.mark.parametrize("after", [0, 3])
def test_hang(simulate, after):
    """After some bursts of both directions nothing more is taken or given, for good."""
    bench, trace = Bench(), []
    bus = bench.bus

    async def writes(ctx):
        await settled(ctx)
        if after:
            await write_bursts(ctx, bus, 1)
            await ctx.tick().repeat(10)
        ctx.set(bus.arlen, 15)
        ctx.set(bus.arvalid, 1)
        await ctx.tick().repeat(150)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        await ctx.tick().repeat(150)

    names = ("arready", "awready", "wready", "rvalid", "bvalid", "rlast")
    bench.run(simulate, writes, fault={"kind": FaultKind.HANG, "after": after}, clean=False,
              background=[collector(bus, "r", (), []), collector(bus, "b", (), []),
                          watcher(bus, names, trace)])
    assert all(row[:5] == (0,) * 5 for row in trace[-150:])
    assert sum(row[3] and row[5] for row in trace) == max(after - 1, 0)


def test_hang_withholds_responses(simulate):
    """Of two writes that wait for their response, one is answered."""
    bench, answers = Bench(), []

    async def testbench(ctx):
        await settled(ctx)
        await write_bursts(ctx, bench.bus, 2, length=0)
        await ctx.tick().repeat(60)

    bench.run(simulate, testbench, timing=Timing(write_latency=30),
              fault={"kind": FaultKind.HANG, "after": 1},
              background=[collector(bench.bus, "b", (), answers)])
    assert len(answers) == 1


def test_hang_keeps_what_is_shown(simulate):
    """A beat that is valid when the port hangs stays valid until it is taken."""
    bench, trace = Bench(), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        ctx.set(bus.bready, 1)
        await read_bursts(ctx, bus, 1)
        await ctx.tick().repeat(20)
        await write_bursts(ctx, bus, 1)
        await ctx.tick().repeat(50)
        assert ctx.get(bus.rvalid)
        assert not ctx.get(bus.arready)
        ctx.set(bus.rready, 1)
        await ctx.tick().repeat(10)
        assert not ctx.get(bus.rvalid)

    bench.run(simulate, testbench, fault={"kind": FaultKind.HANG, "after": 1},
              background=[watcher(bus, ("rvalid",), trace)])


def test_checker_of_the_port(simulate):
    bench = Bench(constant_rready=True)
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        await read_bursts(ctx, bus, 1)
        await ctx.tick().repeat(20)
        assert ctx.get(bench.port.violation) == Violation.R_NOT_READY

    bench.run(simulate, testbench, clean=False)


def test_smallest(simulate):
    """Two beats of a byte, without identifiers."""
    bench, beats = Bench(Axi4Signature(1, 8, 0), 2, row_bytes=1, queue_depth=2), []
    bus = bench.bus

    async def testbench(ctx):
        await settled(ctx)
        ctx.set(bus.awlen, 1)
        await move(ctx, bus, "aw", addr=0)
        await move(ctx, bus, "w", data=0x12, strb=1, last=0)
        await move(ctx, bus, "w", data=0x34, strb=1, last=1)
        ctx.set(bus.bready, 1)
        await ctx.tick().until(bus.bvalid)
        await read_bursts(ctx, bus, 1, length=1)
        while len(beats) < 2:
            await ctx.tick()

    bench.run(simulate, testbench, background=[collector(bus, "r", ("data",), beats)])
    assert [data for _, data in beats] == [0x12, 0x34]


@pytest.mark.parametrize("signature", [HBM, DDR])
def test_verilog(signature):
    """The compiled engine needs it as Verilog."""
    text = verilog.convert(Bench(signature).port, emit_src=False)
    assert "module top" in text and "bus__araddr" in text


@pytest.mark.parametrize("make, error, message", [
    (lambda: MemoryPort(AxiLiteSignature(12), SIZE), TypeError,
     "Signature must be AXI3 or AXI4, not AxiLiteSignature(12, 32)"),
    (lambda: MemoryPort(HBM, 32), ValueError,
     "Size must be a multiple of 32 bytes and at least two, not 32"),
    (lambda: MemoryPort(HBM, 100), ValueError,
     "Size must be a multiple of 32 bytes and at least two, not 100"),
    (lambda: MemoryPort(HBM, SIZE, row_bytes=16), ValueError,
     "Row must be a power of two of at least 32 bytes, not 16"),
    (lambda: MemoryPort(HBM, SIZE, queue_depth=3), ValueError,
     "Queue depth must be a power of two between 2 and 128, not 3"),
    (lambda: MemoryPort(HBM, SIZE, base_address=SIZE // 2), ValueError,
     "Base address must be a multiple of 0x8000 in 33 bits, not 0x4000"),
    (lambda: MemoryPort(HBM, SIZE, base_address=1 << 33), ValueError,
     "Base address must be a multiple of 0x8000 in 33 bits, not 0x200000000"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()
