"""Several AXI3 managers on one port of the HBM."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dfx_rtl.bus.axi import Axi3Signature

__all__ = ["Axi3Arbiter"]

# Write bursts whose data have not all moved.
_WRITES = 16
_ADDRESS = ("id", "addr", "len", "size", "burst")


class Axi3Arbiter(wiring.Component):
    """Shares an AXI3 port between managers, burst by burst, in domain ``sync`` (to be renamed).

    Read and write addresses are granted apart, each round robin: the manager that was granted last
    has the lowest priority. The number of the manager becomes the upper bits of the identifier, so
    that the answers find their way back and the memory may answer managers out of order. Write data
    follow their address: they begin in the cycle after it has moved, and no other manager's come
    between. A manager should therefore hold the data of a burst before it asks.

    Latency: an address is one cycle later at the port; data and responses pass in the same cycle.
    Throughput: an address in each direction and a beat a cycle. ``awready`` and ``arready`` of a
    manager depend combinationally on all ``awvalid`` and ``arvalid``; data and responses are
    combinational in both directions.

    Source: AMBA AXI (IHI 0022), A5.3 (identifiers), A5.2.3 (order of write data).

    Parameters
    ----------
    signature : Axi3Signature
        Of a manager.
    managers : int
        How many there are.

    Members
    -------
    managers : In(signature).array(managers)
        From the managers.
    port : Out(Axi3Signature)
        To the memory; identifiers are wider by the bits of a manager's number.

    Raises
    ------
    TypeError
        If the signature is not AXI3, or the number of managers is not a positive integer.
    """

    def __init__(self, signature, managers):
        if not isinstance(signature, Axi3Signature):
            raise TypeError(f"Signature must be AXI3, not {signature!r}")
        if not isinstance(managers, int) or isinstance(managers, bool) or managers < 1:
            raise TypeError(f"Number of managers must be a positive integer, not {managers!r}")
        self._id_width = signature.id_width
        self._index_width = ceil_log2(managers)
        super().__init__({
            "managers": In(signature).array(managers),
            "port": Out(Axi3Signature(signature.address_width, signature.data_width,
                                      signature.id_width + self._index_width)),
        })

    def elaborate(self, platform):
        m = Module()
        port = self.port
        m.submodules.writers = writers = fifo.SyncFIFO(width=self._index_width, depth=_WRITES)
        self._elaborate_addresses(m, "ar", port.arready, 1)
        # One more may be on its way from the register into the FIFO.
        room = Signal(name="aw_room")
        m.d.comb += room.eq(writers.w_level < _WRITES - 1)
        writer = self._elaborate_addresses(m, "aw", port.awready, room)
        m.d.comb += [
            writers.w_data.eq(writer),
            writers.w_en.eq(port.awvalid & port.awready),
            writers.r_en.eq(port.wvalid & port.wready & port.wlast),
        ]

        for index, manager in enumerate(self.managers):
            writes = Signal(name=f"writes{index}")
            m.d.comb += writes.eq(writers.r_rdy & (writers.r_data == index))
            with m.If(writes):
                m.d.comb += [
                    port.wdata.eq(manager.wdata),
                    port.wstrb.eq(manager.wstrb),
                    port.wlast.eq(manager.wlast),
                    port.wvalid.eq(manager.wvalid),
                    manager.wready.eq(port.wready),
                ]
            self._elaborate_answers(m, index, manager)
        return m

    def _elaborate_addresses(self, m, prefix, ready, room):
        """Grant one address a cycle into a register; returns the number in its identifier."""
        port = {name: getattr(self.port, f"{prefix}{name}") for name in (*_ADDRESS, "valid")}
        count = len(self.managers)
        valid = Signal(name=f"{prefix}_valid")
        payload = {name: Signal.like(value, name=f"{prefix}_{name}", reset_less=True)
                   for name, value in port.items() if name != "valid"}
        wanted = Signal(count, name=f"{prefix}_wanted")
        above = Signal(count, name=f"{prefix}_above")
        chosen = Signal(count, name=f"{prefix}_chosen")
        granted = Signal(count, name=f"{prefix}_granted")
        # A bit for each manager above the last one.
        mask = Signal(count, name=f"{prefix}_mask")
        take = Signal(name=f"{prefix}_take")
        m.d.comb += [
            wanted.eq(Cat(getattr(manager, f"{prefix}valid") for manager in self.managers)),
            above.eq(wanted & mask),
            chosen.eq(Mux(above.any(), above, wanted)),
            granted.eq(chosen & (~chosen + 1)),
            take.eq(wanted.any() & room & (~valid | ready)),
            port["valid"].eq(valid),
            *(port[name].eq(payload[name]) for name in _ADDRESS),
        ]
        with m.If(take):
            m.d.sync += [valid.eq(1), mask.eq(~(granted | (granted - 1)))]
        with m.Elif(ready):
            m.d.sync += valid.eq(0)
        for index, manager in enumerate(self.managers):
            m.d.comb += getattr(manager, f"{prefix}ready").eq(take & granted[index])
            with m.If(take & granted[index]):
                m.d.sync += [payload[name].eq(getattr(manager, f"{prefix}{name}"))
                             for name in _ADDRESS if name != "id"]
                m.d.sync += payload["id"].eq(
                    Cat(getattr(manager, f"{prefix}id"), C(index, self._index_width)))
        return payload["id"][self._id_width:]

    def _elaborate_answers(self, m, index, manager):
        port = self.port
        reads = Signal(name=f"reads{index}")
        answers = Signal(name=f"answers{index}")
        m.d.comb += [
            reads.eq(port.rid[self._id_width:] == index),
            manager.rid.eq(port.rid[:self._id_width]),
            manager.rdata.eq(port.rdata),
            manager.rresp.eq(port.rresp),
            manager.rlast.eq(port.rlast),
            manager.rvalid.eq(port.rvalid & reads),
            answers.eq(port.bid[self._id_width:] == index),
            manager.bid.eq(port.bid[:self._id_width]),
            manager.bresp.eq(port.bresp),
            manager.bvalid.eq(port.bvalid & answers),
        ]
        with m.If(reads):
            m.d.comb += port.rready.eq(manager.rready)
        with m.If(answers):
            m.d.comb += port.bready.eq(manager.bready)
