# amaranth: UnusedElaboratable=no
"""The whole MPU against Python integers and numpy."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import verilog

from dfx_rtl.arith.formats import bits16, bits32
from dfx_rtl.config import CONFIGS
from dfx_rtl.mpu.activity import Activity
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
            scale=int(rng.integers(0, 32)), maximum=32 + number % 32)
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
