"""The router: makes the vector that the cores share out of each core's part of it."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.commands import RouterCommand
from ..isa import CHUNK, TAG
from ..registers.ports import ChunkLayout, VectorReadSignature, VectorWriteSignature

__all__ = ["Router"]

_CORE = 4


class Router(wiring.Component):
    """Executes SYNC: sends the core's own chunks, and writes the chunks of all cores.

    ``receive`` must bring the core's own chunks first, then those of the core before it in the
    ring, and so on round the ring. A single core ties ``receive`` to ``send``. Latency from an
    instruction to its first read: 2 cycles; from a read to the chunk on ``send``: 1 cycle;
    ``receive`` to ``vector_write`` is combinational. Throughput: one chunk a cycle each way. An
    instruction begins when the one before it is finished.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    commands : In(stream.Signature(RouterCommand))
        Instructions.
    operand : Out(VectorReadSignature)
        Where the own chunks are read.
    vector_write : Out(VectorWriteSignature)
        The whole vector, in core order.
    send, receive : Out, In(stream.Signature(ChunkLayout))
        The ring.
    core_id, core_count : In(4), In(4)
        Which core this is, and of how many; constant while an instruction runs.
    retired : Out(1)
        All chunks of an instruction are written.
    idle : Out(1)
        No instruction is in progress.
    """

    # Ref: DFX paper, section 5.4 (router) and section 4.1 (all-gather round the ring).

    def __init__(self, config):
        self._config = config
        super().__init__({
            "commands": In(stream.Signature(RouterCommand)),
            "operand": Out(VectorReadSignature(config.tile)),
            "vector_write": Out(VectorWriteSignature(config.tile)),
            "send": Out(stream.Signature(ChunkLayout(config.tile))),
            "receive": In(stream.Signature(ChunkLayout(config.tile))),
            "core_id": In(_CORE),
            "core_count": In(_CORE),
            "retired": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        instruction = self.commands.payload.instruction

        chunks = Signal(CHUNK, reset_less=True)
        tag = Signal(TAG, reset_less=True)

        # Out: the data of the last read stays in the read port.
        source = Signal(CHUNK, reset_less=True)
        read_count = Signal(CHUNK)
        held = Signal()
        read = Signal()
        m.d.comb += [
            self.operand.address.eq(source),
            self.operand.valid.eq((read_count != 0) & (~held | self.send.ready)),
            read.eq(self.operand.valid & self.operand.ready),
            self.send.payload.eq(self.operand.data),
            self.send.valid.eq(held),
        ]
        with m.If(read):
            m.d.sync += [source.eq(source + 1), read_count.eq(read_count - 1), held.eq(1)]
        with m.Elif(held & self.send.ready):
            m.d.sync += held.eq(0)

        # In: the shares come in descending core order, from the own one on, modulo the cores.
        share = Signal(_CORE, reset_less=True)
        share_count = Signal(_CORE, reset_less=True)
        share_base = Signal(CHUNK, reset_less=True)
        own_offset = Signal(CHUNK, reset_less=True)
        top_offset = Signal(CHUNK, reset_less=True)
        top_base = Signal(CHUNK, reset_less=True)
        write_index = Signal(CHUNK, reset_less=True)
        share_ends = Signal()
        write = Signal()
        m.d.comb += [
            self.vector_write.payload.address.eq(share_base + write_index),
            self.vector_write.payload.data.eq(self.receive.payload),
            self.vector_write.payload.tag.eq(tag),
            share_ends.eq(write_index == chunks - 1),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(~self.commands.valid)
                with m.If(self.commands.valid):
                    m.d.sync += [
                        own_offset.eq(self.core_id * instruction.chunks),
                        top_offset.eq((self.core_count - 1)[:_CORE] * instruction.chunks),
                    ]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.commands.ready.eq(1)
                m.d.sync += [
                    chunks.eq(instruction.chunks),
                    tag.eq(self.commands.payload.tag),
                    source.eq(instruction.source),
                    read_count.eq(instruction.chunks),
                    share.eq(self.core_id),
                    share_count.eq(self.core_count),
                    share_base.eq(instruction.destination + own_offset),
                    top_base.eq(instruction.destination + top_offset),
                    write_index.eq(0),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    self.vector_write.valid.eq(self.receive.valid),
                    self.receive.ready.eq(self.vector_write.ready),
                    write.eq(self.receive.valid & self.vector_write.ready),
                ]
                with m.If(write):
                    m.d.sync += write_index.eq(write_index + 1)
                    with m.If(share_ends):
                        m.d.sync += [
                            write_index.eq(0),
                            share_count.eq(share_count - 1),
                            share.eq(Mux(share == 0, self.core_count, share) - 1),
                            share_base.eq(Mux(share == 0, top_base, share_base - chunks)),
                        ]
                        with m.If(share_count == 1):
                            m.d.comb += self.retired.eq(1)
                            m.next = "IDLE"
        return m
