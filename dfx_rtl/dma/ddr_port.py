"""The DDR port: an AXI4 manager that several readers and writers share."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..bus.axi import Burst, Response
from ..control.faults import ErrorKind, MemoryErrorLayout
from .requests import ReadRequestLayout, WriteRequestLayout, ddr_signature

__all__ = ["DdrPort"]

# Beats of the longest burst. Bursts are cut where they are aligned to as many, so that none
# crosses 4 KiB at any width up to 2048 bits.
_BURST = 16
_OUTSTANDING = 16
# Beats whose data may follow their address.
_WRITES = 8


class DdrPort(wiring.Component):
    """Reads and writes DDR for several clients, in domain ``sync``.

    A reader asks for any number of beats and gets them in order; requests are cut into bursts of
    up to 16 beats, one a cycle, and a request costs one cycle beside its bursts. A writer hands
    over single beats, one a cycle. The client with the lower index goes first; a request is
    finished before the next is taken. All traffic has one identifier, so a reader that does not
    take its data holds up the others. Reads are not ordered with writes.

    The read data is combinational from the bus, and ``rready`` from the client's ``ready``. No
    output of the bus depends combinationally on an input of it, if the clients' ``ready`` does not
    depend on ``valid``.

    Parameters
    ----------
    config : CoreConfig
        The core.
    readers, writers : int
        Clients.

    Members
    -------
    reads : In(stream.Signature(ReadRequestLayout)).array(readers)
        Requests of each reader.
    data : Out(stream.Signature(ddr_bits)).array(readers)
        The beats that each reader asked for. Beats with an error response flow as they are.
    writes : In(stream.Signature(WriteRequestLayout)).array(writers)
        Requests of each writer.
    stop : In(1)
        No request is taken, started requests end, and what still comes is dropped.
    outstanding : Out(1)
        The memory owes an answer, or the port a beat.
    idle : Out(1)
        No request is in progress, and all writes are acknowledged.
    error : Out(MemoryErrorLayout)
        An access was answered with an error; a read goes before a write in the same cycle.
    bus : Out(Axi4Signature)
        The port.
    """

    # Ref: AMBA IHI 0022, A3.2 and A3.4.

    def __init__(self, config, *, readers, writers):
        self._config = config
        super().__init__({
            "reads": In(stream.Signature(ReadRequestLayout())).array(readers),
            "data": Out(stream.Signature(config.ddr_bits)).array(readers),
            "writes": In(stream.Signature(WriteRequestLayout(config))).array(writers),
            "stop": In(1),
            "outstanding": Out(1),
            "idle": Out(1),
            "error": Out(MemoryErrorLayout()),
            "bus": Out(ddr_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        reading, read_pending, read_error = self._elaborate_reads(m)
        write_pending, write_error = self._elaborate_writes(m)
        m.d.comb += [
            self.outstanding.eq(read_pending | write_pending),
            self.idle.eq(~reading & ~self.outstanding),
            self.error.stb.eq(read_error | write_error),
            self.error.kind.eq(Mux(read_error, ErrorKind.DDR_READ, ErrorKind.DDR_WRITE)),
            self.error.response.eq(Mux(read_error, self.bus.rresp, self.bus.bresp)),
        ]
        return m

    def _elaborate_reads(self, m):
        bus = self.bus
        size = bus.signature.size
        address_width = bus.signature.address_width

        # The request in progress, its address in beats.
        active = Signal()
        client = Signal(ceil_log2(len(self.reads)))
        address = Signal(address_width - size, reset_less=True)
        remaining = Signal(self.reads[0].payload.beats.shape(), reset_less=True)
        to_boundary = Signal(range(_BURST + 1))
        length = Signal(range(_BURST + 1))
        final = Signal()
        issue = Signal()
        first = Signal(len(self.reads))

        # Which client each burst in flight belongs to.
        m.submodules.owner_fifo = owners = fifo.SyncFIFO(width=len(client), depth=_OUTSTANDING)
        ar_valid = Signal()
        ar_address = Signal(address_width - size, reset_less=True)
        ar_length = Signal(exact_log2(_BURST), reset_less=True)
        m.d.comb += [
            to_boundary.eq(_BURST - address[:exact_log2(_BURST)]),
            final.eq(remaining <= to_boundary),
            length.eq(Mux(final, remaining, to_boundary)),
            issue.eq(active & ~self.stop & owners.w_rdy & (~ar_valid | bus.arready)),
            owners.w_data.eq(client),
            owners.w_en.eq(issue),
            bus.arvalid.eq(ar_valid),
            bus.araddr.eq(ar_address << size),
            bus.arlen.eq(ar_length),
            bus.arsize.eq(size),
            bus.arburst.eq(Burst.INCR),
        ]
        valids = Signal(len(self.reads))
        m.d.comb += [
            valids.eq(Cat(request.valid for request in self.reads)),
            first.eq(valids & (~valids + 1)),
        ]
        for index, request in enumerate(self.reads):
            m.d.comb += request.ready.eq(first[index] & ~active & ~self.stop)
            with m.If(request.ready & request.valid):
                m.d.sync += [
                    active.eq(1),
                    client.eq(index),
                    address.eq(request.payload.address >> size),
                    remaining.eq(request.payload.beats),
                ]
        with m.If(active & (self.stop | issue)):
            m.d.sync += active.eq(~self.stop & ~final)
        with m.If(issue):
            m.d.sync += [
                address.eq(address + length),
                remaining.eq(remaining - length),
                ar_address.eq(address),
                ar_length.eq(length - 1),
                ar_valid.eq(1),
            ]
        with m.Elif(bus.arready & ar_valid):
            m.d.sync += ar_valid.eq(0)

        for index, beats in enumerate(self.data):
            mine = Signal(name=f"mine{index}")
            m.d.comb += [
                mine.eq(owners.r_rdy & (owners.r_data == index)),
                beats.payload.eq(bus.rdata),
                beats.valid.eq(bus.rvalid & mine & ~self.stop),
            ]
            with m.If(mine):
                m.d.comb += bus.rready.eq(beats.ready | self.stop)
        m.d.comb += owners.r_en.eq(bus.rvalid & bus.rready & bus.rlast)
        error = bus.rvalid & bus.rready & ~self.stop & (bus.rresp != Response.OKAY)
        return active, owners.r_rdy, _named(m, "read_error", error)

    def _elaborate_writes(self, m):
        bus = self.bus
        size = bus.signature.size

        # The address and its data become valid together; then addresses may run ahead.
        aw_valid = Signal()
        aw_address = Signal(bus.signature.address_width - size, reset_less=True)
        m.submodules.beat_fifo = beats = fifo.SyncFIFO(
            width=self._config.ddr_bits + self._config.ddr_bits // 8, depth=_WRITES)
        valids = Signal(len(self.writes))
        first = Signal(len(self.writes))
        accept = Signal()
        m.d.comb += [
            valids.eq(Cat(request.valid for request in self.writes)),
            first.eq(valids & (~valids + 1)),
            accept.eq(valids.any() & ~self.stop & beats.w_rdy & (~aw_valid | bus.awready)),
            beats.w_en.eq(accept),
            bus.awvalid.eq(aw_valid),
            bus.awaddr.eq(aw_address << size),
            bus.awsize.eq(size),
            bus.awburst.eq(Burst.INCR),
            bus.wvalid.eq(beats.r_rdy),
            Cat(bus.wdata, bus.wstrb).eq(beats.r_data),
            bus.wlast.eq(1),
            beats.r_en.eq(bus.wready),
            bus.bready.eq(1),
        ]
        for index, request in enumerate(self.writes):
            m.d.comb += request.ready.eq(accept & first[index])
            with m.If(first[index]):
                m.d.comb += beats.w_data.eq(Cat(request.payload.data, request.payload.strobe))
                with m.If(accept):
                    m.d.sync += aw_address.eq(request.payload.address >> size)
        with m.If(accept):
            m.d.sync += aw_valid.eq(1)
        with m.Elif(aw_valid & bus.awready):
            m.d.sync += aw_valid.eq(0)

        pending_count = Signal(16)
        with m.If(accept != bus.bvalid):
            m.d.sync += pending_count.eq(Mux(accept, pending_count + 1, pending_count - 1))
        error = bus.bvalid & ~self.stop & (bus.bresp != Response.OKAY)
        return pending_count.any(), _named(m, "write_error", error)


def _named(m, name, value):
    """A signal for a value that is used twice."""
    signal = Signal(name=name)
    m.d.comb += signal.eq(value)
    return signal
