"""An AXI memory in the FPGA's block RAM."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from dfx_rtl.bus.axi import Response

__all__ = ["BlockMemory", "WordSignature"]


class WordSignature(wiring.Signature):
    """Single words of a memory, for whoever is not on its AXI bus.

    Members
    -------
    valid, ready : Out(1), In(1)
        Handshake, as of a stream.
    write : Out(1)
        Write, not read.
    address : Out(address_width)
        In words.
    data : Out(data_width)
    strobe : Out(data_width // 8)
        Bytes that are written.
    result : In(data_width)
        What was read, in the cycle behind the handshake.
    """

    def __init__(self, address_width, data_width):
        super().__init__({
            "valid": Out(1), "ready": In(1), "write": Out(1), "address": Out(address_width),
            "data": Out(data_width), "strobe": Out(data_width // 8), "result": In(data_width)})


class BlockMemory(wiring.Component):
    """A memory behind an AXI3 or AXI4 port, with contents from the start.

    One burst at a time, reads before writes; single words in between. Bursts are of full width and
    incrementing. A burst that begins or goes on behind the memory's end gets DECERR there.

    Latency: 2 cycles from an address to its first beat. Throughput: a beat a cycle within a burst.

    Parameters
    ----------
    signature : Axi3Signature or Axi4Signature
        Of the bus.
    words : sequence of int
        The contents, as many as the memory has.

    Members
    -------
    bus : In(signature)
    words : In(WordSignature)
    """

    def __init__(self, signature, words):
        self._init = [int(word) for word in words]
        self._address_width = max(1, ceil_log2(len(self._init)))
        super().__init__({
            "bus": In(signature),
            "words": In(WordSignature(self._address_width, signature.data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        bus, words, depth = self.bus, self.words, len(self._init)
        shift = exact_log2(bus.signature.beat_bytes)
        m.submodules.storage = storage = memory.Memory(
            shape=bus.signature.data_width, depth=depth, init=self._init)
        read, write = storage.read_port(), storage.write_port(granularity=8)

        # A bit more than an address has, so that it can stand behind the end.
        address = Signal(bus.signature.address_width - shift + 1)
        left = Signal(len(bus.arlen))
        outside, issued, failed = Signal(), Signal(), Signal()
        m.d.comb += [
            outside.eq(address >= depth),
            bus.rdata.eq(read.data),
            words.result.eq(read.data),
            write.data.eq(bus.wdata),
            write.addr.eq(address),
            read.addr.eq(address),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    bus.arready.eq(1),
                    bus.awready.eq(~bus.arvalid),
                    words.ready.eq(~bus.arvalid & ~bus.awvalid),
                    read.addr.eq(words.address),
                    read.en.eq(words.valid & words.ready & ~words.write),
                    write.addr.eq(words.address),
                    write.data.eq(words.data),
                    write.en.eq(Mux(words.valid & words.ready & words.write, words.strobe, 0)),
                ]
                m.d.sync += [issued.eq(0), failed.eq(0)]
                with m.If(bus.arvalid):
                    m.d.sync += [address.eq(bus.araddr[shift:]), left.eq(bus.arlen),
                                 bus.rid.eq(bus.arid)]
                    m.next = "READ"
                with m.Elif(bus.awvalid):
                    m.d.sync += [address.eq(bus.awaddr[shift:]), bus.bid.eq(bus.awid)]
                    m.next = "WRITE"
            with m.State("READ"):
                m.d.comb += read.en.eq((~bus.rvalid | bus.rready) & ~issued)
                with m.If(~bus.rvalid | bus.rready):
                    m.d.sync += [
                        bus.rvalid.eq(~issued),
                        bus.rlast.eq(left == 0),
                        bus.rresp.eq(Mux(outside, Response.DECERR, Response.OKAY)),
                        issued.eq(left == 0),
                        left.eq(left - 1),
                        address.eq(address + 1),
                    ]
                    with m.If(issued):
                        m.next = "IDLE"
            with m.State("WRITE"):
                m.d.comb += [
                    bus.wready.eq(1),
                    write.en.eq(Mux(bus.wvalid & ~outside, bus.wstrb, 0)),
                ]
                with m.If(bus.wvalid):
                    m.d.sync += [address.eq(address + 1), failed.eq(failed | outside)]
                    with m.If(bus.wlast):
                        m.d.sync += [
                            bus.bvalid.eq(1),
                            bus.bresp.eq(Mux(failed | outside, Response.DECERR, Response.OKAY)),
                        ]
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(bus.bready):
                    m.d.sync += bus.bvalid.eq(0)
                    m.next = "IDLE"
        return m
