"""Injected faults: each ends in its cause and place; after the reset the next run is right."""

import numpy as np
import pytest

from dfx_rtl.bus.axi import Response
from dfx_rtl.control.causes import Cause
from dfx_rtl.control.state import State
from dfx_rtl.host.driver import CoreError, Driver
from dfx_rtl.isa import Opcode
from dfx_rtl.model.machine import Machine
from sim.memory.timing import FaultKind
from sim.simulation import Simulation

PROMPT, COUNT = [1, 5], 2
WATCHDOG = 1500


def fail_then_run(compiled, *, faults=None, before=None, between=None, prompt=PROMPT):
    """Run into an error, reset softly, run again: the error, whether it drained, the tokens."""
    simulation = Simulation(compiled)

    async def host(bus):
        driver = Driver(bus)
        await driver.configure(compiled.run, watchdog=WATCHDOG)
        if before is not None:
            before(simulation)
        with pytest.raises(CoreError) as caught:
            await driver.run(compiled.run, prompt, COUNT)
        assert (await driver.status()).state is State.FAILED
        drained = await driver.reset()
        if not drained:
            assert (await driver.status()).state is State.STOPPING
            return caught.value, False, None
        assert (await driver.read("ERROR"))["cause"] == Cause.NONE
        if between is not None:
            between(simulation)
        return caught.value, True, await driver.run(compiled.run, PROMPT, COUNT)

    outcome = simulation.engine.run(host, faults=faults)
    return simulation, outcome


@pytest.mark.parametrize("place,kind,after,cause,response", [
    (1, FaultKind.READ_SLVERR, 7, Cause.HBM_READ, Response.SLVERR),
    (0, FaultKind.READ_DECERR, 0, Cause.HBM_READ, Response.DECERR),
    (1, FaultKind.WRITE_SLVERR, 1, Cause.HBM_WRITE, Response.SLVERR),
    ("ddr", FaultKind.READ_DECERR, 3, Cause.DDR_READ, Response.DECERR),
    ("ddr", FaultKind.WRITE_SLVERR, 0, Cause.DDR_WRITE, Response.SLVERR),
])
def test_error_responses(tiny, place, kind, after, cause, response):
    compiled = tiny(layers=1)
    _, (error, drained, tokens) = fail_then_run(
        compiled, faults={place: {"kind": kind, "after": after}})
    assert error.cause == cause
    assert error.place == (0 if place == "ddr" else place)
    assert error.response is response
    assert drained
    assert tokens == Machine(compiled).run(PROMPT, COUNT)


@pytest.mark.parametrize("place,after,cause", [
    (1, 20, Cause.WATCHDOG_HBM),
    ("ddr", 2, Cause.WATCHDOG_DDR),
    ("ddr", 12, Cause.WATCHDOG_DDR),
])
def test_a_memory_that_stops_answering(tiny, place, after, cause):
    """It does not drain: only a full reset, memories included, brings the core back."""
    compiled = tiny(layers=1)
    simulation, (error, drained, _) = fail_then_run(
        compiled, faults={place: {"kind": FaultKind.HANG, "after": after}})
    assert error.cause == cause
    assert error.place == (0 if place == "ddr" else place)
    assert not drained
    assert simulation.generate(PROMPT, COUNT).tokens == Machine(compiled).run(PROMPT, COUNT)


def program_patch(compiled, opcode, occurrence, change):
    """Change the word of an instruction in DDR; returns (address, patch, repair)."""
    places = [index for index, instruction in enumerate(compiled.instructions)
              if instruction.opcode == opcode]
    address = places[occurrence]
    start = compiled.run.program_base + 32 * address
    good = compiled.instructions[address].encode()

    def write(simulation, word):
        simulation.ddr.array[start:start + 32] = list(word.to_bytes(32, "little"))

    return (address, lambda simulation: write(simulation, change(good)),
            lambda simulation: write(simulation, good))


@pytest.mark.parametrize("cause,opcode,change", [
    (Cause.ILLEGAL_INSTRUCTION, Opcode.LAYERNORM, lambda word: word | 0x3F),
    (Cause.ILLEGAL_INSTRUCTION, Opcode.SOFTMAX, lambda word: 0),
    (Cause.REGISTER_RANGE, Opcode.ADD, lambda word: word | 0xFFF << 6),
    (Cause.HBM_RANGE, Opcode.STORE_KEY, lambda word: word | 1 << 126),
])
def test_instructions_that_cannot_run(tiny, cause, opcode, change):
    compiled = tiny(layers=1)
    address, patch, repair = program_patch(compiled, opcode, 0, change)
    _, (error, drained, tokens) = fail_then_run(compiled, before=patch, between=repair)
    assert (error.cause, error.place) == (cause, address)
    assert drained
    assert tokens == Machine(compiled).run(PROMPT, COUNT)


def test_weights_out_of_range(tiny):
    compiled = tiny(layers=1)
    offset = 6 + 12 + 12 + 17 + 17 + 6  # of the field `tile`
    address, patch, repair = program_patch(compiled, Opcode.CONV1D, 1,
                                           lambda word: word | 1 << offset + 30)
    _, (error, drained, tokens) = fail_then_run(compiled, before=patch, between=repair)
    assert (error.cause, error.place) == (Cause.HBM_RANGE, address)
    assert drained and tokens == Machine(compiled).run(PROMPT, COUNT)


def test_a_token_that_is_none(tiny):
    compiled = tiny(layers=1)
    _, (error, drained, tokens) = fail_then_run(compiled, prompt=[3, compiled.run.vocabulary])
    assert (error.cause, error.place) == (Cause.TOKEN_RANGE, 1)
    assert drained and tokens == Machine(compiled).run(PROMPT, COUNT)


def test_logits_that_are_all_nan(tiny):
    compiled = tiny(layers=1)
    head = next(region for region in compiled.layout.fixed if region.name == "lm_head")
    word = compiled.config.word_bytes
    good = [channel.copy() for channel in compiled.hbm]

    def spoil(simulation):
        for storage in simulation.hbm:
            storage.fill(head.start * word, head.end * word, (0x7E00,))

    def mend(simulation):
        for storage, image in zip(simulation.hbm, good, strict=True):
            storage.array[head.start * word:head.end * word] = \
                np.asarray(image)[head.start * word:head.end * word]

    _, (error, drained, tokens) = fail_then_run(compiled, before=spoil, between=mend)
    assert (error.cause, error.place) == (Cause.NUMERIC, len(PROMPT) - 1)
    assert drained and tokens == Machine(compiled).run(PROMPT, COUNT)


def test_a_reset_in_the_middle_of_a_run(tiny):
    compiled = tiny(layers=1)
    simulation = Simulation(compiled)

    async def host(bus):
        driver = Driver(bus)
        await driver.configure(compiled.run, watchdog=WATCHDOG)
        outcomes = []
        for reads in (5, 60, 150):
            await driver.start(compiled.run, PROMPT, COUNT)
            for _ in range(reads):
                await driver.status()
            outcomes.append(await driver.reset())
        return outcomes, await driver.run(compiled.run, PROMPT, COUNT)

    outcomes, tokens = simulation.engine.run(host)
    assert outcomes == [True] * 3
    assert tokens == Machine(compiled).run(PROMPT, COUNT)
