"""The core: wires the units of the block diagram together, and holds no logic."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .bus.axi import AxiLiteSignature
from .control.registers import REGISTERS
from .control.results import LogitsLayout, TokenLayout
from .control.ring import DIRECTIONS
from .control.unit import ControlUnit
from .dma.requests import ddr_signature, hbm_signature
from .dma.unit import DirectMemoryAccess, StoreTraceLayout
from .isa import Unit
from .mpu.unit import MatrixProcessingUnit
from .registers.files import ScalarRegisterFile, VectorRegisterFile
from .registers.ports import ScalarWriteLayout, VectorWriteLayout
from .router.layouts import FlitLayout
from .router.unit import Router
from .vpu.unit import VectorProcessingUnit

__all__ = ["Core", "TraceSignature"]


class TraceSignature(wiring.Signature):
    """Every write of a core, as it happens, with the tag that says which instruction made it.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    vector_stb, vector : Out(1), Out(VectorWriteLayout)
        A chunk is written to the vector register file.
    scalar_stb, scalar : Out(1), Out(ScalarWriteLayout)
        A scalar is written.
    store_stb, store : Out(1), Out(StoreTraceLayout)
        A part of a K or V tile is handed to an HBM port.
    logits_stb, logits : Out(1), Out(LogitsLayout)
        A group of logits is handed to the DMA.
    token_stb, token : Out(1), Out(TokenLayout)
        The arg max of a position, over all cores.
    """

    def __init__(self, config):
        super().__init__({
            "vector_stb": Out(1), "vector": Out(VectorWriteLayout(config.tile)),
            "scalar_stb": Out(1), "scalar": Out(ScalarWriteLayout()),
            "store_stb": Out(1), "store": Out(StoreTraceLayout(config)),
            "logits_stb": Out(1), "logits": Out(LogitsLayout(config.lanes)),
            "token_stb": Out(1), "token": Out(TokenLayout()),
        })


class Core(wiring.Component):
    """One DFX core: control unit, register files, MPU, VPU, DMA, router.

    Source: DFX paper, section 4.2, Fig. 6.

    Parameters
    ----------
    config : CoreConfig
        The core's parameters.

    Attributes
    ----------
    units : dict
        The units by name.

    Members
    -------
    host : In(AxiLiteSignature)
        The registers; see ``docs/registers.md``.
    interrupt : Out(1)
        To the host.
    hbm : Out(Axi3Signature), array of ``channels``
        The HBM ports, in domain ``hbm``. Addresses count from the start of the channel's memory.
    ddr : Out(Axi4Signature)
        The DDR port, in domain ``sync``.
    send, receive : Out(stream), In(stream) of FlitLayout, two of each
        The ring: ``send[0]`` to the next core, ``receive[0]`` from the one before it, ``send[1]``
        to the one before it, ``receive[1]`` from the next. See :class:`~.router.unit.Router`.
    link_error : In(8), two
        Not 0: the link to the next core, or to the one before, has failed, and why. The core stops
        with an error if it is not alone.
    trace : Out(TraceSignature)
        Every write, for a simulation to compare; leave it open in hardware.
    """

    def __init__(self, config):
        self._config = config
        self.units = {
            "control": ControlUnit(config),
            "mpu": MatrixProcessingUnit(config),
            "vpu": VectorProcessingUnit(config),
            "dma": DirectMemoryAccess(config),
            "router": Router(config),
            "vector_registers": VectorRegisterFile(config.vector_chunks, config.tile,
                                                   readers=6, writers=4),
            "scalar_registers": ScalarRegisterFile(config.scalars, readers=2, writers=2),
        }
        super().__init__({
            "host": In(AxiLiteSignature(REGISTERS.address_width)),
            "interrupt": Out(1),
            "hbm": Out(hbm_signature(config)).array(config.channels),
            "ddr": Out(ddr_signature(config)),
            "send": Out(stream.Signature(FlitLayout(config.tile))).array(DIRECTIONS),
            "receive": In(stream.Signature(FlitLayout(config.tile))).array(DIRECTIONS),
            "link_error": In(8).array(DIRECTIONS),
            "trace": Out(TraceSignature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        control, mpu, vpu, dma, router, vectors, scalars = self.units.values()
        clear = ResetInserter(control.clear)
        for name, unit in self.units.items():
            m.submodules[name] = clear(unit) if name in ("mpu", "vpu") else unit

        # Outside.
        connect(m, flipped(self.host), control.host)
        connect(m, dma.ddr, flipped(self.ddr))
        for channel in range(config.channels):
            connect(m, dma.hbm[channel], flipped(self.hbm[channel]))
        for way in range(DIRECTIONS):
            connect(m, router.send[way], flipped(self.send[way]))
            connect(m, flipped(self.receive[way]), router.receive[way])
            m.d.comb += control.link_error[way].eq(self.link_error[way])
        m.d.comb += self.interrupt.eq(control.interrupt)

        # Register files. The MPU is the first writer, and so never waits.
        for read, port in zip((mpu.operand, mpu.bias, mpu.residual, vpu.operand,
                               dma.operand, router.operand), vectors.reads, strict=True):
            connect(m, read, port)
        for write, port in zip((mpu.vector_write, vpu.vector_write, dma.vector_write,
                                router.vector_write), vectors.writes, strict=True):
            connect(m, write, port)
        for read, port in zip((mpu.scale, vpu.scalar), scalars.reads, strict=True):
            connect(m, read, port)
        for write, port in zip((mpu.scalar_write, vpu.scalar_write), scalars.writes, strict=True):
            connect(m, write, port)
        m.d.comb += [
            vectors.valid.eq(control.valid[:config.vector_chunks]),
            scalars.valid.eq(control.valid[config.vector_chunks:]),
            control.chunk_written.eq(vectors.written),
            control.chunk.eq(vectors.write.address),
            control.scalar_written.eq(scalars.written),
            control.scalar.eq(scalars.write.address),
        ]

        # Commands out, endings back.
        connect(m, control.commands_mpu, mpu.commands)
        connect(m, control.commands_vpu, vpu.commands)
        connect(m, control.commands_load, dma.load_commands)
        connect(m, control.commands_store, dma.store_commands)
        connect(m, control.commands_router, router.commands)
        for unit, retired in ((Unit.MPU, mpu.retired), (Unit.VPU, vpu.retired),
                              (Unit.LOAD, dma.retired_load), (Unit.STORE, dma.retired_store),
                              (Unit.ROUTER, router.retired)):
            m.d.comb += control.retired[unit].eq(retired)

        # Memory, weights, tokens.
        connect(m, control.fetches, dma.fetches)
        connect(m, dma.weights, mpu.weights)
        connect(m, mpu.logits, dma.logits)
        connect(m, control.program_requests, dma.program_read)
        connect(m, dma.program_data, control.program_beats)
        connect(m, control.prompt_requests, dma.token_read)
        connect(m, dma.token_data, control.prompt_ids)
        connect(m, control.token_ids, dma.token)
        connect(m, control.output_writes, dma.token_write)
        connect(m, mpu.token, router.tokens)
        m.d.comb += [
            control.results.valid.eq(router.results.valid),
            control.results.p.id.eq(router.results.p.id),
            control.results.p.found.eq(router.results.p.found),
            router.results.ready.eq(control.results.ready),
            dma.logits_base.eq(control.logits_base),
            dma.logits_stride.eq(control.logits_stride),
            dma.output_index.eq(control.output_index),
            dma.stop.eq(control.stop),
            dma.clear.eq(control.clear),
            control.drained.eq(dma.drained),
            control.memory_busy.eq(~dma.idle),
            control.memory_error.eq(dma.error),
            control.memory_progress.eq(dma.progress),
            control.hbm_waiting.eq(dma.waiting),
            control.ddr_waiting.eq(dma.ddr_waiting),
            control.activity.eq(mpu.activity),
            control.awaited.eq(mpu.operand.address),
            control.overflow.eq(mpu.overflow | vpu.overflow),
            control.invalid.eq(mpu.invalid | vpu.invalid),
            router.core_count.eq(control.core_count),
            router.bidirectional.eq(control.bidirectional),
            router.run.eq(control.run),
            router.clear.eq(control.clear),
            control.router_fault.eq(router.fault),
            control.router_place.eq(router.place),
            control.router_awaited.eq(router.awaited),
            control.router_blocked.eq(router.blocked),
            control.router_progress.eq(router.progress),
        ]

        # Trace.
        trace = self.trace
        m.d.comb += [
            trace.vector_stb.eq(vectors.written),
            trace.vector.eq(vectors.write),
            trace.scalar_stb.eq(scalars.written),
            trace.scalar.eq(scalars.write),
            trace.store_stb.eq(dma.store_trace_stb),
            trace.store.eq(dma.store_trace),
            trace.logits_stb.eq(mpu.logits.valid & mpu.logits.ready),
            trace.logits.eq(mpu.logits.p),
            trace.token_stb.eq(router.results.valid & router.results.ready),
            trace.token.eq(router.results.p),
        ]
        return m
