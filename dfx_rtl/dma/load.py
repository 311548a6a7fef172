"""The load unit: DDR to the vector register file, and DDR to HBM."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.commands import DmaCommand
from ..isa import CHUNK, TAG, TILE, TILES, Index, Opcode
from ..registers.ports import VectorWriteSignature
from .requests import ADDRESS, HbmWriteLayout, ReadRequestLayout

__all__ = ["LoadUnit"]

_BURST = 16
# Beats that are asked for and not yet used: covers a latency of as many cycles.
_PLACES = 64
# Instructions whose data is on its way.
_PENDING = 4


class LoadUnit(wiring.Component):
    """Executes LOAD and COPY.

    An instruction takes two cycles to work out its address, then asks for a burst of up to 16 beats
    a cycle, as long as there is a place for the data. The next instruction is begun while data is
    still on its way. A beat is used each cycle; a chunk leaves in the cycle after its last beat.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    commands : In(stream.Signature(DmaCommand))
        Instructions.
    token : In(stream.Signature(17))
        Token ids: one is taken for each LOAD whose index is TOKEN.
    requests : Out(stream.Signature(ReadRequestLayout))
        To the DDR port.
    beats : In(stream.Signature(ddr_bits))
        From the DDR port; never stalled.
    vector_write : Out(VectorWriteSignature)
        Chunks.
    copy : Out(stream.Signature(HbmWriteLayout))
        Words of tiles.
    writes_idle : In(1)
        The HBM has acknowledged all writes; COPY waits for it at its end.
    retired : Out(1)
        An instruction is finished.
    idle : Out(1)
        No instruction is in progress.
    """

    # Ref: DFX paper, section 5.2 (the DMA of a core).

    def __init__(self, config):
        self._config = config
        super().__init__({
            "commands": In(stream.Signature(DmaCommand)),
            "token": In(stream.Signature(17)),
            "requests": Out(stream.Signature(ReadRequestLayout())),
            "beats": In(stream.Signature(config.ddr_bits)),
            "vector_write": Out(VectorWriteSignature(config.tile)),
            "copy": Out(stream.Signature(HbmWriteLayout(config))),
            "writes_idle": In(1),
            "retired": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.beat_fifo = beats = fifo.SyncFIFOBuffered(
            width=self._config.ddr_bits, depth=_PLACES)
        job = data.StructLayout({
            "copy": 1, "chunk": CHUNK, "tile": TILE, "count": TILES, "tag": TAG})
        m.submodules.job_fifo = jobs = fifo.SyncFIFO(width=job.size, depth=_PENDING)
        m.d.comb += [
            beats.w_data.eq(self.beats.payload),
            beats.w_en.eq(self.beats.valid),
            self.beats.ready.eq(beats.w_rdy),
        ]
        resting = self._elaborate_requests(m, jobs, job, beats.r_rdy & beats.r_en)
        busy = self._elaborate_data(m, jobs, job, beats)
        m.d.comb += self.idle.eq(resting & ~busy & ~jobs.r_rdy)
        return m

    def _elaborate_requests(self, m, jobs, job, used):
        config = self._config
        size = exact_log2(config.ddr_bytes_per_beat)
        instruction = self.commands.payload.instruction
        tag = self.commands.payload.tag
        is_copy = Signal()
        resting = Signal()
        by_token = Signal()
        next_job = Signal(job)
        count = Signal(TILES)
        beats_in_chunk = exact_log2(config.chunk_bits // config.ddr_bits)
        beats_in_tile = exact_log2(config.tile_bits // config.ddr_bits)

        product = Signal(ADDRESS, reset_less=True)
        address = Signal(ADDRESS - size, reset_less=True)
        remaining = Signal(TILES + beats_in_tile, reset_less=True)
        free_count = Signal(range(_PLACES + 1), init=_PLACES)
        to_boundary = Signal(range(_BURST + 1))
        length = Signal(range(_BURST + 1))
        final = Signal()
        issue = Signal()
        m.d.comb += [
            is_copy.eq(instruction.opcode == Opcode.COPY),
            by_token.eq(instruction.index == Index.TOKEN),
            count.eq(Mux(is_copy, instruction.tiles, instruction.chunks)),
            next_job.copy.eq(is_copy),
            next_job.chunk.eq(instruction.chunk),
            next_job.tile.eq(instruction.tile + Mux(instruction.layer_relative,
                                                    self.commands.payload.layer_base, 0)),
            next_job.count.eq(count),
            next_job.tag.eq(tag),
            jobs.w_data.eq(next_job),
            to_boundary.eq(_BURST - address[:exact_log2(_BURST)]),
            final.eq(remaining <= to_boundary),
            length.eq(Mux(final, remaining, to_boundary)),
            self.requests.payload.address.eq(address << size),
            self.requests.payload.beats.eq(length),
            issue.eq(self.requests.valid & self.requests.ready),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += resting.eq(~self.commands.valid)
                with m.If(self.commands.valid & jobs.w_rdy & (self.token.valid | ~by_token)):
                    m.d.comb += self.token.ready.eq(by_token)
                    with m.Switch(instruction.index):
                        with m.Case(Index.TOKEN):
                            m.d.sync += product.eq(instruction.stride * self.token.payload)
                        with m.Case(Index.POSITION):
                            m.d.sync += product.eq(instruction.stride * tag.position)
                        with m.Case(Index.LAYER):
                            m.d.sync += product.eq(instruction.stride * tag.layer)
                        with m.Default():
                            m.d.sync += product.eq(0)
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += [self.commands.ready.eq(1), jobs.w_en.eq(1)]
                m.d.sync += [
                    address.eq((instruction.address + product) >> size),
                    remaining.eq(Mux(is_copy, count << beats_in_tile, count << beats_in_chunk)),
                ]
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.requests.valid.eq(free_count >= length)
                with m.If(issue):
                    m.d.sync += [address.eq(address + length), remaining.eq(remaining - length)]
                    with m.If(final):
                        m.next = "IDLE"
        with m.If(issue | used):
            m.d.sync += free_count.eq(free_count - Mux(issue, length, 0) + used)
        return resting

    def _elaborate_data(self, m, jobs, job, beats):
        config = self._config
        # The assembly is as long as a chunk and a word; LOAD fills its upper end with a chunk.
        assembly_bits = max(config.chunk_bits, config.word_bits)
        beats_for_chunk = config.chunk_bits // config.ddr_bits
        beats_for_words = assembly_bits // config.ddr_bits
        words = assembly_bits // config.word_bits
        rounds = config.tile_bits // assembly_bits

        busy = Signal()
        current = Signal(job, reset_less=True)
        assembly = Signal(assembly_bits, reset_less=True)
        beat_count = Signal(range(beats_for_words))
        full = Signal()
        word_index = Signal(range(words))
        round_index = Signal(range(rounds))
        sent = Signal()
        emptied = Signal()
        take = Signal()
        final = Signal()
        closing = Signal()
        m.d.comb += [
            final.eq(current.count == 1),
            self.vector_write.payload.address.eq(current.chunk),
            self.vector_write.payload.data.eq(assembly[assembly_bits - config.chunk_bits:]),
            self.vector_write.payload.tag.eq(current.tag),
            self.vector_write.valid.eq(full & ~current.copy),
            self.copy.payload.tile.eq(current.tile),
            self.copy.payload.channel.eq(Cat(word_index, round_index)),
            self.copy.payload.data.eq(assembly[:config.word_bits]),
            self.copy.payload.strobe.eq(~0),
            self.copy.valid.eq(full & current.copy),
            sent.eq(Mux(current.copy, self.copy.valid & self.copy.ready,
                        self.vector_write.valid & self.vector_write.ready)),
            emptied.eq(sent & (~current.copy | (word_index == words - 1))),
        ]
        # A beat may come in as the assembly empties, but not one of the next instruction.
        last_leaves = Signal()
        m.d.comb += [
            last_leaves.eq(emptied & final & (~current.copy | (round_index == rounds - 1))),
            take.eq(busy & ~closing & beats.r_rdy & (~full | (emptied & ~last_leaves))),
            beats.r_en.eq(take),
        ]
        with m.If(~busy):
            with m.If(jobs.r_rdy):
                m.d.comb += jobs.r_en.eq(1)
                m.d.sync += [busy.eq(1), current.eq(jobs.r_data)]
        with m.Else():
            with m.If(take):
                wanted = Mux(current.copy, beats_for_words - 1, beats_for_chunk - 1)
                with m.If(beat_count == wanted):
                    m.d.sync += [beat_count.eq(0), full.eq(1)]
                with m.Else():
                    m.d.sync += [beat_count.eq(beat_count + 1), full.eq(0)]
                m.d.sync += assembly.eq(Cat(assembly, beats.r_data)[config.ddr_bits:])
            with m.Elif(sent):
                m.d.sync += full.eq(~emptied)
                if words > 1:
                    m.d.sync += assembly.eq(assembly >> config.word_bits)
            with m.If(sent):
                m.d.sync += word_index.eq(word_index + current.copy)
                with m.If(emptied):
                    m.d.sync += [word_index.eq(0), round_index.eq(round_index + current.copy)]
                with m.If(emptied & (~current.copy | (round_index == rounds - 1))):
                    m.d.sync += [
                        round_index.eq(0),
                        current.chunk.eq(current.chunk + 1),
                        current.tile.eq(current.tile + 1),
                        current.count.eq(current.count - 1),
                    ]
            with m.If(last_leaves & ~current.copy):
                m.d.comb += self.retired.eq(1)
                m.d.sync += busy.eq(0)
            with m.If(last_leaves & current.copy):
                m.d.sync += closing.eq(1)
            with m.If(closing & self.writes_idle):
                m.d.comb += self.retired.eq(1)
                m.d.sync += [busy.eq(0), closing.eq(0)]
        return busy
