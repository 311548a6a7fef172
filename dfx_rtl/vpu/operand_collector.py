"""The vector operand collector: reads what an instruction needs and deals it out in beats."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import CHUNK, LENGTH
from ..registers.ports import ScalarReadSignature, VectorReadSignature
from .jobs import BeatLayout, CollectorRequest, ScalarPair

__all__ = ["OperandCollector"]


class OperandCollector(wiring.Component):
    """Reads the chunks of up to three vectors through one port, and up to two scalars.

    The operands of a chunk are read one after another while the chunk before is dealt out, so a
    chunk of B = tile / lanes beats takes max(B, operands) cycles once reads are not waited for.
    The first read is tried in the cycle after the request; a chunk's first beat is there two
    cycles after its last operand was read. Elements beyond the length are +0 in every operand, and
    the last chunk ends with the beat that has the last valid element.

    If the request asks for statistics, the first operand streams once by itself, and then all
    operands together; the second pass is fetched while the first one is worked on. Beats wait for
    the scalars. ``operand.valid`` is combinational in ``beats.ready``.

    Source: DFX paper, section 4.3 (vector operand collector).

    Parameters
    ----------
    tile : int
        Values in a chunk.
    lanes : int
        Elements in a beat; divides ``tile``.

    Members
    -------
    requests : In(stream of CollectorRequest)
        Taken while nothing is read or dealt out.
    operand : Out(VectorReadSignature)
        The read port of the vector register file.
    scalar : Out(ScalarReadSignature)
        The read port of the scalar register file.
    scalars : Out(ScalarPair)
        The scalars of the request, until the next one.
    scalars_valid : Out(1)
        All the scalars that the request asks for are there.
    beats : Out(stream of BeatLayout)
        The vectors.

    Raises
    ------
    ValueError
        If ``lanes`` does not divide ``tile``.
    """

    def __init__(self, tile, lanes):
        if tile % lanes:
            raise ValueError(f"Lanes of an operand collector must divide the tile of {tile}, "
                             f"which {lanes} does not")
        self._tile = tile
        self._lanes = lanes
        super().__init__({
            "requests": In(stream.Signature(CollectorRequest)),
            "operand": Out(VectorReadSignature(tile)),
            "scalar": Out(ScalarReadSignature()),
            "scalars": Out(ScalarPair),
            "scalars_valid": Out(1),
            "beats": Out(stream.Signature(BeatLayout(lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        start = Signal()
        reading = Signal()
        dealing = Signal()
        request = Signal(CollectorRequest, reset_less=True)
        asked = self.requests.payload
        m.d.comb += [
            self.requests.ready.eq(~reading & ~dealing),
            start.eq(self.requests.valid & self.requests.ready),
        ]
        with m.If(start):
            m.d.sync += [
                request.eq(asked),
                reading.eq(asked.vector),
                dealing.eq(asked.vector),
            ]
        self._read_scalars(m, start)
        set_read, set_taken = Signal(), Signal()
        fetched = self._read_chunks(m, start, request, reading, set_read, set_taken)
        self._deal(m, start, request, dealing, fetched, set_read, set_taken)
        return m

    def _read_scalars(self, m, start):
        asked = self.requests.payload
        wanted = Signal(2)
        arriving = Signal(2)
        addresses = [Signal(asked.first.shape(), name=name, reset_less=True)
                     for name in ("first_address", "second_address")]
        pair = Signal(ScalarPair, reset_less=True)
        m.d.comb += [
            self.scalar.valid.eq(wanted.any()),
            self.scalar.address.eq(Mux(wanted[0], addresses[0], addresses[1])),
            self.scalars.eq(pair),
            self.scalars_valid.eq(~wanted.any() & ~arriving.any()),
        ]
        with m.If(start):
            m.d.sync += [
                wanted.eq(Cat(asked.first_enable, asked.second_enable)),
                addresses[0].eq(asked.first),
                addresses[1].eq(asked.second),
            ]
        with m.If(self.scalar.valid & self.scalar.ready):
            # The first one that is wanted is read: the lowest bit that is set.
            m.d.sync += [
                wanted.eq(wanted & (wanted - 1)),
                arriving.eq(wanted & ~(wanted - 1)),
            ]
        with m.Elif(arriving.any()):
            m.d.sync += arriving.eq(0)
        with m.If(arriving[0]):
            m.d.sync += pair.first.eq(self.scalar.data)
        with m.If(arriving[1]):
            m.d.sync += pair.second.eq(self.scalar.data)

    def _read_chunks(self, m, start, request, reading, set_read, set_taken):
        """Reads operand by operand. ``set_read``: all operands of a chunk are there."""
        asked = self.requests.payload
        bits = self._tile * 16
        addresses = [Signal(CHUNK, name=f"address{k}", reset_less=True) for k in range(3)]
        operand_index = Signal(2)
        last_operand = Signal(2)
        remaining = Signal(LENGTH, reset_less=True)
        statistics = Signal()
        held = Signal()
        held_index = Signal(2)
        held_last = Signal()
        consumed = Signal()
        fire = Signal()
        fetched = [Signal(bits, name=f"fetched{k}", reset_less=True) for k in range(2)]
        m.d.comb += [
            set_read.eq(held & held_last),
            consumed.eq(set_taken | ~held_last),
            last_operand.eq(Mux(statistics, 0, request.last_operand)),
            self.operand.valid.eq(reading & (~held | consumed)),
            fire.eq(self.operand.valid & self.operand.ready),
        ]
        with m.Switch(operand_index):
            for index in range(3):
                with m.Case(index):
                    m.d.comb += self.operand.address.eq(addresses[index])
        with m.If(start):
            m.d.sync += [
                *(address.eq(asked.sources[k]) for k, address in enumerate(addresses)),
                operand_index.eq(0),
                remaining.eq(asked.length),
                statistics.eq(asked.statistics),
            ]
        with m.If(held & ~held_last):
            # The port holds an operand only until the next one is read; the last one stays there.
            for index in range(2):
                with m.If(held_index == index):
                    m.d.sync += fetched[index].eq(self.operand.data)
        with m.If(fire):
            m.d.sync += [
                held.eq(1),
                held_index.eq(operand_index),
                held_last.eq(operand_index == last_operand),
            ]
            with m.Switch(operand_index):
                for index in range(3):
                    with m.Case(index):
                        m.d.sync += addresses[index].eq(addresses[index] + 1)
            with m.If(operand_index != last_operand):
                m.d.sync += operand_index.eq(operand_index + 1)
            with m.Else():
                m.d.sync += [
                    operand_index.eq(0),
                    remaining.eq(remaining - self._tile),
                ]
                with m.If(remaining <= self._tile):
                    with m.If(statistics):
                        m.d.sync += [
                            statistics.eq(0),
                            addresses[0].eq(request.sources[0]),
                            remaining.eq(request.length),
                        ]
                    with m.Else():
                        m.d.sync += reading.eq(0)
        with m.Elif(consumed):
            m.d.sync += held.eq(0)
        return fetched

    def _deal(self, m, start, request, dealing, fetched, set_read, set_taken):
        """Shifts the operands of a chunk out, a beat at a time."""
        asked = self.requests.payload
        beat_bits = self._lanes * 16
        beat_count = self._tile // self._lanes
        current = [Signal(self._tile * 16, name=f"current{k}", reset_less=True) for k in range(3)]
        current_valid = Signal()
        beat_index = Signal(range(beat_count))
        remaining = Signal(LENGTH, reset_less=True)
        statistics = Signal()
        fire = Signal()
        beat = self.beats.payload
        enable = Signal(self._lanes)
        mask = Signal(beat_bits)
        m.d.comb += [
            self.beats.valid.eq(current_valid & self.scalars_valid),
            fire.eq(self.beats.valid & self.beats.ready),
            set_taken.eq(set_read & (~current_valid | (fire & beat.chunk_last))),
            enable.eq(Cat(remaining > lane for lane in range(self._lanes))),
            mask.eq(Cat(bit.replicate(16) for bit in enable)),
            beat.enable.eq(enable),
            beat.chunk_first.eq(beat_index == 0),
            beat.last.eq(remaining <= self._lanes),
            beat.chunk_last.eq(beat.last | (beat_index == beat_count - 1)),
            beat.statistics.eq(statistics),
        ]
        for member, chunk in zip((beat.a, beat.b, beat.c), current, strict=True):
            m.d.comb += member.as_value().eq(chunk[:beat_bits] & mask)
        with m.If(start):
            m.d.sync += [
                remaining.eq(asked.length),
                statistics.eq(asked.statistics),
                beat_index.eq(0),
            ]
        with m.If(fire):
            m.d.sync += [chunk.eq(chunk >> beat_bits) for chunk in current]
            m.d.sync += [
                remaining.eq(remaining - self._lanes),
                beat_index.eq(beat_index + 1),
            ]
            with m.If(beat.chunk_last):
                m.d.sync += [current_valid.eq(0), beat_index.eq(0)]
            with m.If(beat.last):
                with m.If(statistics):
                    m.d.sync += [statistics.eq(0), remaining.eq(request.length)]
                with m.Else():
                    m.d.sync += dealing.eq(0)
        with m.If(set_taken):
            # The operand that was read last comes from the port, those before from `fetched`.
            last = Signal(2)
            arrived = self.operand.data.as_value()
            m.d.comb += last.eq(Mux(statistics & ~(fire & beat.last), 0, request.last_operand))
            m.d.sync += [
                current_valid.eq(1),
                current[0].eq(Mux(last == 0, arrived, fetched[0])),
                current[1].eq(Mux(last == 1, arrived, fetched[1])),
                current[2].eq(arrived),
            ]
        return m
