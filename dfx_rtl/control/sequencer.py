"""The sequencer: walks the program through the loops over tokens and layers."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import INSTRUCTION_BITS, OPCODE, TAG, TILE, Opcode

__all__ = ["IssueLayout", "RunLayout", "Sequencer"]

# What a run is: the shape of the loops. Positions count from the first to the last one.
RunLayout = data.StructLayout({
    "program_length": 13,
    "layers": 8,
    "layer_stride": TILE,
    "input_count": 16,
    "output_count": 16,
    "first_position": 16,
    "last_position": 16,
})

# An instruction in the stream of the program, and the state of the loops at its place.
IssueLayout = data.StructLayout({
    "instruction": INSTRUCTION_BITS,
    "tag": TAG,
    "layer_base": TILE,
})


class Sequencer(wiring.Component):
    """Reads instructions and carries out those of the flow format; passes the others on.

    Each core has two: one in front of the scheduler, one in front of the weight fetch, which so
    runs ahead of the scheduler through layers and tokens.

    The program is: setup instructions, once a run; ``TOKEN``; the instructions before the layers;
    ``LAYER``; a layer, repeated with the layer base moved on; ``NEXT_LAYER``; the instructions
    after the layers; ``LM_HEAD``; the LM head, left out on the tokens of the prompt but the last;
    ``END``. Before the layers the tag's layer is 0, after them it is the number of layers, and the
    layer base with it.

    Latency: 2 cycles from ``start`` to the first instruction. Throughput: one instruction, flow
    included, every 2 cycles. ``program_address`` is combinational in ``issues.ready``.

    Parameters
    ----------
    instructions : int
        Depth of the instruction memory.

    Members
    -------
    start : In(1)
        Begin at instruction 0; only while not running.
    stop : In(1)
        Stop at once; an instruction that waits is dropped.
    run : In(RunLayout)
        The shape of the run; constant while running.
    program_address, program_data : Out(range(instructions)), In(256)
        Read port of the instruction memory, latency 1.
    issues : Out(stream of IssueLayout)
        The instructions. Withdrawn by ``stop``.
    running : Out(1)
        Between ``start`` and the last instruction or ``stop``.
    """

    def __init__(self, instructions):
        super().__init__({
            "start": In(1),
            "stop": In(1),
            "run": In(RunLayout),
            "program_address": Out(range(instructions)),
            "program_data": In(INSTRUCTION_BITS),
            "issues": Out(stream.Signature(IssueLayout)),
            "running": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        run = self.run
        opcode = Signal(OPCODE)
        address = Signal.like(self.program_address)
        following = Signal.like(self.program_address)
        token_start = Signal.like(self.program_address, reset_less=True)
        layer_start = Signal.like(self.program_address, reset_less=True)
        fetched = Signal()
        position = Signal(16)
        layer = Signal(8)
        layer_base = Signal(TILE)
        is_flow = Signal()
        advance = Signal()

        m.d.comb += [
            opcode.eq(self.program_data[:OPCODE]),
            self.program_address.eq(address),
            self.issues.p.instruction.eq(self.program_data),
            self.issues.p.tag.instruction.eq(address),
            self.issues.p.tag.layer.eq(layer),
            self.issues.p.tag.position.eq(position),
            self.issues.p.layer_base.eq(layer_base),
            is_flow.eq((opcode >= Opcode.TOKEN) & (opcode <= Opcode.END)),
            self.issues.valid.eq(fetched & ~is_flow & ~self.stop),
            advance.eq(fetched & (is_flow | self.issues.ready)),
            following.eq(address + 1),
        ]

        with m.If(self.stop):
            m.d.sync += [self.running.eq(0), fetched.eq(0)]
        with m.Elif(self.start):
            m.d.sync += [
                self.running.eq(1), fetched.eq(0), address.eq(0),
                position.eq(run.first_position), layer.eq(0), layer_base.eq(0),
            ]
        with m.Elif(self.running & ~fetched):
            m.d.sync += fetched.eq(1)
        with m.Elif(advance):
            m.d.sync += [fetched.eq(0), address.eq(following)]
            end = Signal()
            with m.If(is_flow):
                with m.Switch(opcode):
                    with m.Case(Opcode.TOKEN):
                        m.d.sync += token_start.eq(following)
                    with m.Case(Opcode.LAYER):
                        m.d.sync += layer_start.eq(following)
                    with m.Case(Opcode.NEXT_LAYER):
                        m.d.sync += [
                            layer.eq(layer + 1),
                            layer_base.eq(layer_base + run.layer_stride),
                        ]
                        with m.If(layer + 1 != run.layers):
                            m.d.sync += address.eq(layer_start)
                    with m.Case(Opcode.LM_HEAD):
                        m.d.comb += end.eq((position + 1 < run.input_count)
                                           | (run.output_count == 0))
                    with m.Case(Opcode.END):
                        m.d.comb += end.eq(1)
                with m.If(end):
                    m.d.sync += [
                        address.eq(token_start), position.eq(position + 1),
                        layer.eq(0), layer_base.eq(0),
                    ]
                    with m.If(position == run.last_position):
                        m.d.sync += self.running.eq(0)
        return m
