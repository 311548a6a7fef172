"""The router: makes the vector that the cores share out of each core's part of it."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..control.commands import RouterCommand
from ..control.results import TokenLayout
from ..control.ring import DIRECTIONS, FLIT_RUN, FaultPlace
from ..isa import Opcode
from ..registers.ports import VectorReadSignature, VectorWriteSignature
from .arrivals import Arrivals
from .best import BestCandidate
from .layouts import FlitLayout
from .own_share import OwnShare
from .sender import Sender

__all__ = ["Router"]


class Router(wiring.Component):
    """Executes SYNC and ARG_MAX, in order, over a ring of up to 8 cores.

    SYNC sends the chunks of the own share, which stand in their place in the vector, each as soon
    as it is written, and writes those of all others. ARG_MAX sends the MPU's token and hands the
    best of all on: the largest logit in binary32, the lowest index of equals. With one core there
    is neither, and the MPU's tokens go straight to ``results``.

    Direction 0 goes from each core to the next, direction 1 the other way. Own flits take both if
    the ring is bidirectional, each half of the way round, else direction 0 all the way. Each core
    writes a flit and passes it on until its ``hops`` are used up. A link keeps the order of flits,
    and an instruction ends only when all its flits are handed over, so those of the next follow.

    ``clear`` ends what is in progress. What is handed over stays: a neighbour may need it, and a
    stream does not take back what it offers. So flits of an ended run can arrive in the next one:
    each carries the number of its run, and the first instruction drops those of another. All cores
    must have the same ``run``, another than before, and all must have stopped before one starts.

    Latency, in cycles: 1 from the transfer of a command to the first read; 2 from a read, or from
    the MPU's token, to ``send``; 0 from ``receive`` to ``vector_write``; 1 from ``receive`` to
    ``send``; 1 from the last flit that is taken or made to ``retired``, or to the result of an
    ARG_MAX. A command is taken in the cycle in which the one before it ends. Throughput: a chunk a
    cycle in each direction out; a flit a cycle in, both directions together, as there is one write
    port. ``receive.ready`` is combinational in ``receive.valid``.

    Parameters
    ----------
    config : CoreConfig
        ``tile`` is used.

    Members
    -------
    commands : In(stream.Signature(RouterCommand))
        Instructions.
    operand : Out(VectorReadSignature)
        Where the own chunks are read.
    vector_write : Out(VectorWriteSignature)
        The chunks of the others; stable until it is taken.
    tokens, results : In(stream of TokenLayout), Out(stream of TokenLayout)
        The arg max of the own share, and that of all shares.
    send, receive : Out(stream of FlitLayout), In(stream of FlitLayout), one a direction
        To and from the neighbours: ``send[0]`` to the next core, ``receive[0]`` from the one before
        it, ``send[1]`` to the one before, ``receive[1]`` from the next.
    core_count, bidirectional, run : In(4), In(1), In(4)
        The ring and the number of the run; constant in a run.
    clear : In(1)
        Forget what is in progress.
    retired : Out(1)
        An instruction has ended, all its register writes are done.
    awaited, blocked : Out(2), Out(2)
        A bit for each direction in which an instruction waits: for what it needs, or for a
        neighbour that does not take what is offered.
    progress : Out(1)
        Something moved.
    fault, place : Out(1), Out(FaultPlace)
        A flit has broken a rule: nothing goes on until ``clear``. Both stay until then.
    """

    # Ref: DFX paper, section 5.4 (router) and section 4.1 (all-gather round the ring).

    def __init__(self, config):
        self._tile = tile = config.tile
        flit = FlitLayout(tile)
        super().__init__({
            "commands": In(stream.Signature(RouterCommand)),
            "operand": Out(VectorReadSignature(tile)),
            "vector_write": Out(VectorWriteSignature(tile)),
            "tokens": In(stream.Signature(TokenLayout())),
            "results": Out(stream.Signature(TokenLayout())),
            "send": Out(stream.Signature(flit)).array(DIRECTIONS),
            "receive": In(stream.Signature(flit)).array(DIRECTIONS),
            "core_count": In(4),
            "bidirectional": In(1),
            "run": In(FLIT_RUN),
            "clear": In(1),
            "retired": Out(1),
            "awaited": Out(DIRECTIONS),
            "blocked": Out(DIRECTIONS),
            "progress": Out(1),
            "fault": Out(1),
            "place": Out(FaultPlace),
        })

    def elaborate(self, platform):
        m = Module()
        clear = ResetInserter(self.clear)
        own, arrivals, best = OwnShare(self._tile), Arrivals(self._tile), BestCandidate()
        m.submodules.own_share = clear(own)
        m.submodules.arrivals = clear(arrivals)
        m.submodules.best = clear(best)

        # How far flits go: half round the ring each way, or all round in direction 0.
        hops = [Signal(3, name=f"hops{way}") for way in range(DIRECTIONS)]
        others = Signal(4)
        m.d.comb += [
            others.eq(self.core_count - 1),
            hops[0].eq(Mux(self.bidirectional, self.core_count >> 1, others)),
            hops[1].eq(Mux(self.bidirectional, others >> 1, 0)),
        ]

        # One instruction at a time.
        busy = Signal()
        tag = Signal.like(self.commands.p.tag, reset_less=True)
        arg_max = Signal(reset_less=True)
        complete = Signal()
        ends = Signal()
        start = Signal()
        m.d.comb += [
            complete.eq(busy & own.done & arrivals.done),
            ends.eq(complete & (~arg_max | self.results.ready)),
            self.retired.eq(ends),
            self.commands.ready.eq(~busy | ends),
            start.eq(self.commands.valid & self.commands.ready),
        ]
        with m.If(start):
            m.d.sync += [
                busy.eq(1), tag.eq(self.commands.p.tag),
                arg_max.eq(self.commands.p.instruction.opcode == Opcode.ARG_MAX),
            ]
        with m.Elif(ends):
            m.d.sync += busy.eq(0)
        with m.If(self.clear):
            m.d.sync += busy.eq(0)

        connect(m, own.operand, flipped(self.operand))
        connect(m, arrivals.vector_write, flipped(self.vector_write))
        for way, receive in enumerate(self.receive):
            connect(m, flipped(receive), arrivals.receive[way])
            m.d.comb += arrivals.hops[way].eq(hops[way])
        for part in (own, arrivals):
            m.d.comb += [
                part.start.eq(start),
                part.instruction.eq(self.commands.p.instruction),
                part.enable.eq(busy & ~arrivals.fault),
                part.run.eq(self.run),
            ]
        m.d.comb += [
            arrivals.tag.eq(self.commands.p.tag),
            arrivals.own_stb.eq(own.own_stb),
            own.used.eq(Cat(count != 0 for count in hops)),
            own.hold.eq(arrivals.hold),
        ]
        sent = self._elaborate_senders(m, own, arrivals, hops, busy)
        self._elaborate_tokens(m, own, arrivals, best, start, complete & arg_max, tag)
        m.d.comb += [
            self.awaited.eq(arrivals.awaited),
            self.progress.eq(arrivals.taken | own.own_stb.any() | sent),
            self.fault.eq(arrivals.fault),
            self.place.eq(arrivals.place),
        ]
        return m

    def _elaborate_senders(self, m, own, arrivals, hops, busy):
        """The queues out, which ``clear`` does not touch; returns whether something leaves."""
        moves = Signal(DIRECTIONS)
        for way in range(DIRECTIONS):
            m.submodules[f"sender{way}"] = sender = Sender(self._tile)
            connect(m, sender.send, flipped(self.send[way]))
            m.d.comb += [
                own.own_room[way].eq(sender.own_room),
                arrivals.room[way].eq(sender.room),
                sender.own_stb.eq(own.own_stb[way]),
                sender.own.eq(own.own),
                sender.own.hops.eq(hops[way]),
                sender.forward_stb.eq(arrivals.forward_stb[way]),
                sender.forward.eq(arrivals.forward),
                moves[way].eq(sender.send.valid & sender.send.ready),
                self.blocked[way].eq(busy & sender.send.valid & ~sender.send.ready),
            ]
        return moves.any()

    def _elaborate_tokens(self, m, own, arrivals, best, start, found, tag):
        """A core that is alone has its own token; else the best of all is the result."""
        m.d.comb += [
            best.clear_stb.eq(start),
            best.stb.eq(own.candidate_stb | arrivals.candidate_stb),
            best.candidate.eq(Mux(own.candidate_stb, own.candidate, arrivals.candidate)),
        ]
        with m.If(self.core_count <= 1):
            connect(m, flipped(self.tokens), flipped(self.results))
        with m.Else():
            connect(m, flipped(self.tokens), own.tokens)
            m.d.comb += [
                self.results.valid.eq(found),
                self.results.p.id.eq(best.best.index),
                self.results.p.logit.eq(best.best.logit),
                self.results.p.found.eq(best.best.found),
                self.results.p.tag.eq(tag),
            ]
