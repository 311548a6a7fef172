"""The scheduler: order, hazards and faults, with units that answer at random."""

import random

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.scheduler import Scheduler
from dfx_rtl.isa import Index, Instruction, Opcode, Unit

CONFIG = CONFIGS["nano"]


def matrix(**fields):
    return Instruction(fields.pop("opcode", Opcode.CONV1D), **{
        "rows": 8, "columns": 8, "block": 1, "tiles": 4, "first": 1, "last": 1, "write": 1,
        "token_rows": 1, **fields})


def issue(ctx, dut, instruction, place=0, position=0, layer=0, layer_base=0):
    ctx.set(dut.issues.payload, {
        "instruction": instruction.encode(), "layer_base": layer_base,
        "tag": {"instruction": place, "layer": layer, "position": position}})


async def fault_of(ctx, dut, put, instruction, **where):
    issue(ctx, dut, instruction, **where)
    ctx.set(dut.issues.valid, 1)
    await ctx.tick().until(dut.issues.ready)
    ctx.set(dut.issues.valid, 0)
    for _ in range(40):
        if ctx.get(dut.cause) != Cause.NONE or any(
                ctx.get(getattr(dut, f"commands_{unit.name.lower()}").valid) for unit in Unit):
            break
        await ctx.tick()
    return Cause(ctx.get(dut.cause)), ctx.get(dut.place)


LAST = CONFIG.vector_chunks - 1


@pytest.mark.parametrize("cause,instruction", [
    (Cause.NONE, matrix()),
    (Cause.NONE, matrix(destination=LAST)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(rows=0)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(columns=0)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(block=0)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(block=33)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(token_rows=2)),
    (Cause.ILLEGAL_INSTRUCTION, matrix(last=0, columns=3)),
    (Cause.NONE, matrix(last=0, columns=2, write=0)),
    (Cause.REGISTER_RANGE, matrix(destination=LAST, columns=9)),
    (Cause.REGISTER_RANGE, matrix(source=LAST, rows=9)),
    (Cause.REGISTER_RANGE, matrix(bias_enable=1, bias=LAST, columns=9)),
    (Cause.REGISTER_RANGE, matrix(residual_enable=1, residual=CONFIG.vector_chunks)),
    (Cause.REGISTER_RANGE, matrix(maximum_enable=1, maximum=CONFIG.scalars)),
    (Cause.REGISTER_RANGE, matrix(scale_enable=1, scale=CONFIG.scalars)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.ADD, source1=3)),
    (Cause.NONE, Instruction(Opcode.SCALAR_MOVE, immediate_enable=1)),
    (Cause.REGISTER_RANGE, Instruction(Opcode.RECIP, scalar_destination=CONFIG.scalars)),
    (Cause.NONE, Instruction(Opcode.LOAD, chunks=2)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.LOAD, chunks=0)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.LOAD, chunks=1, address=8)),
    (Cause.DDR_RANGE, Instruction(Opcode.LOAD, chunks=2, address=CONFIG.ddr_bytes - 16)),
    (Cause.DDR_RANGE, Instruction(Opcode.LOAD, chunks=1, stride=1 << 22, index=Index.POSITION)),
    (Cause.DDR_RANGE, Instruction(Opcode.LOAD, chunks=1, stride=1 << 23, index=Index.TOKEN)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.STORE_KEY, chunks=1)),
    (Cause.HBM_RANGE, Instruction(Opcode.STORE_KEY, chunks=1, heads=1, tiles=8,
                                  tile=CONFIG.hbm_tiles - 7)),
    (Cause.HBM_RANGE, Instruction(Opcode.STORE_VALUE, chunks=1, heads=1, tiles=8, groups=4,
                                  tile=CONFIG.hbm_tiles - 99, layer_relative=1)),
    (Cause.HBM_RANGE, Instruction(Opcode.COPY, tiles=2, tile=CONFIG.hbm_tiles - 1)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.SYNC)),
    (Cause.NONE, Instruction(Opcode.SYNC, source=4, destination=4, total=1)),
    (Cause.NONE, Instruction(Opcode.SYNC, source=5, destination=4, total=1)),
    (Cause.NONE, Instruction(Opcode.SYNC, source=4, chunks=1, destination=4, total=1)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.SYNC, source=6, destination=4, total=1)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.SYNC, source=3, destination=4, total=1)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.SYNC, source=3, chunks=1, destination=4,
                                            total=1)),
    (Cause.ILLEGAL_INSTRUCTION, Instruction(Opcode.SYNC, source=4, chunks=2, destination=4,
                                            total=1)),
    (Cause.NONE, Instruction(Opcode.SYNC, source=LAST - 1, destination=LAST - 1, total=2)),
    (Cause.NONE, Instruction(Opcode.SYNC, source=LAST, chunks=1, destination=LAST - 1, total=2)),
    (Cause.REGISTER_RANGE, Instruction(Opcode.SYNC, source=LAST - 1, destination=LAST - 1,
                                       total=3)),
    (Cause.REGISTER_RANGE, Instruction(Opcode.SYNC, source=LAST, chunks=2, destination=LAST - 1,
                                       total=3)),
    (Cause.NONE, Instruction(Opcode.ARG_MAX)),
    (Cause.ILLEGAL_INSTRUCTION, None),
])
def test_what_cannot_run_is_named(simulate, put, cause, instruction):
    dut = Scheduler(CONFIG)

    class Nothing:
        def encode(self):
            return 63

    async def bench(ctx):
        ctx.set(dut.vocabulary, 65)
        ctx.set(dut.ring, 1)
        found, place = await fault_of(ctx, dut, put, instruction or Nothing(), place=77,
                                      position=5, layer_base=100)
        assert found == cause
        if cause:
            assert place == 77
            await ctx.tick().repeat(5)
            assert Cause(ctx.get(dut.cause)) == cause

    simulate(dut, bench)


@pytest.mark.parametrize("instruction", [
    Instruction(Opcode.SYNC, source=4, chunks=1, destination=4, total=1),
    Instruction(Opcode.ARG_MAX)], ids=lambda instruction: instruction.opcode.name)
def test_a_core_that_is_alone_has_no_router(simulate, put, instruction):
    dut = Scheduler(CONFIG)

    async def bench(ctx):
        assert await fault_of(ctx, dut, put, instruction) == (Cause.ILLEGAL_INSTRUCTION, 0)

    simulate(dut, bench)


def random_program(rng, count):
    """Instructions of all units over few registers: (instruction, unit, writes, reads)."""
    program = []
    while len(program) < count:
        kind = rng.randrange(4)
        first, second, third = rng.sample(range(6), 3)
        if kind == 0:
            program.append((matrix(destination=first, source=second, bias_enable=1, bias=third),
                            Unit.MPU, {first}, {second, third}))
        elif kind == 1:
            program.append((Instruction(Opcode.ADD, destination=first, source1=second,
                                        source2=third, length=8),
                            Unit.VPU, {first}, {second, third}))
        elif kind == 2:
            program.append((Instruction(Opcode.LOAD, chunk=first, chunks=1),
                            Unit.LOAD, {first}, set()))
        else:
            destination, total = rng.randrange(4), rng.randint(1, 3)
            own = rng.randrange(total + 1), rng.randrange(total + 1)
            share = set(range(destination + min(own), destination + max(own)))
            program.append((Instruction(Opcode.SYNC, source=destination + min(own),
                                        chunks=len(share), destination=destination, total=total),
                            Unit.ROUTER, set(range(destination, destination + total)) - share,
                            share))
    return program


@pytest.mark.parametrize("seed", range(3))
def test_registers_hold_what_program_order_says(simulate, seed):
    """Units read and write late and in any order; every read must see the right writer."""
    dut = Scheduler(CONFIG)
    rng = random.Random(seed)
    program = [(Instruction(Opcode.LOAD, chunk=register, chunks=1), Unit.LOAD, {register}, set())
               for register in range(6)] + random_program(rng, 120)
    content, newest, expected = {}, {}, []
    for place, (_, _, writes, reads) in enumerate(program):
        expected.append({register: newest[register] for register in reads})
        newest.update(dict.fromkeys(writes, place))
    retired = []

    async def front(ctx):
        ctx.set(dut.ring, 1)
        for place, (instruction, *_) in enumerate(program):
            issue(ctx, dut, instruction, place=place)
            ctx.set(dut.issues.valid, 1)
            await ctx.tick().until(dut.issues.ready)
            ctx.set(dut.issues.valid, 0)

    async def units(ctx):
        """All units in one bench: a written register is visible from the next cycle on."""
        active = {}
        while len(retired) < len(program):
            ctx.set(dut.chunk_written, 0)
            ctx.set(dut.retired, 0)
            valid = ctx.get(dut.valid)
            unit = rng.choice(list(Unit))
            commands = getattr(dut, f"commands_{unit.name.lower()}")
            taken = None
            if unit not in active and ctx.get(commands.valid):
                place = ctx.get(commands.p.tag.instruction)
                assert program[place][1] == unit
                active[unit] = (place, set(program[place][3]), set(program[place][2]))
                ctx.set(commands.ready, 1)
                taken = commands
            elif unit in active:
                place, reads, writes = active[unit]
                register = rng.choice(sorted(reads | writes)) if reads | writes else None
                if register in reads:
                    if valid >> register & 1:
                        assert content[register] == expected[place][register]
                        reads.discard(register)
                elif register is not None:
                    content[register] = place
                    ctx.set(dut.chunk_written, 1)
                    ctx.set(dut.chunk, register)
                    writes.discard(register)
                else:
                    ctx.set(dut.retired, 1 << unit)
                    retired.append(place)
                    del active[unit]
            await ctx.tick()
            if taken is not None:
                ctx.set(taken.ready, 0)
        ctx.set(dut.retired, 0)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.busy)

    simulate(dut, front, units, deadline=40_000)
    for unit in Unit:
        order = [place for place in retired if program[place][1] == unit]
        assert order == sorted(order)


def test_cycles_of_an_instruction(simulate):
    """9 cycles, and one more for each register that is written or read."""
    dut = Scheduler(CONFIG)

    async def bench(ctx):
        starts = []
        instruction = matrix(rows=24, columns=16)  # reads 3 chunks, writes 2
        for place in range(3):
            issue(ctx, dut, matrix(rows=24, columns=16, destination=10 * place), place=place)
            ctx.set(dut.issues.valid, 1)
            cycles = 0
            while not ctx.get(dut.issues.ready):
                await ctx.tick()
                cycles += 1
            starts.append(cycles)
            await ctx.tick()
        assert instruction.rows == 24
        return starts

    async def check(ctx):
        starts = await bench(ctx)
        assert starts[1:] == [9 + 5 + 1] * 2

    simulate(dut, check)
