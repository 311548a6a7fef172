"""The sequencer against the loops written out in Python."""

import random

import pytest
from amaranth import Module
from amaranth.lib.memory import Memory

from dfx_rtl.control.sequencer import Sequencer
from dfx_rtl.isa import INSTRUCTION_BITS, Instruction, Opcode

OTHER = Instruction(Opcode.MOVE, length=1)


def program():
    flow = [Instruction(code) for code in (Opcode.TOKEN, Opcode.LAYER, Opcode.NEXT_LAYER,
                                           Opcode.LM_HEAD, Opcode.END)]
    token, layer, next_layer, lm_head, end = flow
    return [OTHER, OTHER, token, OTHER, layer, OTHER, OTHER, next_layer, OTHER, lm_head, OTHER, end]


def expected(layers, stride, inputs, outputs, first=0):
    """(instruction, layer, position, layer base) of every instruction that is passed on."""
    trace = [(0, 0, first, 0), (1, 0, first, 0)]
    for position in range(first, inputs + max(outputs, 1) - 1):
        trace.append((3, 0, position, 0))
        for layer in range(layers):
            trace += [(5, layer, position, layer * stride), (6, layer, position, layer * stride)]
        trace.append((8, layers, position, layers * stride))
        if outputs and position >= inputs - 1:
            trace.append((10, layers, position, layers * stride))
    return trace


def drive(dut, trace, *, stall, layers, stride, inputs, outputs, words, stop_after=None, first=0):
    top = Module()
    top.submodules.dut = dut
    top.submodules.memory = memory = Memory(
        shape=INSTRUCTION_BITS, depth=16, init=[word.encode() for word in words])
    read = memory.read_port()
    top.d.comb += [read.addr.eq(dut.program_address), dut.program_data.eq(read.data)]

    async def bench(ctx):
        rng = random.Random(stall)
        ctx.set(dut.run, {
            "program_length": len(words), "layers": layers, "layer_stride": stride,
            "input_count": inputs, "output_count": outputs, "first_position": first,
            "last_position": inputs + max(outputs, 1) - 2})
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        cycles = 0
        while ctx.get(dut.running):
            ctx.set(dut.issues.ready, rng.random() * 100 >= stall)
            if ctx.get(dut.issues.valid) and ctx.get(dut.issues.ready):
                tag = dut.issues.p.tag
                trace.append((ctx.get(tag.instruction), ctx.get(tag.layer),
                              ctx.get(tag.position), ctx.get(dut.issues.p.layer_base)))
                assert ctx.get(dut.issues.p.instruction) == words[trace[-1][0]].encode()
            if stop_after is not None and len(trace) >= stop_after:
                ctx.set(dut.stop, 1)
                assert not ctx.get(dut.issues.valid)
            await ctx.tick()
            cycles += 1
        drive.cycles = cycles

    return top, bench


@pytest.mark.parametrize("stall", [0, 60])
@pytest.mark.parametrize("layers,inputs,outputs,first", [(3, 3, 2, 0), (1, 1, 1, 0), (2, 4, 0, 0),
                                                         (2, 5, 2, 3), (1, 7, 1, 6)])
def test_loops(simulate, stall, layers, inputs, outputs, first):
    dut, trace, words = Sequencer(16), [], program()
    top, bench = drive(dut, trace, stall=stall, layers=layers, stride=1000, inputs=inputs,
                       outputs=outputs, words=words, first=first)
    simulate(top, bench)
    assert trace == expected(layers, 1000, inputs, outputs, first)


def test_an_instruction_every_other_cycle(simulate):
    dut, trace, words = Sequencer(16), [], program()
    top, bench = drive(dut, trace, stall=0, layers=2, stride=1, inputs=1, outputs=1, words=words)
    simulate(top, bench)
    flow = 1 + 1 + 2 + 1 + 1
    assert drive.cycles == 2 * (len(trace) + flow)


def test_stop_ends_at_once(simulate):
    dut, trace, words = Sequencer(16), [], program()
    top, bench = drive(dut, trace, stall=0, layers=2, stride=1, inputs=9, outputs=1, words=words,
                          stop_after=5)
    simulate(top, bench)
    assert len(trace) == 5
