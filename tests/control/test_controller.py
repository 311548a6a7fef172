"""The controller alone: program load, tokens, end, errors, watchdog."""

import random

import pytest

from dfx_rtl.config import CONFIGS
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.controller import Controller
from dfx_rtl.control.state import State

WORDS = [random.Random(index).getrandbits(256) for index in range(5)]
PARAMETERS = {"program_base": 0x1000, "program_length": len(WORDS), "token_base": 0x2000,
              "output_base": 0x3000, "input_count": 2, "output_count": 2, "vocabulary": 50,
              "end_of_text": 9, "end_of_text_enable": 1, "watchdog": 60}


class Host:
    """Everything around the controller; a run of two prompt tokens and two results."""

    def __init__(self, config, *, results=(7, 8), prompt=(3, 4), stall=0):
        self.dut = Controller(config)
        self.beat_bits = config.ddr_bits
        self.results, self.prompt = list(results), list(prompt)
        self.memory, self.fed, self.written = {}, [], []
        self.rng, self.stall = random.Random(1), stall
        self.requests = []

    def busy(self):
        return self.rng.random() * 100 < self.stall

    async def memories(self, ctx):
        """Answers reads, takes writes and tokens."""
        dut = self.dut
        image = b"".join(word.to_bytes(32, "little") for word in WORDS) + bytes(64)
        step = self.beat_bits // 8
        beats, words = [], []
        while True:
            ctx.set(dut.program_requests.ready, not self.busy())
            ctx.set(dut.prompt_requests.ready, not self.busy())
            ctx.set(dut.token_ids.ready, not self.busy())
            ctx.set(dut.output_writes.ready, not self.busy())
            ctx.set(dut.program_beats.valid, bool(beats) and not self.busy())
            ctx.set(dut.program_beats.payload, beats[0] if beats else 0)
            ctx.set(dut.prompt_ids.valid, bool(words) and not self.busy())
            ctx.set(dut.prompt_ids.payload, words[0] if words else 0)

            def moves(stream):
                return ctx.get(stream.valid) and ctx.get(stream.ready)

            if moves(dut.program_beats):
                beats.pop(0)
            if moves(dut.prompt_ids):
                words.pop(0)
            if moves(dut.program_requests):
                assert ctx.get(dut.program_requests.p.address) == PARAMETERS["program_base"]
                count = ctx.get(dut.program_requests.p.beats)
                beats += [int.from_bytes(image[step * index:step * (index + 1)], "little")
                          for index in range(count)]
                self.requests.append(count)
            if moves(dut.prompt_requests):
                place = ctx.get(dut.prompt_requests.payload) - PARAMETERS["token_base"]
                words.append(self.prompt[place // 4])
            if moves(dut.token_ids):
                self.fed.append(ctx.get(dut.token_ids.payload))
            if moves(dut.output_writes):
                self.written.append((ctx.get(dut.output_writes.p.address),
                                     ctx.get(dut.output_writes.p.data)))
            if ctx.get(dut.program_write):
                self.memory[ctx.get(dut.program_address)] = ctx.get(dut.program_word)
            await ctx.tick()

    async def begin(self, ctx, **changes):
        dut = self.dut
        ctx.set(dut.parameters, {**PARAMETERS, **changes})
        ctx.set(dut.start, 1)
        assert ctx.get(dut.clear) and ctx.get(dut.begin_stb)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.sequencing, 1)
        await ctx.tick().until(dut.start_stb)

    async def result(self, ctx, token, found=1):
        ctx.set(self.dut.results.valid, 1)
        ctx.set(self.dut.results.p, {"id": token, "found": found})
        await ctx.tick()
        ctx.set(self.dut.results.valid, 0)

    async def state(self, ctx, state, cycles=200):
        for _ in range(cycles):
            if State(ctx.get(self.dut.state)) is state:
                return
            await ctx.tick()
        raise AssertionError(f"{State(ctx.get(self.dut.state)).name}, not {state.name}")


@pytest.mark.parametrize("name", ["nano", "small", "u280"])
@pytest.mark.parametrize("stall", [0, 50])
def test_a_run_to_its_end(simulate, name, stall):
    host = Host(CONFIGS[name], stall=stall)

    async def bench(ctx):
        await host.begin(ctx)
        assert host.memory == dict(enumerate(WORDS))
        assert host.requests == [-(-len(WORDS) * 256 // CONFIGS[name].ddr_bits)]
        ctx.set(host.dut.progress, 1)
        await ctx.tick().repeat(40)
        for index, token in enumerate(host.results):
            await host.result(ctx, token)
            assert ctx.get(host.dut.token_count) == index + 1
            await ctx.tick().repeat(20)
        ctx.set(host.dut.busy, 1)
        ctx.set(host.dut.sequencing, 0)
        await host.state(ctx, State.FINISHING)
        await ctx.tick().repeat(5)
        assert State(ctx.get(host.dut.state)) is State.FINISHING
        ctx.set(host.dut.busy, 0)
        await host.state(ctx, State.DONE)
        assert host.fed == [3, 4, 7, 8]  # no instruction of a run asks for the last one
        assert host.written == [(0x3000, 7), (0x3004, 8)]

    simulate(host.dut, bench, background=[host.memories])


def test_the_end_of_text_drains_and_ends(simulate):
    host = Host(CONFIGS["nano"])

    async def bench(ctx):
        await host.begin(ctx)
        ctx.set(host.dut.progress, 1)
        await ctx.tick().repeat(30)
        await host.result(ctx, 9)
        await host.state(ctx, State.STOPPING)
        assert host.written == [(0x3000, 9)]
        assert ctx.get(host.dut.stop) and ctx.get(host.dut.halt) and not ctx.get(host.dut.clear)
        ctx.set(host.dut.drained, 1)
        assert ctx.get(host.dut.clear) and ctx.get(host.dut.done_stb)
        await ctx.tick()
        assert State(ctx.get(host.dut.state)) is State.DONE
        assert ctx.get(host.dut.token_count) == 1

    simulate(host.dut, bench, background=[host.memories])


@pytest.mark.parametrize("kind", ["fault", "watchdog", "token", "numeric"])
def test_errors_stop_the_core_until_a_reset(simulate, kind):
    host = Host(CONFIGS["nano"], prompt=(3, 50) if kind == "token" else (3, 4))
    dut = host.dut
    expected = {"fault": (Cause.HBM_READ, 3), "watchdog": (Cause.WATCHDOG_DDR, 0),
                "token": (Cause.TOKEN_RANGE, 1), "numeric": (Cause.NUMERIC, 1)}[kind]

    async def bench(ctx):
        ctx.set(dut.owing, {"cause": Cause.WATCHDOG_DDR})
        await host.begin(ctx)
        ctx.set(dut.progress, kind != "watchdog")
        await ctx.tick().repeat(20)
        if kind == "fault":
            ctx.set(dut.fault, {"cause": Cause.HBM_READ, "place": 3, "response": 2})
            assert ctx.get(dut.error_stb)
            await ctx.tick()
            ctx.set(dut.fault, {"cause": Cause.HBM_WRITE, "place": 1})
        if kind == "numeric":
            await host.result(ctx, 0, found=0)
        await host.state(ctx, State.FAILED)
        await ctx.tick().repeat(3)
        assert (ctx.get(dut.error.cause), ctx.get(dut.error.place)) == expected
        assert ctx.get(dut.stop)
        ctx.set(dut.start, 1)  # ignored
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert State(ctx.get(dut.state)) is State.FAILED
        ctx.set(dut.fault, {"cause": Cause.NONE})
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        await ctx.tick().repeat(5)
        assert State(ctx.get(dut.state)) is State.STOPPING  # until drained
        ctx.set(dut.drained, 1)
        await ctx.tick()
        assert State(ctx.get(dut.state)) is State.IDLE
        assert ctx.get(dut.error.cause) == Cause.NONE

    simulate(host.dut, bench, background=[host.memories])
