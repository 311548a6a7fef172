"""The scoreboard against a model that remembers every instruction in flight."""

import random

from dfx_rtl.control.scoreboard import Scoreboard
from dfx_rtl.isa import Unit

CHUNKS, SCALARS = 12, 4


def test_free_and_valid_follow_the_model(simulate):
    dut = Scoreboard(CHUNKS, SCALARS)
    rng = random.Random(2)
    entries = CHUNKS + SCALARS
    stale, valid, writers = set(), set(), {}
    queues = {unit: [] for unit in Unit}   # each instruction in flight: the registers it reads
    marks = {unit: set() for unit in Unit}  # of the instruction that is being dispatched

    async def bench(ctx):
        frees = 0
        for _ in range(3000):
            probe = rng.randrange(entries)
            ctx.set(dut.probe, probe)
            # As the scheduler does: between a mark and its issue there is no claim.
            pending = next((unit for unit in Unit if marks[unit]), None)
            action = rng.choice(("mark", "issue", "retire", "write")
                                + (("claim",) if pending is None else ()))
            unit = rng.choice(list(Unit)) if pending is None or action == "retire" else pending
            claim = mark = None
            if action == "claim":
                options = [entry for entry in range(entries) if entry not in stale and not any(
                    entry in reads for queue in queues.values() for reads in queue)]
                claim = rng.choice(options) if options else None
            if action == "mark":
                mark = rng.randrange(entries)
            issue = action == "issue" and len(queues[unit]) < 6
            retire = action == "retire" and bool(queues[unit])
            write = rng.choice(sorted(stale)) if action == "write" and stale else None
            ctx.set(dut.claim_stb, claim is not None)
            ctx.set(dut.claim, claim or 0)
            ctx.set(dut.claim_unit, unit)
            ctx.set(dut.mark_stb, mark is not None)
            ctx.set(dut.mark, mark or 0)
            ctx.set(dut.mark_unit, unit)
            ctx.set(dut.issued, issue << unit)
            ctx.set(dut.retired, retire << unit)
            ctx.set(dut.chunk_written, write is not None and write < CHUNKS)
            ctx.set(dut.chunk, write if write is not None and write < CHUNKS else 0)
            ctx.set(dut.scalar_written, write is not None and write >= CHUNKS)
            ctx.set(dut.scalar, write - CHUNKS if write is not None and write >= CHUNKS else 0)
            await ctx.tick()
            for strobe in (dut.claim_stb, dut.mark_stb, dut.issued, dut.retired,
                           dut.chunk_written, dut.scalar_written):
                ctx.set(strobe, 0)
            if claim is not None:
                stale.add(claim)
                valid.discard(claim)
                writers[claim] = unit
            if mark is not None:
                marks[unit].add(mark)
            if issue:
                queues[unit].append(frozenset(marks[unit]))
                marks[unit] = set()
            if retire:
                queues[unit].pop(0)
            if write is not None:
                stale.discard(write)
                valid.add(write)
            # Ask again, so that the answer is that of the state after this cycle.
            await ctx.tick()
            expected = probe not in stale and not any(
                probe in reads for queue in queues.values() for reads in queue)
            if not any(marks.values()):
                assert ctx.get(dut.free) == expected
            assert ctx.get(dut.valid) == sum(1 << entry for entry in valid)
            assert ctx.get(dut.in_flight) == sum(bool(queues[unit]) << unit for unit in Unit)
            frees += expected
            awaited = rng.randrange(CHUNKS)
            ctx.set(dut.awaited, awaited)
            assert ctx.get(dut.writer) == writers.get(awaited, 0)
        assert 300 < frees < 2700

    simulate(dut, bench)
