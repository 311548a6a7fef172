"""What comes from the other cores: checked, written and passed on."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.ring import DIRECTIONS, FLIT_RUN, FaultPlace, FlitFault
from ..isa import CHUNK, TAG, Opcode, layout
from ..registers.ports import VectorWriteSignature
from .layouts import CANDIDATE, FlitLayout

__all__ = ["Arrivals"]

_HOPS = 3


class Arrivals(wiring.Component):
    """Takes the flits of both directions, one a cycle.

    What has to come is known before: in each direction a last flit from each of ``hops`` cores, who
    are told apart by the hops that are left. When they have come nothing more is taken, so that
    flits of the next instruction wait for it. A flit with more hops to go is passed on in the cycle
    in which it is taken. While both directions have one they take turns. A flit of another run is
    dropped. A flit that breaks a rule is not taken, and nothing after it.

    Latency: ``receive`` to ``vector_write``, ``forward_stb`` and ``candidate_stb`` is
    combinational, and so is ``receive.ready`` in ``receive.valid`` and in ``vector_write.ready``;
    ``done`` follows in the next cycle. Throughput: a flit a cycle, both directions together.
    ``vector_write`` is stable until it is taken.

    Parameters
    ----------
    tile : int
        Values in a chunk.

    Members
    -------
    start, instruction, tag : In(1), In(layout of the router format), In(TAG)
        An instruction begins; only when ``done``.
    enable : In(1)
        It is in progress.
    receive : In(stream of FlitLayout), one a direction
        From the other cores.
    run : In(4)
        Number of the run; constant.
    hops : In(3), one a direction
        How many cores are heard that way; constant.
    room : In(2)
        A bit for each direction in which a flit can be passed on.
    own_stb : In(2)
        A bit for each direction in which the core sends a flit of its own; nothing is passed on
        there in this cycle. It must be 0 while ``hold``.
    hold : Out(1)
        A chunk waits for the register file, and the flit must not lose its way on.
    vector_write : Out(VectorWriteSignature)
        The chunks.
    forward_stb, forward : Out(2), Out(FlitLayout)
        A flit is passed on in that direction.
    candidate_stb, candidate : Out(1), Out(CANDIDATE)
        The best token of another core.
    taken : Out(1)
        A flit is taken, or dropped.
    awaited : Out(2)
        A bit for each direction from which something has still to come.
    done : Out(1)
        Everything has come.
    fault, place : Out(1), Out(FaultPlace)
        A rule was broken; both stay.
    """

    def __init__(self, tile):
        flit = FlitLayout(tile)
        super().__init__({
            "start": In(1),
            "instruction": In(layout("router")),
            "tag": In(TAG),
            "enable": In(1),
            "receive": In(stream.Signature(flit)).array(DIRECTIONS),
            "run": In(FLIT_RUN),
            "hops": In(_HOPS).array(DIRECTIONS),
            "room": In(DIRECTIONS),
            "own_stb": In(DIRECTIONS),
            "hold": Out(1),
            "vector_write": Out(VectorWriteSignature(tile)),
            "forward_stb": Out(DIRECTIONS),
            "forward": Out(flit),
            "candidate_stb": Out(1),
            "candidate": Out(CANDIDATE),
            "taken": Out(1),
            "awaited": Out(DIRECTIONS),
            "done": Out(1),
            "fault": Out(1),
            "place": Out(FaultPlace),
        })

    def elaborate(self, platform):
        m = Module()
        arg_max = Signal(reset_less=True)
        tag = Signal(TAG, reset_less=True)
        base = Signal(CHUNK, reset_less=True)
        total = Signal(CHUNK, reset_less=True)
        share_first = Signal(CHUNK, reset_less=True)
        share_end = Signal(CHUNK, reset_less=True)
        expected = Signal(CHUNK, reset_less=True)  # chunks of all others
        received = Signal(CHUNK + 1, reset_less=True)
        # A bit for each number of hops: the last flit from there has still to come.
        pending = [Signal(1 << _HOPS, name=f"pending{way}") for way in range(DIRECTIONS)]
        active = Signal()
        wrong_count = Signal()
        m.d.comb += [
            active.eq(self.enable & ~self.fault),
            self.awaited.eq(Cat(active & bits.any() for bits in pending)),
            wrong_count.eq(active & ~self.awaited.any() & ~arg_max & (received != expected)),
            self.done.eq(~self.awaited.any() & ~self.fault & ~wrong_count),
        ]

        # Which direction: in turns, but one that waits for the register file goes on waiting.
        eligible = Signal(DIRECTIONS)
        way = Signal()
        previous = Signal(init=1)
        for index, receive in enumerate(self.receive):
            passes = Signal(name=f"passes{index}")
            m.d.comb += [
                passes.eq(receive.p.hops > 1),
                eligible[index].eq(receive.valid & self.awaited[index]
                                   & (~passes | (self.room[index] & ~self.own_stb[index]))
                                   & ~(arg_max & self.own_stb.any())),
            ]
        with m.If(self.hold):
            m.d.comb += way.eq(previous)
        with m.Elif(eligible.all()):
            m.d.comb += way.eq(~previous)
        with m.Else():
            m.d.comb += way.eq(eligible[1])
        # The rules of both directions at once: which one is meant is known as late as they are.
        rules = [self._elaborate_rules(m, index, arg_max, total, share_first, share_end, bits)
                 for index, bits in enumerate(pending)]
        flit = Signal(self.forward.shape())
        broken = Signal()
        rule = Signal(FlitFault)
        m.d.comb += flit.eq(Mux(way, self.receive[1].p, self.receive[0].p))
        m.d.comb += Cat(broken, rule).eq(Mux(way, *(Cat(pair) for pair in reversed(rules))))
        stale = Signal()
        current = Signal()  # a flit of this run, and nothing wrong with it
        writes = Signal()
        m.d.comb += [
            stale.eq(flit.run != self.run),
            current.eq(eligible.any() & ~stale & ~broken),
            writes.eq(current & ~arg_max & ~flit.empty),
            self.vector_write.valid.eq(writes),
            self.vector_write.p.address.eq(base + flit.index),
            self.vector_write.p.data.eq(flit.data),
            self.vector_write.p.tag.eq(tag),
            self.taken.eq(eligible.any() & (stale | ~broken)
                          & (~writes | self.vector_write.ready)),
            self.forward.eq(flit),
            self.forward.hops.eq(flit.hops - 1),
            self.candidate.eq(flit.data),
            self.candidate_stb.eq(self.taken & current & arg_max),
        ]
        for index, receive in enumerate(self.receive):
            m.d.comb += [
                receive.ready.eq(self.taken & (way == index)),
                self.forward_stb[index].eq(receive.ready & current & (flit.hops > 1)),
            ]
        m.d.sync += self.hold.eq(writes & ~self.vector_write.ready)
        with m.If(eligible.any()):
            m.d.sync += previous.eq(way)
        with m.If(self.taken & current):
            m.d.sync += received.eq(received + writes)
            with m.If(flit.last):
                for index, bits in enumerate(pending):
                    with m.If(way == index):
                        m.d.sync += bits.eq(bits & ~(1 << flit.hops))
        with m.If(eligible.any() & ~stale & broken):
            m.d.sync += [
                self.fault.eq(1), self.place.index.eq(flit.index),
                self.place.fault.eq(rule), self.place.direction.eq(way),
            ]
        with m.If(wrong_count):
            m.d.sync += [
                self.fault.eq(1), self.place.index.eq(received),
                self.place.fault.eq(FlitFault.COUNT), self.place.direction.eq(0),
            ]

        with m.If(self.start):
            first = Signal(CHUNK)
            m.d.comb += first.eq(self.instruction.source - self.instruction.destination)
            m.d.sync += [
                arg_max.eq(self.instruction.opcode == Opcode.ARG_MAX),
                tag.eq(self.tag),
                base.eq(self.instruction.destination),
                total.eq(self.instruction.total),
                share_first.eq(first),
                share_end.eq(first + self.instruction.chunks),
                expected.eq(self.instruction.total - self.instruction.chunks),
                received.eq(0),
                *(bits.eq(((1 << hops) - 1) << 1)
                  for bits, hops in zip(pending, self.hops, strict=True)),
            ]
        return m

    def _elaborate_rules(self, m, way, arg_max, total, share_first, share_end, from_there):
        """Whether a direction's flit breaks a rule, and which."""
        flit = self.receive[way].p
        limit = self.hops[way]
        broken = Signal(name=f"broken{way}")
        rule = Signal(FlitFault, name=f"rule{way}")
        place = flit.index
        m.d.comb += broken.eq(1)
        with m.If((flit.hops == 0) | (flit.hops > limit)):
            m.d.comb += rule.eq(FlitFault.HOPS)
        with m.Elif(~from_there.bit_select(flit.hops, 1)):
            m.d.comb += rule.eq(FlitFault.EXTRA)
        with m.Elif((flit.arg_max != arg_max) | ((flit.empty | arg_max) & ~flit.last)):
            m.d.comb += rule.eq(FlitFault.KIND)
        with m.Elif(~arg_max & ~flit.empty & (place >= total)):
            m.d.comb += rule.eq(FlitFault.INDEX)
        with m.Elif(~arg_max & ~flit.empty & (place >= share_first) & (place < share_end)):
            m.d.comb += rule.eq(FlitFault.OWN_SHARE)
        with m.Else():
            m.d.comb += broken.eq(0)
        return broken, rule
