"""What a core sends of its own: the chunks of its share, or its best token."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.results import TokenLayout
from ..control.ring import DIRECTIONS, FLIT_RUN
from ..isa import CHUNK, Opcode, layout
from ..registers.ports import VectorReadSignature
from .layouts import CANDIDATE, FlitLayout

__all__ = ["OwnShare"]


class OwnShare(wiring.Component):
    """Makes the flits of the own share, each as soon as its chunk is written, for both directions.

    A share of no chunks is one flit that says so. ARG_MAX takes the MPU's token, which is one flit.
    A flit goes to all directions that are used in the same cycle, when all of them have room.

    Latency: 1 cycle from ``start`` to the first read; 1 from a read, or from the token, to
    ``own_stb``. Throughput: a flit a cycle. ``own_stb`` is combinational in ``own_room`` and
    ``hold``; ``operand.valid`` and ``tokens.ready`` are, too.

    Parameters
    ----------
    tile : int
        Values in a chunk.

    Members
    -------
    start, instruction : In(1), In(layout of the router format)
        An instruction begins; only when ``done``.
    enable : In(1)
        It is in progress.
    operand : Out(VectorReadSignature)
        Reads the chunks.
    tokens : In(stream of TokenLayout)
        The best token of the own share.
    run : In(4)
        Number of the run; constant.
    used : In(2)
        A bit for each direction that the flits go to; constant.
    own_room : In(2)
        A bit for each direction that has room.
    hold : In(1)
        Nothing must be handed over in this cycle.
    own_stb, own : Out(2), Out(FlitLayout)
        A flit is handed over to these directions; its hops are 0.
    candidate_stb, candidate : Out(1), Out(CANDIDATE)
        The own token is handed over.
    done : Out(1)
        Everything is handed over.
    """

    def __init__(self, tile):
        super().__init__({
            "start": In(1),
            "instruction": In(layout("router")),
            "enable": In(1),
            "operand": Out(VectorReadSignature(tile)),
            "tokens": In(stream.Signature(TokenLayout())),
            "run": In(FLIT_RUN),
            "used": In(DIRECTIONS),
            "own_room": In(DIRECTIONS),
            "hold": In(1),
            "own_stb": Out(DIRECTIONS),
            "own": Out(FlitLayout(tile)),
            "candidate_stb": Out(1),
            "candidate": Out(CANDIDATE),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        arg_max = Signal(reset_less=True)
        empty = Signal(reset_less=True)
        address = Signal(CHUNK, reset_less=True)  # of the next chunk
        place = Signal(CHUNK, reset_less=True)    # of it in the vector
        left = Signal(CHUNK, reset_less=True)
        due = Signal()                            # a flit has still to be made
        pending = Signal()                        # a flit is made and not handed over
        index = Signal(CHUNK, reset_less=True)
        last = Signal(reset_less=True)
        candidate = Signal(CANDIDATE, reset_less=True)

        able = Signal()
        made = Signal()
        ends = Signal()
        pushed = Signal()
        m.d.comb += [
            pushed.eq(self.enable & pending & ~self.hold & (self.own_room | ~self.used).all()),
            able.eq(self.enable & due & (~pending | pushed)),
            self.operand.address.eq(address),
            self.operand.valid.eq(able & ~arg_max & ~empty),
            self.tokens.ready.eq(able & arg_max),
            made.eq(able & Mux(arg_max, self.tokens.valid, empty | self.operand.ready)),
            ends.eq(arg_max | empty | (left == 1)),
            self.done.eq(~due & ~pending),

            # The data of the last read stays in the read port.
            self.own.data.eq(self.operand.data),
            self.own.index.eq(index),
            self.own.last.eq(last),
            self.own.empty.eq(empty),
            self.own.arg_max.eq(arg_max),
            self.own.run.eq(self.run),
            self.candidate.eq(candidate),
            self.candidate_stb.eq(pushed & arg_max),
        ]
        with m.If(arg_max):
            m.d.comb += self.own.data.eq(candidate)
        with m.If(pushed):
            m.d.comb += self.own_stb.eq(self.used)

        with m.If(made):
            m.d.sync += [
                pending.eq(1),
                index.eq(place),
                last.eq(ends),
                due.eq(~ends),
                address.eq(address + 1),
                place.eq(place + 1),
                left.eq(left - 1),
            ]
            with m.If(arg_max):
                m.d.sync += [
                    candidate.logit.eq(self.tokens.p.logit),
                    candidate.index.eq(self.tokens.p.id),
                    candidate.found.eq(self.tokens.p.found),
                ]
        with m.Elif(pushed):
            m.d.sync += pending.eq(0)
        with m.If(self.start):
            m.d.sync += [
                arg_max.eq(self.instruction.opcode == Opcode.ARG_MAX),
                empty.eq((self.instruction.opcode == Opcode.SYNC)
                         & (self.instruction.chunks == 0)),
                address.eq(self.instruction.source),
                place.eq(self.instruction.source - self.instruction.destination),
                left.eq(self.instruction.chunks),
                due.eq(1),
            ]
        return m
