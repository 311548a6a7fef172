"""Cores with a mechanism taken away, to measure what it earns: see ``scripts/ablation.py``."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, connect, flipped
from amaranth.utils import exact_log2

from dfx_rtl.control.activity import Activity
from dfx_rtl.core import Core
from dfx_rtl.isa import CHUNK

from .system import System

__all__ = ["HandicapLayout", "HandicappedMpu", "HandicappedSystem"]

#: Longest delay of results, in cycles, and one more: a power of two.
DELAYS = 64


class HandicapLayout(data.Struct):
    """What the MPU is made to suffer; all 0 is nothing. It is constant during a run.

    ``result_delay``: results, maxima, tokens and ends of instructions come so many cycles later.
    ``dead_cycles``: idle cycles in front of each instruction, at least 2.
    ``whole_vectors``: an instruction begins once the last chunk of its input is written, behind 2
    dead cycles.
    """
    result_delay: range(DELAYS)
    dead_cycles: 8
    whole_vectors: 1


class HandicappedMpu(wiring.Component):
    """An MPU behind logic that slows it down. Simulation only.

    Parameters
    ----------
    mpu : MatrixProcessingUnit
        The MPU.
    tile : int
        d.

    Members
    -------
    handicap : In(HandicapLayout)
        How it is slowed down.
    others
        Those of the MPU.
    """

    def __init__(self, mpu, tile):
        self._mpu = mpu
        self._tile = tile
        super().__init__({**mpu.signature.members, "handicap": In(HandicapLayout)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.mpu = mpu = self._mpu
        delayed = ("vector_write", "scalar_write", "token", "retired")
        for name, member in mpu.signature.members.items():
            if name in ("commands", "operand", *delayed):
                continue
            inner, outer = getattr(mpu, name), getattr(self, name)
            if member.is_signature:
                connect(m, inner, flipped(outer))
            else:
                m.d.comb += outer.eq(inner)
        self._gate(m, mpu)
        self._delay(m, mpu, delayed)
        return m

    def _gate(self, m, mpu):
        """Instructions enter late."""
        handicap, instruction = self.handicap, self.commands.payload.instruction
        idle, waited, go = Signal(), Signal(8, init=2), Signal()
        last_row = Signal(CHUNK + exact_log2(self._tile))
        m.d.comb += [
            last_row.eq(Mux(instruction.rows_from_position, self.commands.payload.tag.position,
                            instruction.rows - 1)),
            mpu.commands.payload.eq(self.commands.payload),
            mpu.commands.valid.eq(self.commands.valid & go),
            self.commands.ready.eq(mpu.commands.ready & go),
            self.operand.valid.eq(mpu.operand.valid),
            self.operand.address.eq(mpu.operand.address),
            mpu.operand.ready.eq(self.operand.ready),
            mpu.operand.data.eq(self.operand.data),
        ]
        # A cycle late, since the activity follows from what is read. `waited` counts this one too.
        m.d.sync += idle.eq((mpu.activity == Activity.ISSUE) & ~mpu.commands.valid)
        with m.If(~idle):
            m.d.sync += waited.eq(2)
        with m.Elif(waited < handicap.dead_cycles):
            m.d.sync += waited.eq(waited + 1)
        with m.If((handicap.dead_cycles == 0) & ~handicap.whole_vectors):
            m.d.comb += go.eq(1)
        with m.Elif(idle & (waited >= handicap.dead_cycles)):
            m.d.comb += go.eq(1)
            with m.If(handicap.whole_vectors):
                # The read port is free: ask for the last chunk, without reading it.
                m.d.comb += [
                    self.operand.address.eq(instruction.source
                                            + (last_row >> exact_log2(self._tile))),
                    go.eq(self.operand.ready),
                ]

    def _delay(self, m, mpu, delayed):
        """Results come late."""
        def parts(unit):
            for name in delayed:
                port = getattr(unit, name)
                if name == "retired":
                    yield port, None
                else:
                    yield port.valid, port.payload

        inner = [Value.cast(part) for pair in parts(mpu) for part in pair if part is not None]
        outer = [Value.cast(part) for pair in parts(self) for part in pair if part is not None]
        width = sum(map(len, inner))
        m.submodules.line = line = memory.Memory(shape=width, depth=DELAYS, init=[])
        write, read = line.write_port(), line.read_port(domain="comb")
        place = Signal(range(DELAYS))
        m.d.sync += place.eq(place + 1)
        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(Cat(inner)),
            write.en.eq(1),
            read.addr.eq(place - self.handicap.result_delay),
            Cat(outer).eq(Mux(self.handicap.result_delay == 0, Cat(inner), read.data)),
        ]
        for name in delayed[:-1]:
            m.d.comb += getattr(mpu, name).ready.eq(1)


class HandicappedSystem(System):
    """A :class:`.System` whose MPU can be slowed down.

    Members
    -------
    handicap : In(HandicapLayout)
        How.
    """

    def __init__(self, config):
        core = Core(config)
        core.units["mpu"] = self._mpu = HandicappedMpu(core.units["mpu"], config.tile)
        super().__init__(config, core, handicap=In(HandicapLayout))

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self._mpu.handicap.eq(self.handicap)
        return m
