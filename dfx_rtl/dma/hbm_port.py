"""One HBM channel: an AXI3 manager in its own clock domain, behind asynchronous FIFOs."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.axi import Burst, Response
from .requests import HbmCommandLayout, HbmWordLayout, hbm_signature

__all__ = ["HbmPort"]

# The commands cover the round trip of the FIFO's pointers, so that a burst a cycle can pass.
_COMMANDS = 8
_RESPONSES = 4


class HbmPort(wiring.Component):
    """The AXI3 manager of one channel.

    The bus is in domain ``hbm``, the streams are in ``sync``; only asynchronous FIFOs cross. The
    FIFO of words is the channel's weight buffer. ``rready`` is always 1: who issues a read command
    has a place for its words. Commands are taken in order, one at a time; a read leaves in a cycle,
    a write in one cycle for each beat. An address leaves only with its data there: both become
    valid in the same cycle. No output of the bus depends combinationally on an input of it.

    Parameters
    ----------
    config : CoreConfig
        The core. A word is ``word_bits`` = two beats of ``axi_bits``; the buffer holds
        ``weight_tiles`` words.

    Members
    -------
    commands : In(stream.Signature(HbmCommandLayout))
        Reads and writes. The strobes of a beat that is not in ``halves`` are ignored.
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
            "commands": In(stream.Signature(HbmCommandLayout(config))),
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

        m.submodules.command_fifo = commands = fifo.AsyncFIFO(
            width=self.commands.payload.shape().size, depth=_COMMANDS,
            w_domain="sync", r_domain="hbm")
        m.submodules.word_fifo = words = fifo.AsyncFIFO(
            width=config.word_bits + 2, depth=config.weight_tiles,
            w_domain="hbm", r_domain="sync")
        m.submodules.response_fifo = responses = fifo.AsyncFIFO(
            width=2, depth=_RESPONSES, w_domain="hbm", r_domain="sync")
        # Each FIFO's stream is wired apart: a simulator then evaluates only what has changed.
        m.submodules.command_wires = wires = Module()
        wires.d.comb += [
            commands.w_data.eq(self.commands.payload),
            commands.w_en.eq(self.commands.valid),
            self.commands.ready.eq(commands.w_rdy),
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

        command = data.View(HbmCommandLayout(config), commands.r_data)
        # The command in hand stays in this register until its last beat is accepted.
        head = Signal(HbmCommandLayout(config), reset_less=True)
        head_valid = Signal()
        address_sent = Signal()
        data_sent = Signal()
        upper = Signal()
        done = Signal()
        m.d.comb += [
            bus.arvalid.eq(head_valid & ~head.write),
            bus.araddr.eq(head.tile << (low_bits + 1)),
            bus.arlen.eq(Cat(C(1, 1), head.tiles)),
            bus.arsize.eq(low_bits),
            bus.arburst.eq(Burst.INCR),
            bus.awvalid.eq(head_valid & head.write & ~address_sent),
            bus.awaddr.eq(Cat(C(0, low_bits), ~head.halves[0], head.tile)),
            bus.awlen.eq(head.halves.all()),
            bus.awsize.eq(low_bits),
            bus.awburst.eq(Burst.INCR),
            bus.wvalid.eq(head_valid & head.write & ~data_sent),
            bus.wdata.eq(head.data.word_select(upper, config.axi_bits)),
            bus.wstrb.eq(head.strobe.word_select(upper, beat_bytes)),
            bus.wlast.eq(upper | ~head.halves[1]),
            commands.r_en.eq(~head_valid | done),
        ]
        address_done = Signal()
        data_done = Signal()
        with m.If(head_valid):
            m.d.comb += [
                address_done.eq(address_sent | bus.awready),
                data_done.eq(data_sent | (bus.wready & bus.wlast)),
                done.eq(Mux(head.write, address_done & data_done, bus.arready)),
            ]
            with m.If(head.write):
                m.d.hbm += [
                    address_sent.eq(address_done & ~done),
                    data_sent.eq(data_done & ~done),
                    upper.eq(upper | bus.wready),
                ]
        with m.If(commands.r_rdy & commands.r_en):
            m.d.hbm += [head.eq(command), head_valid.eq(1), upper.eq(~command.halves[0])]
        with m.Elif(done):
            m.d.hbm += head_valid.eq(0)

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
