"""One HBM channel: an AXI3 manager in its own clock domain, behind asynchronous FIFOs."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..bus.axi import Burst, Response
from .requests import BurstLayout, HbmPartLayout, HbmWordLayout, hbm_signature

__all__ = ["HbmPort"]

# The reads cover the round trip of the FIFO's pointers, so that a burst a cycle can pass. The
# writes are as many as the memory may move in one turn of its data bus, and more while it turns.
_READS = 8
_WRITES = 32
_RESPONSES = 4


class HbmPort(wiring.Component):
    """The AXI3 manager of one channel.

    The bus is in domain ``hbm``, the streams are in ``sync``; only asynchronous FIFOs cross. The
    FIFO of words is the channel's weight buffer. ``rready`` is always 1: who issues a read has a
    place for its words. Reads and writes do not wait for each other. Each are taken in order, an
    address a cycle and a beat of data a cycle. The address of a write enters the FIFO with its
    data, and data leave only behind their address: so addresses run ahead, and the memory moves
    the data of many writes in one turn of its bus. No output of the bus depends combinationally on
    an input of it.

    Parameters
    ----------
    config : CoreConfig
        The core. A word is ``word_bits`` = two beats of ``axi_bits``; the buffer holds
        ``weight_tiles`` words.

    Members
    -------
    reads : In(stream.Signature(BurstLayout))
        Reads.
    writes : In(stream.Signature(HbmPartLayout))
        Writes. The strobes of a beat that is not in ``halves`` are ignored.
    words : Out(stream.Signature(HbmWordLayout))
        Words, in the order of the reads.
    responses : Out(stream.Signature(Response))
        One for each write, in order.
    bus : Out(Axi3Signature)
        The port, in domain ``hbm``.
    """

    # Ref: AMBA IHI 0022, A3.2 and A3.4; PG276 for the profile of the port.

    def __init__(self, config):
        self._config = config
        super().__init__({
            "reads": In(stream.Signature(BurstLayout(config))),
            "writes": In(stream.Signature(HbmPartLayout(config))),
            "words": Out(stream.Signature(HbmWordLayout(config))),
            "responses": Out(stream.Signature(Response)),
            "bus": Out(hbm_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        bus = self.bus
        beat_bytes = config.axi_bits // 8
        low_bits = bus.signature.size

        def crossing(width, depth, w_domain="sync", r_domain="hbm"):
            return fifo.AsyncFIFO(width=width, depth=depth, w_domain=w_domain, r_domain=r_domain)

        m.submodules.read_fifo = reads = crossing(self.reads.payload.shape().size, _READS)
        m.submodules.address_fifo = addresses = crossing(exact_log2(config.hbm_tiles) + 2, _WRITES)
        m.submodules.data_fifo = parts = crossing(self.writes.payload.shape().size, _WRITES)
        m.submodules.word_fifo = words = crossing(config.word_bits + 2, config.weight_tiles,
                                                  "hbm", "sync")
        m.submodules.response_fifo = responses = crossing(2, _RESPONSES, "hbm", "sync")
        # Each FIFO's stream is wired apart: a simulator then evaluates only what has changed.
        m.submodules.read_fifo_wires = wires = Module()
        wires.d.comb += [
            reads.w_data.eq(self.reads.payload),
            reads.w_en.eq(self.reads.valid),
            self.reads.ready.eq(reads.w_rdy),
        ]
        m.submodules.write_fifo_wires = wires = Module()
        wires.d.comb += [
            addresses.w_data.eq(Cat(self.writes.payload.tile, self.writes.payload.halves)),
            parts.w_data.eq(self.writes.payload),
            self.writes.ready.eq(addresses.w_rdy & parts.w_rdy),
            addresses.w_en.eq(self.writes.valid & self.writes.ready),
            parts.w_en.eq(self.writes.valid & self.writes.ready),
        ]
        m.submodules.word_wires = wires = Module()
        wires.d.comb += [
            self.words.payload.eq(words.r_data),
            self.words.valid.eq(words.r_rdy),
            words.r_en.eq(self.words.ready),
        ]
        m.submodules.response_wires = wires = Module()
        wires.d.comb += [
            self.responses.payload.eq(responses.r_data),
            self.responses.valid.eq(responses.r_rdy),
            responses.r_en.eq(self.responses.ready),
        ]

        burst = data.View(BurstLayout(config), reads.r_data)
        tile, halves = addresses.r_data[:-2], addresses.r_data[-2:]
        m.submodules.address_wires = wires = Module()
        wires.d.comb += [
            bus.arvalid.eq(reads.r_rdy),
            bus.araddr.eq(burst.tile << (low_bits + 1)),
            bus.arlen.eq(Cat(C(1, 1), burst.tiles)),
            bus.arsize.eq(low_bits),
            bus.arburst.eq(Burst.INCR),
            reads.r_en.eq(bus.arready),
            bus.awvalid.eq(addresses.r_rdy),
            bus.awaddr.eq(Cat(C(0, low_bits), ~halves[0], tile)),
            bus.awlen.eq(halves.all()),
            bus.awsize.eq(low_bits),
            bus.awburst.eq(Burst.INCR),
            addresses.r_en.eq(bus.awready),
        ]

        # Data leave only behind their address, one beat or two.
        part = data.View(HbmPartLayout(config), parts.r_data)
        announced = Signal(range(2 * _WRITES + 1))  # addresses whose data have not left
        second = Signal()
        upper = Signal()
        address_leaves = Signal()
        data_leave = Signal()
        m.d.comb += [
            upper.eq(second | ~part.halves[0]),
            bus.wvalid.eq(parts.r_rdy & (announced != 0)),
            bus.wdata.eq(part.data.word_select(upper, config.axi_bits)),
            bus.wstrb.eq(part.strobe.word_select(upper, beat_bytes)),
            bus.wlast.eq(second | ~part.halves.all()),
            address_leaves.eq(bus.awvalid & bus.awready),
            data_leave.eq(bus.wvalid & bus.wready & bus.wlast),
            parts.r_en.eq(data_leave),
        ]
        with m.If(bus.wvalid & bus.wready):
            m.d.hbm += second.eq(~bus.wlast)
        with m.If(address_leaves != data_leave):
            m.d.hbm += announced.eq(Mux(address_leaves, announced + 1, announced - 1))

        lower_beat = Signal(config.axi_bits, reset_less=True)
        lower_response = Signal(2, reset_less=True)
        lower_valid = Signal()
        m.d.comb += bus.rready.eq(1)
        with m.If(bus.rvalid):
            m.d.hbm += lower_valid.eq(~lower_valid)
            with m.If(~lower_valid):
                m.d.hbm += [
                    lower_beat.eq(bus.rdata),
                    lower_response.eq(Value.cast(bus.rresp)),
                ]
        m.submodules.read_wires = wires = Module()
        wires.d.comb += [
            words.w_en.eq(bus.rvalid & lower_valid),
            words.w_data.eq(Cat(lower_beat, bus.rdata,
                                Mux(lower_response.any(), lower_response,
                                    Value.cast(bus.rresp)))),
            bus.bready.eq(responses.w_rdy),
            responses.w_data.eq(Value.cast(bus.bresp)),
            responses.w_en.eq(bus.bvalid),
        ]
        return m
