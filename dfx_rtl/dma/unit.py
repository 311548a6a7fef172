"""The DMA of a core: everything between the memories and the units."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arith.formats import Fp16
from ..control.commands import DmaCommand, FetchLayout
from ..control.faults import MemoryErrorLayout
from ..control.results import LogitsLayout
from ..isa import TAG
from ..registers.ports import VectorReadSignature, VectorWriteSignature
from .channels import HbmChannels
from .ddr_port import DdrPort
from .hbm_port import HbmPort
from .load import LoadUnit
from .logits import LogitsWriter
from .requests import ADDRESS, HbmWriteLayout, ReadRequestLayout, ddr_signature, hbm_signature
from .store import StoreUnit
from .weights import WeightFetch
from .words import WordReader, WordWriter

__all__ = ["DirectMemoryAccess", "StoreTraceLayout"]


def StoreTraceLayout(config):
    """A write of K or V as an HBM port takes it, with the instruction that made it."""
    return data.StructLayout({"write": HbmWriteLayout(config), "tag": TAG})


class DirectMemoryAccess(wiring.Component):
    """Wires the weight fetch, the load and store units, and the ports of the memories.

    A soft reset never touches a bus. ``stop`` lets no new access out; the ports finish what they
    have begun, and drop what they still read. Then ``drained`` rises, and ``clear`` puts the units
    back to their start. A memory that does not answer keeps ``drained`` low, and ``clear`` without
    effect, until the whole design is reset.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    fetches : In(stream.Signature(FetchLayout))
        Tiles for the MPU, in the order of the program; see :class:`WeightFetch`.
    weights : Out(stream.Signature(data.ArrayLayout(Fp16, tile * lanes)))
        Those tiles.
    load_commands, store_commands : In(stream.Signature(DmaCommand))
        LOAD and COPY; STORE_KEY, STORE_VALUE and STORE.
    retired_load, retired_store : Out(1)
        An instruction is finished.
    token : In(stream.Signature(17))
        A token id for each LOAD whose index is TOKEN.
    operand : Out(VectorReadSignature)
        Reads of the store unit.
    vector_write : Out(VectorWriteSignature)
        Writes of the load unit.
    program_read : In(stream.Signature(ReadRequestLayout))
        Reads of any number of beats for the controller.
    program_data : Out(stream.Signature(ddr_bits))
        What they bring.
    token_read : In(stream.Signature(ADDRESS))
        Byte addresses of 32-bit words.
    token_data : Out(stream.Signature(32))
        Those words.
    token_write : In(stream.Signature({address, data}))
        32-bit words to write.
    logits : In(stream.Signature(LogitsLayout))
        Groups of logits to write.
    logits_base, logits_stride, output_index : In(ADDRESS), In(32), In(17)
        Where they go; see :class:`LogitsWriter`.
    stop, clear : In(1)
        Soft reset.
    drained : Out(1)
        ``stop`` is set and no memory owes anything.
    idle : Out(1)
        Nothing is in progress, and every write is acknowledged.
    error : Out(MemoryErrorLayout)
        A memory answered with an error. If several do so in one cycle, one is named: an HBM read
        before an HBM write before DDR.
    waiting, ddr_waiting : Out(channels), Out(1)
        A memory owes an answer: a bit a channel of HBM, and DDR.
    progress : Out(1)
        A tile left, a beat of DDR was read or acknowledged, or a part was handed to an HBM port.
    store_trace_stb, store_trace : Out(1), Out(StoreTraceLayout)
        A part of K or V is handed to an HBM port.
    hbm : Out(Axi3Signature).array(channels)
        The HBM ports, in domain ``hbm``.
    ddr : Out(Axi4Signature)
        The DDR port.
    """

    # Ref: DFX paper, section 5.2.

    def __init__(self, config):
        self._config = config
        super().__init__({
            "fetches": In(stream.Signature(FetchLayout)),
            "weights": Out(stream.Signature(data.ArrayLayout(Fp16, config.tile * config.lanes))),
            "load_commands": In(stream.Signature(DmaCommand)),
            "store_commands": In(stream.Signature(DmaCommand)),
            "retired_load": Out(1),
            "retired_store": Out(1),
            "token": In(stream.Signature(17)),
            "operand": Out(VectorReadSignature(config.tile)),
            "vector_write": Out(VectorWriteSignature(config.tile)),
            "program_read": In(stream.Signature(ReadRequestLayout())),
            "program_data": Out(stream.Signature(config.ddr_bits)),
            "token_read": In(stream.Signature(ADDRESS)),
            "token_data": Out(stream.Signature(32)),
            "token_write": In(stream.Signature(
                data.StructLayout({"address": ADDRESS, "data": 32}))),
            "logits": In(stream.Signature(LogitsLayout(config.lanes))),
            "logits_base": In(ADDRESS),
            "logits_stride": In(32),
            "output_index": In(17),
            "stop": In(1),
            "clear": In(1),
            "drained": Out(1),
            "idle": Out(1),
            "error": Out(MemoryErrorLayout()),
            "waiting": Out(config.channels),
            "ddr_waiting": Out(1),
            "progress": Out(1),
            "store_trace_stb": Out(1),
            "store_trace": Out(StoreTraceLayout(config)),
            "hbm": Out(hbm_signature(config)).array(config.channels),
            "ddr": Out(ddr_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config

        # The ports keep the protocol through a soft reset, so it reaches only the units.
        restart = Signal()
        cleared = ResetInserter(restart)
        m.submodules.channels = channels = HbmChannels(config)
        m.submodules.ddr_port = ddr_port = DdrPort(config, readers=3, writers=3)
        m.submodules.fetch = fetch = cleared(WeightFetch(config))
        m.submodules.load = load = cleared(LoadUnit(config))
        m.submodules.store = store = cleared(StoreUnit(config))
        m.submodules.logits_writer = logits_writer = cleared(LogitsWriter(config))
        m.submodules.token_reader = token_reader = cleared(WordReader(config))
        m.submodules.token_writer = token_writer = WordWriter(config)

        # Wires in small bundles: a simulator evaluates one bundle for a change, not all.
        m.submodules.fetch_wires = _wires(
            (flipped(self.fetches), fetch.fetches), (fetch.weights, flipped(self.weights)),
            (fetch.bursts, channels.bursts))
        m.submodules.load_wires = _wires(
            (flipped(self.load_commands), load.commands), (flipped(self.token), load.token),
            (load.vector_write, flipped(self.vector_write)), (load.copy, channels.copy))
        m.submodules.store_wires = _wires(
            (flipped(self.store_commands), store.commands),
            (store.operand, flipped(self.operand)), (store.hbm, channels.store))
        m.submodules.token_wires = _wires(
            (flipped(self.token_read), token_reader.addresses),
            (token_reader.words, flipped(self.token_data)),
            (flipped(self.token_write), token_writer.words),
            (flipped(self.logits), logits_writer.logits))
        # The first reader and writer wins.
        m.submodules.read_wires = _wires(
            (token_reader.requests, ddr_port.reads[0]), (ddr_port.data[0], token_reader.beats),
            (load.requests, ddr_port.reads[1]), (ddr_port.data[1], load.beats),
            (flipped(self.program_read), ddr_port.reads[2]),
            (ddr_port.data[2], flipped(self.program_data)))
        m.submodules.write_wires = _wires(
            (token_writer.writes, ddr_port.writes[0]), (logits_writer.writes, ddr_port.writes[1]),
            (store.ddr, ddr_port.writes[2]))
        m.submodules.ddr_wires = _wires((ddr_port.bus, flipped(self.ddr)))
        for channel in range(config.channels):
            m.submodules[f"port{channel}"] = port = HbmPort(config)
            m.submodules[f"bus_wires{channel}"] = _wires((port.bus, flipped(self.hbm[channel])))
            m.submodules[f"port_wires{channel}"] = _wires(
                (channels.reads[channel], port.reads), (channels.writes[channel], port.writes),
                (port.responses, channels.responses[channel]))
            m.submodules[f"word_wires{channel}"] = _wires((port.words, fetch.words[channel]))

        m.d.comb += [
            fetch.stores.eq(store.stores),
            load.writes_idle.eq(channels.writes_idle),
            store.writes_idle.eq(channels.writes_idle),
            logits_writer.base.eq(self.logits_base),
            logits_writer.stride.eq(self.logits_stride),
            logits_writer.output_index.eq(self.output_index),
            self.retired_load.eq(load.retired),
            self.retired_store.eq(store.retired),
            fetch.stop.eq(self.stop),
            channels.stop.eq(self.stop),
            ddr_port.stop.eq(self.stop),
            self.drained.eq(self.stop & ~fetch.outstanding & channels.writes_idle
                            & ~ddr_port.outstanding),
            restart.eq(self.clear & self.drained),
            self.idle.eq(fetch.idle & load.idle & store.idle & logits_writer.idle
                         & token_reader.idle & ddr_port.idle & channels.writes_idle),
        ]
        m.d.comb += [
            self.waiting.eq(fetch.waiting | channels.owing),
            self.ddr_waiting.eq(ddr_port.outstanding),
            self.progress.eq((self.weights.valid & self.weights.ready)
                             | (self.ddr.rvalid & self.ddr.rready)
                             | (self.ddr.bvalid & self.ddr.bready)
                             | (store.hbm.valid & store.hbm.ready)
                             | (load.copy.valid & load.copy.ready)),
            self.store_trace_stb.eq(store.hbm.valid & store.hbm.ready),
            self.store_trace.write.eq(store.hbm.payload),
            self.store_trace.tag.eq(store.tag),
        ]
        with m.If(fetch.error.stb):
            m.d.comb += self.error.eq(fetch.error)
        with m.Elif(channels.error.stb & ~self.stop):
            m.d.comb += self.error.eq(channels.error)
        with m.Else():
            m.d.comb += self.error.eq(ddr_port.error)
        return m


def _wires(*pairs):
    """A module that only connects."""
    m = Module()
    for source, sink in pairs:
        connect(m, source, sink)
    return m
