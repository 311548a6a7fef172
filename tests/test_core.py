"""Cores in a ring with their memories: a program written by hand, and a whole model."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from dfx_rtl.compiler import compile
from dfx_rtl.compiler.cluster import compile_cluster
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.core import Core
from dfx_rtl.dma.requests import ddr_signature, hbm_signature
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.host.driver import CoreError, Driver
from dfx_rtl.isa import Index, Instruction, Opcode
from dfx_rtl.model.cluster import Cluster
from dfx_rtl.model.machine import Machine
from sim.engines.amaranth import SimulationBus
from sim.engines.partition import PartitionedEngine
from sim.memory.channel import MemoryPort
from sim.memory.storage import Storage, StorageHub, serve
from sim.memory.timing import Timing, TimingLayout

CONFIG = CONFIGS["nano"]
CORES = 3
X_SHARES, Y_SHARES, COLUMNS = (1, 0, 2), (1, 2, 1), 4
X, Y, POSITIONS = 16, 32, 3
TOKENS, OUTPUTS, INPUTS, RESULTS = 0x1000, 0x1100, 0x2000, 0x4000
WATCHDOG = 1000


class Cores(wiring.Component):
    """The cores, their memories, and a short queue for each link."""

    def __init__(self, count):
        self.cores = [Core(CONFIG) for _ in range(count)]
        self.hbm = [MemoryPort(hbm_signature(CONFIG), CONFIG.channel_bytes, constant_rready=True)
                    for _ in range(count * CONFIG.channels)]
        self.ddr = [MemoryPort(ddr_signature(CONFIG), CONFIG.ddr_bytes) for _ in range(count)]
        self.hbm_hub = StorageHub([port.storage for port in self.hbm])
        self.ddr_hub = StorageHub([port.storage for port in self.ddr])
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        in_hbm = DomainRenamer("hbm")
        m.submodules.hbm_hub = in_hbm(self.hbm_hub)
        m.submodules.ddr_hub = self.ddr_hub
        for number, core in enumerate(self.cores):
            m.submodules[f"core{number}"] = core
            m.submodules[f"ddr{number}"] = ddr = self.ddr[number]
            connect(m, core.ddr, ddr.bus)
            m.d.comb += ddr.timing.eq(TimingLayout.const(Timing.ddr(200).to_const()))
            for channel in range(CONFIG.channels):
                place = number * CONFIG.channels + channel
                m.submodules[f"hbm{place}"] = in_hbm(self.hbm[place])
                connect(m, core.hbm[channel], self.hbm[place].bus)
                m.d.comb += self.hbm[place].timing.eq(
                    TimingLayout.const(Timing.hbm().to_const()))
            for way, other in enumerate((number + 1, number - 1)):
                send, receive = core.send[way], self.cores[other % len(self.cores)].receive[way]
                m.submodules[f"link{number}_{way}"] = link = fifo.SyncFIFO(
                    width=len(send.payload.as_value()), depth=3)
                m.d.comb += [
                    link.w_data.eq(send.payload), link.w_en.eq(send.valid),
                    send.ready.eq(link.w_rdy),
                    receive.payload.eq(link.r_data), receive.valid.eq(link.r_rdy),
                    link.r_en.eq(receive.ready),
                ]
        return m


class Ring:
    """Cores, the bytes of their memories, a host for each."""

    def __init__(self, count):
        self.dut = Cores(count)
        self.hbm = [Storage(CONFIG.channel_bytes, CONFIG.axi_bits // 8) for _ in self.dut.hbm]
        self.ddr = [Storage(CONFIG.ddr_bytes, CONFIG.ddr_bytes_per_beat) for _ in self.dut.ddr]
        self.runs = []

    def run(self, *phases, deadline=30_000):
        """Each phase is ``host(ctx, core, driver)`` for all cores at once; returns what they gave,
        a list a phase. A phase begins when the one before it has ended on all cores."""
        simulator = Simulator(self.dut, engine=PartitionedEngine)
        for domain, period in (("sync", CONFIG.kernel_period), ("hbm", CONFIG.hbm_period)):
            simulator.add_clock(period * 1e-9, phase=period / 2 * 1e-9, domain=domain)
        outcomes = [[None] * len(self.runs) for _ in phases]
        ended = [0] * len(phases)
        drivers = [None] * len(self.runs)

        def host(core):
            async def testbench(ctx):
                bus = SimulationBus(ctx, self.dut.cores[core], self.ddr[core], None)
                drivers[core] = driver = Driver(bus)
                await driver.configure(self.runs[core], watchdog=WATCHDOG)
                for place, phase in enumerate(phases):
                    outcomes[place][core] = await phase(ctx, core, driver)
                    ended[place] += 1
                    while ended[place] != len(self.runs):
                        await ctx.tick()
            return testbench

        async def watchdog(ctx):
            await ctx.tick().repeat(deadline)
            raise TimeoutError(f"no end after {deadline} cycles")

        for core in range(len(self.runs)):
            simulator.add_testbench(host(core))
        for testbench in (watchdog, serve(self.dut.ddr_hub, self.ddr),
                          serve(self.dut.hbm_hub, self.hbm, domain="hbm")):
            simulator.add_testbench(testbench, background=True)
        simulator.run()
        return outcomes


class Bench(Ring):
    """Memories with a small model: y = W x, the token is the largest of V y."""

    def __init__(self, bidirectional):
        super().__init__(CORES)
        self.bidirectional = bidirectional
        rng = np.random.default_rng(5)
        d = CONFIG.tile
        self.x = rng.normal(size=(POSITIONS, sum(X_SHARES) * d)).astype(np.float16)
        self.w = [rng.normal(size=(sum(X_SHARES) * d, share * d)).astype(np.float16)
                  for share in Y_SHARES]
        self.v = [rng.normal(size=(sum(Y_SHARES) * d, COLUMNS)).astype(np.float16)
                  for _ in Y_SHARES]
        for core in range(CORES):
            self._fill(core)
        y = [np.concatenate([x.astype(float) @ w.astype(float) for w in self.w])
             .astype(np.float32).astype(np.float16) for x in self.x]
        self.y = np.array(y)
        self.tokens = [int(np.argmax(np.concatenate([
            values.astype(float) @ v.astype(float) for v in self.v]))) for values in y]

    def _fill(self, core):
        tiles = [tile for matrix in (self.w[core], self.v[core]) for tile in self._tiles(matrix)]
        word = CONFIG.word_bytes
        for index, tile in enumerate(tiles):
            for channel in range(CONFIG.channels):
                storage = self.hbm[core * CONFIG.channels + channel]
                storage.array[index * word:(index + 1) * word] = list(
                    tile[channel * word:(channel + 1) * word])
        ddr, chunk = self.ddr[core].array, CONFIG.chunk_bytes
        program = self._program(core)
        for index, instruction in enumerate(program):
            ddr[32 * index:32 * index + 32] = list(instruction.encode().to_bytes(32, "little"))
        first = sum(X_SHARES[:core]) * CONFIG.tile
        for position, x in enumerate(self.x):
            own = x[first:first + X_SHARES[core] * CONFIG.tile].tobytes()
            start = INPUTS + position * 4 * chunk
            ddr[start:start + len(own)] = list(own)
        self.runs.append(SimpleNamespace(
            program_base=0, program_length=len(program), token_base=TOKENS, output_base=OUTPUTS,
            logits_base=0, logits_stride=0, layer_stride=0, layers=1, heads=1, emb=24,
            vocabulary=CORES * COLUMNS, end_of_text=None, core_id=core, core_count=CORES,
            bidirectional=self.bidirectional))

    def _tiles(self, matrix):
        """All groups in one block: row by row, lane by lane."""
        d, lanes = CONFIG.tile, CONFIG.lanes
        return [matrix[row:row + d, column:column + lanes].T.tobytes()
                for row in range(0, matrix.shape[0], d)
                for column in range(0, matrix.shape[1], lanes)]

    def _program(self, core):
        chunk = CONFIG.chunk_bytes
        x_first, y_first = sum(X_SHARES[:core]), sum(Y_SHARES[:core])
        y_groups, v_groups = (CONFIG.groups(matrix[core].shape[1]) for matrix in (self.w, self.v))
        y_tiles = sum(X_SHARES) * y_groups
        matrix = {"first": 1, "last": 1, "token_rows": 1}
        program = [Instruction(Opcode.TOKEN)]
        if X_SHARES[core]:
            program.append(Instruction(Opcode.LOAD, chunk=X + x_first, chunks=X_SHARES[core],
                                       address=INPUTS, stride=4 * chunk, index=Index.POSITION))
        return program + [
            Instruction(Opcode.LAYER),
            Instruction(Opcode.SYNC, source=X + x_first, chunks=X_SHARES[core], destination=X,
                        total=sum(X_SHARES)),
            Instruction(Opcode.CONV1D, source=X, rows=self.w[core].shape[0],
                        destination=Y + y_first, columns=self.w[core].shape[1], write=1,
                        block=y_groups, tile=0, tiles=y_tiles, **matrix),
            Instruction(Opcode.SYNC, source=Y + y_first, chunks=Y_SHARES[core], destination=Y,
                        total=sum(Y_SHARES)),
            Instruction(Opcode.NEXT_LAYER),
            Instruction(Opcode.STORE, chunk=Y, chunks=sum(Y_SHARES), address=RESULTS,
                        stride=4 * chunk, index=Index.POSITION),
            Instruction(Opcode.LM_HEAD),
            Instruction(Opcode.CONV1D, source=Y, rows=self.v[core].shape[0], columns=COLUMNS,
                        arg_max=1, arg_max_base=core * COLUMNS, block=v_groups, tile=y_tiles,
                        tiles=sum(Y_SHARES) * v_groups, **matrix),
            Instruction(Opcode.ARG_MAX),
            Instruction(Opcode.END),
        ]

    def vectors(self, core):
        """What the core has stored."""
        content = self.ddr[core].array[RESULTS:RESULTS + self.y.nbytes]
        return content.view("<u2").reshape(self.y.shape)

    def check(self, outcomes):
        for core, outcome in enumerate(outcomes):
            assert outcome == self.tokens
            assert np.array_equal(self.vectors(core), self.y.view("<u2"))

    async def generate(self, ctx, core, driver):
        return await driver.run(self.runs[core], [0], POSITIONS)


async def reset(ctx, core, driver):
    assert await driver.reset()


@pytest.mark.parametrize("bidirectional", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_three_cores_make_one(bidirectional):
    """Two runs; in the second one each core starts later than the one before it."""
    bench = Bench(bidirectional)

    async def late(ctx, core, driver):
        await ctx.tick().repeat(1 + 150 * core)
        return await bench.generate(ctx, core, driver)

    for outcomes in bench.run(bench.generate, late):
        bench.check(outcomes)


def test_a_core_that_does_not_start():
    """The others stop with an error; after a reset what they left on the links does no harm."""
    bench = Bench(1)

    async def fail(ctx, core, driver):
        if core == 1:
            return None
        with pytest.raises(CoreError) as caught:
            await bench.generate(ctx, core, driver)
        return caught.value

    async def again(ctx, core, driver):
        # Core 1 has had no run: its number differs.
        return await driver.run(bench.runs[core], [0], POSITIONS, run_number=2)

    errors, _, outcomes = bench.run(fail, reset, again)
    assert [(error.cause, error.place) for error in (errors[0], errors[2])] == [
        (Cause.WATCHDOG_LINK, 0b10), (Cause.WATCHDOG_LINK, 0b01)]
    bench.check(outcomes)


@pytest.mark.slow
def test_a_link_that_fails():
    """One core knows it, the others wait in vain; then the run is repeated."""
    bench = Bench(0)

    async def fail(ctx, core, driver):
        if core == 2:
            ctx.set(bench.dut.cores[2].link_error[1], 3)
        with pytest.raises(CoreError) as caught:
            await bench.generate(ctx, core, driver)
        ctx.set(bench.dut.cores[core].link_error[1], 0)
        return caught.value

    errors, _, outcomes = bench.run(fail, reset, bench.generate)
    assert (errors[2].cause, errors[2].place) == (Cause.LINK, 0x103)
    assert [errors[core].cause for core in (0, 1)] == [Cause.WATCHDOG_LINK] * 2
    bench.check(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("ring, layernorm", [("bidirectional", "explicit"),
                                             ("unidirectional", "folded")])
def test_a_model_on_three_cores(tmp_path, ring, layernorm):
    """Two heads, one core has none: tokens as of the numpy machine, and as of one core."""
    write_random_checkpoint(tmp_path, emb=24, layers=2, heads=2, vocabulary=23, positions=16,
                            seed=5)
    checkpoint = Checkpoint.load(tmp_path)
    models = compile_cluster(checkpoint, CONFIG, 3, ring=ring, layernorm=layernorm)
    bench = Ring(3)
    for core, model in enumerate(models):
        bench.runs.append(model.run)
        bench.ddr[core].array[:model.ddr.size] = model.ddr
        for channel, content in enumerate(model.hbm):
            storage = bench.hbm[core * CONFIG.channels + channel]
            storage.array[:content.size] = content
            for first, count in model.caches:
                storage.fill(first * CONFIG.word_bytes, (first + count) * CONFIG.word_bytes)

    async def generate(ctx, core, driver):
        return await driver.run(models[core].run, [1, 5, 2], 4)

    outcomes, = bench.run(generate, deadline=60_000)
    alone = compile(checkpoint, CONFIG, layernorm=layernorm)
    expected = Machine(alone).run([1, 5, 2], 4)
    assert Cluster(models).run([1, 5, 2], 4) == expected
    assert outcomes == [expected] * 3
