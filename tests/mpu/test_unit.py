# amaranth: UnusedElaboratable=no
"""The whole MPU against Python integers and numpy."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import verilog

from dfx_rtl.arith.formats import bits16, bits32
from dfx_rtl.config import CONFIGS
from dfx_rtl.control.activity import Activity
from dfx_rtl.mpu.unit import MatrixProcessingUnit
from tests.mpu.machine import ENABLES, Golden, Stalls, World, make_job, random_bits

NANO, SMALL = CONFIGS["nano"], CONFIGS["small"]
# d / l = 1, and one lane of two values.
SQUARE = replace(NANO, name="square", tile=4, lanes=4, ddr_bits=64, vector_lanes=4)
SMALLEST = replace(NANO, name="smallest", tile=4, lanes=1, axi_bits=16, channels=2, ddr_bits=64,
                   vector_lanes=1)


def random_jobs(rng, config, count, *, max_rows=30, max_columns=40, kinds=("normal", "any")):
    """Jobs with destinations of their own; some read what an earlier one wrote."""
    d = config.tile
    chunks = -(-max(max_rows, max_columns) // d)
    inputs = 4 * chunks
    vectors = random_bits(rng, (inputs + count * chunks, d), "any")
    vectors[:inputs] = random_bits(rng, (inputs, d))
    scalars = bits32(rng.normal(size=64).astype(np.float32)).astype(object)
    jobs = []
    for number in range(count):
        rows = int(rng.integers(1, max_rows + 1))
        columns = int(rng.integers(1, max_columns + 1))
        fields = {name: int(rng.random() < 0.5) for name in ENABLES}
        fields.update(
            block=int(rng.choice([1, 2, 3, 5, 32])), transposed=int(rng.integers(2)),
            destination=inputs + number * chunks,
            source=int(rng.integers(0, inputs - chunks + 1)),
            bias=int(rng.integers(0, inputs - chunks + 1)),
            residual=int(rng.integers(0, inputs - chunks + 1)),
            scale=int(rng.integers(0, 32)), maximum=32 + number % 32,
            arg_max_base=int(rng.integers(0, (1 << 17) - max_columns)))
        position = int(rng.integers(0, 1 << 16))
        if rng.random() < 0.2:
            fields.update(rows_from_position=1, rows=0)
            position = rows - 1
        if rng.random() < 0.2:
            fields.update(columns_from_position=1, columns=0)
            columns = position + 1 if position < max_columns else columns
            if position != columns - 1:
                if "rows" in fields:
                    rows = columns
                position = columns - 1
        previous = [job for job in jobs if job.instruction.write and job.columns >= rows]
        if previous and rng.random() < 0.3:
            fields["source"] = previous[-1].instruction.destination
        jobs.append(make_job(rng, config, fields, rows=rows, columns=columns, position=position,
                             kind=str(rng.choice(kinds))))
    return jobs, vectors, scalars


def run(simulate, config, jobs, vectors, scalars, *, seed=0, deadline=10_000, **options):
    dut = MatrixProcessingUnit(config)
    world = World(dut, config, jobs, vectors, scalars, rng=np.random.default_rng(seed), **options)
    machine = Golden(config, vectors, scalars)
    for number, job in enumerate(jobs):
        machine.run(number, job)
    simulate(dut, world.testbench, deadline=deadline)
    world.check(machine)
    assert world.retired == len(jobs)
    return dut, world


@pytest.mark.parametrize("config", [NANO, SMALL, SQUARE, SMALLEST], ids=lambda c: c.name)
@pytest.mark.parametrize("stalls", [Stalls(), Stalls(.5, .3, .3, .7, .9)], ids=["free", "stalled"])
def test_random_jobs(simulate, config, stalls):
    rng = np.random.default_rng(1)
    jobs, vectors, scalars = random_jobs(rng, config, 12)
    run(simulate, config, jobs, vectors, scalars, stalls=stalls)


@pytest.mark.slow
@pytest.mark.parametrize("config", [NANO, SMALL, SQUARE, SMALLEST], ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(2, 8))
def test_many_random_jobs(simulate, config, seed):
    rng = np.random.default_rng(seed)
    jobs, vectors, scalars = random_jobs(rng, config, 40, kinds=("normal", "any", "finite"))
    stalls = Stalls(*rng.choice([0, .1, .5, .9], size=5).tolist())
    run(simulate, config, jobs, vectors, scalars, stalls=stalls, seed=seed, deadline=200_000)


def _registers(rng, config, chunks=128):
    return (random_bits(rng, (chunks, config.tile)),
            bits32(rng.normal(size=64).astype(np.float32)).astype(object))


@pytest.mark.parametrize("config", [NANO, SMALL], ids=lambda c: c.name)
@pytest.mark.parametrize("transposed", [0, 1])
def test_nothing_gated_raises_a_flag(simulate, config, transposed):
    """Garbage surrounds the operands; the scale and the bias would be invalid with it, too."""
    rng = np.random.default_rng(3)
    vectors, scalars = _registers(rng, config)
    rows, columns = config.tile + 3, 2 * config.tile + 1
    vectors[1][3:] = random_bits(rng, config.tile - 3, "garbage")
    for base in (10, 20):
        vectors[base + 2][1:] = random_bits(rng, config.tile - 1, "garbage")
    scalars[0] = 0x7F800000
    weights = random_bits(rng, (rows, columns))
    fields = {"source": 0, "bias": 10, "bias_enable": 1, "residual": 20, "residual_enable": 1,
              "block": 3, "transposed": transposed, "write": 1, "mask": 1, "maximum_enable": 1,
              "maximum": 40}
    jobs = [make_job(rng, config, fields | {"destination": 30}, rows=rows, columns=columns,
                     weights=weights),
            make_job(rng, config, {"write": 1, "destination": 50, "scale_enable": 1, "gelu": 1,
                                       "transposed": transposed, "arg_max": 1, "logits": 1},
                     rows=rows, columns=columns, weights=weights)]
    _, world = run(simulate, config, jobs, vectors, scalars)
    assert not world.overflow
    assert not world.invalid


@pytest.mark.parametrize("bits, transposed", [(0x7C00, 0), (0xFC00, 1)])
def test_infinite_input_leaves_the_padding_alone(simulate, bits, transposed):
    """The padding's weights are zero: infinity times zero must neither show nor raise a flag."""
    rng = np.random.default_rng(19)
    vectors, scalars = _registers(rng, SMALL)
    vectors[0][3] = bits
    weights = bits16(np.full((SMALL.tile, 5), 2, dtype=np.float16))
    job = make_job(rng, SMALL, {"write": 1, "destination": 9, "logits": 1, "arg_max": 1,
                                "maximum_enable": 1, "transposed": transposed},
                   rows=SMALL.tile, columns=5, weights=weights)
    _, world = run(simulate, SMALL, [job], vectors, scalars)
    assert not world.invalid
    assert not world.overflow
    assert world.logits[-1][0][1:] == [0, 0, 0]


def test_overflow_of_rounding_counts_only_if_the_result_is_kept(simulate):
    rng = np.random.default_rng(4)
    vectors, scalars = _registers(rng, NANO)
    vectors[0] = bits16(np.full(8, 6e4, dtype=np.float16))
    weights = np.full((8, 2), bits16(np.float16(1)), dtype=np.uint16)
    for fields, overflow in (({"logits": 1, "arg_max": 1}, False), ({"write": 1}, True),
                             ({"maximum_enable": 1}, True)):
        job = make_job(rng, NANO, fields | {"destination": 9}, rows=8, columns=2, weights=weights)
        _, world = run(simulate, NANO, [job], vectors, scalars)
        assert world.overflow == overflow
        assert not world.invalid


@pytest.mark.parametrize("operand", ["bias", "residual", "scale", "source"])
def test_a_nan_is_flagged_and_found_nowhere(simulate, operand):
    """A NaN from any operand flags the arg max, which needs no flag of its own."""
    rng = np.random.default_rng(17)
    vectors, scalars = _registers(rng, NANO)
    vectors[1][0] = 0x7E00
    scalars[1] = 0x7FC00000
    fields = {"arg_max": 1, operand: 1, f"{operand}_enable": 1}
    fields = {name: value for name, value in fields.items() if name != "source_enable"}
    job = make_job(rng, NANO, fields, rows=8, columns=1)
    _, world = run(simulate, NANO, [job], vectors, scalars)
    assert world.invalid
    assert world.tokens[0][2] == 0


@pytest.mark.parametrize("config, latency", [(NANO, 23), (SMALL, 24), (SQUARE, 23)],
                         ids=lambda c: getattr(c, "name", ""))
def test_latency(simulate, config, latency):
    rng = np.random.default_rng(5)
    vectors, scalars = _registers(rng, config)
    job = make_job(rng, config, {"write": 1, "destination": 9}, rows=2 * config.tile, columns=1)
    dut, world = run(simulate, config, [job], vectors, scalars)
    assert dut.latency == latency
    assert world.write_cycles[0] - world.issue_cycles[-1] == latency
    assert world.reads[-1] == ("operand", 1, world.issue_cycles[-1])


def test_latency_of_a_card():
    assert MatrixProcessingUnit(CONFIGS["u280"]).latency == 24


@pytest.mark.parametrize("config", [NANO, SMALL, SQUARE], ids=lambda c: c.name)
def test_one_tile_a_cycle_across_instructions(simulate, config):
    """Long products, scores, and score times value: no cycle without a tile."""
    rng = np.random.default_rng(6)
    d, lanes = config.tile, config.lanes
    vectors, scalars = _registers(rng, config, 256)
    long = {"block": 32, "write": 1, "bias": 30, "bias_enable": 1, "residual": 60,
            "residual_enable": 1}
    scores = {"block": 32, "write": 1, "mask": 1, "scale": 1, "scale_enable": 1,
              "maximum_enable": 1, "maximum": 40}
    values = {"block": 4, "write": 1, "scale": 2, "scale_enable": 1, "transposed": 1}
    shapes = [(long, 4 * d, 8 * lanes), (scores, d, 10 * lanes - 1), (scores, d, 10 * lanes),
              (values, 4 * d - 1, 4 * lanes), (values, 4 * d, 4 * lanes), (long, 2 * d, 6 * lanes)]
    jobs = [make_job(rng, config, fields | {"destination": 100 + 20 * number}, rows=rows,
                     columns=columns)
            for number, (fields, rows, columns) in enumerate(shapes)]
    dut, world = run(simulate, config, jobs, vectors, scalars)
    tiles = sum(len(job.tiles) for job in jobs)
    assert world.issue_cycles == list(range(1, tiles + 1))
    counts = world.counts()
    assert counts[Activity.BUSY] == tiles
    assert counts[Activity.BUSY] + counts[Activity.ISSUE] == len(world.activities)
    assert world.write_cycles[-1] == tiles + dut.latency


def test_a_chunk_a_cycle(simulate):
    """With d = l every group is a chunk of bias and of residual, and all of them stream."""
    rng = np.random.default_rng(7)
    vectors, scalars = _registers(rng, SQUARE, 256)
    fields = {"block": 32, "write": 1, "bias": 0, "bias_enable": 1, "residual": 50,
              "residual_enable": 1, "scale_enable": 1, "gelu": 1, "destination": 100,
              "maximum_enable": 1, "maximum": 40}
    job = make_job(rng, SQUARE, fields, rows=4, columns=4 * 40)
    _, world = run(simulate, SQUARE, [job], vectors, scalars)
    assert np.diff(world.write_cycles).tolist() == [1] * 39


def test_tiles_go_on_while_a_scale_is_late(simulate):
    rng = np.random.default_rng(8)
    vectors, scalars = _registers(rng, NANO)
    late = make_job(rng, NANO, {"write": 1, "scale": 3, "scale_enable": 1, "destination": 50,
                                "block": 4}, rows=16, columns=8)
    others = [make_job(rng, NANO, {"write": 1, "destination": 60 + 5 * k}, rows=20, columns=9)
              for k in range(3)]
    _, world = run(simulate, NANO, [late, *others], vectors, scalars, scalar_ready={3: 150})
    assert world.issue_cycles[-1] < 100
    assert world.write_cycles[0] > 150
    # The first group goes in the cycle in which the scale is read.
    assert world.reads[[read[0] for read in world.reads].index("scale")][2] == 150


def test_accumulators_run_out(simulate):
    rng = np.random.default_rng(9)
    vectors, scalars = _registers(rng, NANO)
    job = make_job(rng, NANO, {"write": 1, "scale": 3, "scale_enable": 1, "destination": 50,
                               "block": 32}, rows=8, columns=2 * 70)
    _, world = run(simulate, NANO, [job], vectors, scalars, scalar_ready={3: 150},
                   vector_ready={0: 20})
    assert world.issue_cycles[:NANO.accumulators] == list(range(20, 20 + NANO.accumulators))
    assert world.issue_cycles[NANO.accumulators] > 150
    counts = world.counts()
    assert counts[Activity.ACCUMULATORS] == 151 - 20 - NANO.accumulators
    assert counts[Activity.OPERAND] == 19
    assert counts[Activity.BUSY] == len(job.tiles)


def test_output_queue_runs_full(simulate):
    rng = np.random.default_rng(10)
    vectors, scalars = _registers(rng, NANO)
    jobs = [make_job(rng, NANO, {"write": 1, "scale": 3, "scale_enable": 1, "destination": 50 + k},
                     rows=8, columns=2) for k in range(20)]
    _, world = run(simulate, NANO, jobs, vectors, scalars, scalar_ready={3: 100})
    assert sum(cycle < 100 for cycle in world.issue_cycles) == 17
    assert world.counts()[Activity.ACCUMULATORS] > 0


def test_activity_names_what_is_missing(simulate):
    rng = np.random.default_rng(11)
    vectors, scalars = _registers(rng, NANO)
    jobs = [make_job(rng, NANO, {"write": 1, "destination": 50}, rows=16, columns=8)]
    _, world = run(simulate, NANO, jobs, vectors, scalars, vector_ready={0: 50},
                   stalls=Stalls(weights=.8))
    assert world.activities[0] == Activity.ISSUE
    assert set(world.activities[1:50]) == {Activity.OPERAND}
    for cycle in range(50, world.issue_cycles[-1] + 1):
        assert world.activities[cycle] == (Activity.BUSY if cycle in world.issue_cycles
                                           else Activity.WEIGHTS)


@pytest.mark.parametrize("config", [NANO, SMALL, SMALLEST], ids=lambda c: c.name)
@pytest.mark.parametrize("stalls", [Stalls(), Stalls(.5, .3, .3, .7, .9)], ids=["free", "stalled"])
def test_segments(simulate, config, stalls):
    """A product in several instructions, each on other rows, between ordinary ones."""
    rng = np.random.default_rng(12)
    vectors, scalars = _registers(rng, config, 256)
    jobs = []
    for number, segments in enumerate([1, 3, 1, 2, 4, 1]):
        columns = int(rng.integers(1, 32 * config.lanes // 2))
        for segment in range(segments):
            last = segment == segments - 1
            fields = {"first": int(segment == 0), "last": int(last), "block": 32, "write": 1,
                      "destination": 100 + 20 * number, "source": int(rng.integers(50)),
                      "bias": 60, "bias_enable": number % 2, "arg_max": 1}
            jobs.append(make_job(rng, config, fields, rows=int(rng.integers(1, 3 * config.tile)),
                                 columns=columns))
    run(simulate, config, jobs, vectors, scalars, stalls=stalls)


def test_instructions_retire_in_order(simulate):
    rng = np.random.default_rng(13)
    vectors, scalars = _registers(rng, NANO)
    jobs = [make_job(rng, NANO, {"write": 1, "scale": 3, "scale_enable": 1, "destination": 50},
                     rows=8, columns=8),
            make_job(rng, NANO, {"last": 0, "block": 4}, rows=8, columns=8),
            make_job(rng, NANO, {"first": 0, "write": 1, "block": 4, "destination": 60},
                     rows=8, columns=8)]
    _, world = run(simulate, NANO, jobs, vectors, scalars, scalar_ready={3: 100})
    assert world.issue_cycles[-1] < 30
    assert world.retire_cycles[0] > 100
    assert world.retire_cycles == sorted(world.retire_cycles)


def test_a_segment_retires_after_its_last_tile(simulate):
    rng = np.random.default_rng(18)
    vectors, scalars = _registers(rng, NANO)
    jobs = [make_job(rng, NANO, {"last": 0, "block": 4}, rows=16, columns=8),
            make_job(rng, NANO, {"first": 0, "write": 1, "block": 4, "destination": 60},
                     rows=8, columns=8)]
    _, world = run(simulate, NANO, jobs, vectors, scalars, vector_ready={1: 100})
    assert world.retire_cycles[0] > world.issue_cycles[7] > 100


def test_logits_and_tokens_wait_for_room(simulate):
    rng = np.random.default_rng(14)
    vectors, scalars = _registers(rng, NANO)
    jobs = [make_job(rng, NANO, {"logits": 1, "arg_max": 1, "block": 32}, rows=8, columns=79)
            for _ in range(3)]
    _, world = run(simulate, NANO, jobs, vectors, scalars, stalls=Stalls(logits=.9, token=.99))
    assert len(world.tokens) == 3
    assert len(world.logits) == 120


def test_arg_max_ignores_padding_and_not_numbers(simulate):
    """All logits are negative, or NaN; the padding would be zero."""
    rng = np.random.default_rng(15)
    vectors, scalars = _registers(rng, SMALL)
    vectors[0] = bits16(np.full(SMALL.tile, -1, dtype=np.float16))
    some = bits16(np.full((SMALL.tile, 9), 2, dtype=np.float16))
    some[0, [0, 3, 5]] = 0x7E00
    some[1, [4, 7, 8]] = bits16(np.float16(1))
    jobs = [make_job(rng, SMALL, {"arg_max": 1, "logits": 1}, rows=SMALL.tile, columns=9,
                     weights=weights)
            for weights in (some, np.full((SMALL.tile, 9), 0x7E00, dtype=np.uint16))]
    _, world = run(simulate, SMALL, jobs, vectors, scalars)
    assert world.tokens[0][0] == 4
    assert world.tokens[1][2] == 0
    assert world.invalid


def test_a_stalled_write_is_caught(simulate):
    rng = np.random.default_rng(16)
    vectors, scalars = _registers(rng, NANO)
    job = make_job(rng, NANO, {"write": 1, "destination": 50}, rows=8, columns=8)
    dut = MatrixProcessingUnit(NANO)
    world = World(dut, NANO, [job], vectors, scalars, rng=rng)

    async def stall(ctx):
        while True:
            await ctx.tick()
            ctx.set(dut.vector_write.ready, 0)

    with pytest.raises(AssertionError, match="a register file stalled the MPU's chunk"):
        simulate(dut, world.testbench, background=[stall])


@pytest.mark.slow
def test_verilog():
    text = verilog.convert(MatrixProcessingUnit(NANO), emit_src=False)
    assert "module top" in text
