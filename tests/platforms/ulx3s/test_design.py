"""The whole board over its serial line: a prompt in, the numpy machine's text out."""

import dataclasses
import string

import pytest

from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.gpt2 import Checkpoint
from dfx_rtl.gpt2.synthetic import write_random_checkpoint
from dfx_rtl.model import Machine
from platforms.ulx3s.console import Console
from platforms.ulx3s.design import CONFIG, Ulx3sDesign, compile_model
from platforms.ulx3s.script import start_script

VOCABULARY = list(string.ascii_lowercase[:23])
POSITIONS = 8
DIVISOR = 4


@pytest.fixture
def compiled(tmp_path):
    write_random_checkpoint(tmp_path / "model", emb=16, layers=1, heads=2,
                            vocabulary=len(VOCABULARY), positions=POSITIONS, seed=3)
    return compile_model(Checkpoint.load(tmp_path / "model"))


async def type_text(ctx, dut, text):
    for code in text.encode("latin-1"):
        for bit in (0, *(code >> place & 1 for place in range(8)), 1):
            ctx.set(dut.receive, bit)
            await ctx.tick().repeat(DIVISOR)
        # Longer than the echo takes: a console has room for one character.
        await ctx.tick().repeat(12 * DIVISOR)


async def read_line(ctx, dut):
    """What comes until a line feed."""
    text = ""
    while not text.endswith("\n"):
        await ctx.negedge(dut.transmit)
        await ctx.tick().repeat(DIVISOR // 2)
        code = 0
        for place in range(8):
            await ctx.tick().repeat(DIVISOR)
            code |= ctx.get(dut.transmit) << place
        await ctx.tick().repeat(DIVISOR)
        assert ctx.get(dut.transmit)
        text += chr(code)
    return text


def converse(simulate, dut, *lines):
    """Type each line, and return what came for each."""
    answers = []

    async def person(ctx):
        for number, line in enumerate(lines):
            await type_text(ctx, dut, line)
            while len(answers) == number:
                await ctx.tick()

    async def screen(ctx):
        while True:
            answers.append(await read_line(ctx, dut))

    simulate(dut, person, background=[screen], deadline=60_000)
    return answers


def expected(compiled, prompt):
    ids = [VOCABULARY.index(character) for character in prompt]
    tokens = Machine(compiled).run(ids, POSITIONS + 1 - len(ids))
    return prompt + "".join(VOCABULARY[token] for token in tokens) + "\r\n"


def test_prompts_and_answers(compiled, simulate):
    """Two runs; strange characters, a line without a prompt, and one that is too long."""
    answers = converse(simulate, Ulx3sDesign(compiled, VOCABULARY, DIVISOR),
                       "\nb!\xe9ad\n", "abcdefghabc\r")
    assert answers == [expected(compiled, "bad"), expected(compiled, "abcdefgh")]
    assert len(answers[0]) == len(answers[1]) == POSITIONS + 1 + 2


def test_a_core_that_fails(compiled, simulate):
    """The caches of K and V are not there; the console tells why, and takes the next prompt."""
    broken = dataclasses.replace(compiled, hbm=compiled.hbm[:, :1024])
    answers = converse(simulate, Ulx3sDesign(broken, VOCABULARY, DIVISOR), "bad\n", "a\n")
    assert answers == ["bad!06\r\n", "a!06\r\n"]


def test_the_script_is_the_driver_s(compiled):
    script = start_script(compiled.run)
    words = {write.name: write.word for write in script}
    assert script[0].name == script[-1].name == "CONTROL"
    assert script[-1].word == REGISTERS["CONTROL"].pack(start=1)
    assert words["LAYERS"] == 1 and words["EMBEDDING"] == 16
    assert {"INPUT_COUNT", "OUTPUT_COUNT"} < set(words)
    assert all(write.offset == REGISTERS[write.name].offset for write in script)


def test_vocabularies_of_other_things(compiled):
    for vocabulary, message in (
            (["a", "bc"], "token 1 must be one character of a byte, not 'bc'"),
            (["a", "€"], "token 1 must be one character of a byte, not '€'"),
            (["a"] * 257, "vocabulary must have at most 256 tokens, not 257")):
        with pytest.raises(ValueError) as caught:
            Console(compiled.run, vocabulary, 10, 128)
        assert str(caught.value) == message


def test_the_configuration_is_nano_with_less():
    assert (CONFIG.tile, CONFIG.lanes, CONFIG.vector_lanes) == (4, 1, 1)
