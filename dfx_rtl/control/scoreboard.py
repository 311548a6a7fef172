"""The scoreboard: which registers are being written, are written, and are still to be read."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..isa import Unit

__all__ = ["Scoreboard", "TICKET"]

# Width of a ticket. Only the tickets of instructions in flight matter, which are far fewer.
TICKET = 16


class Scoreboard(wiring.Component):
    """Hazards between instructions, register by register (chunks, then scalars).

    Two bits a register: *stale*, an instruction that was dispatched will write it; *valid*, it has
    been written since it was last claimed. Read ports wait for *valid* (read after write).

    For the readers, each unit counts its instructions: the n-th that is dispatched to it has ticket
    n, and units retire in order. A memory keeps, for each register and unit, the ticket of the last
    instruction that reads the register. A register is *free* to be claimed when it is not stale and
    none of its tickets is in flight, that is between the unit's retired and issued counts (write
    after write, write after read). Another memory keeps the unit that a chunk was claimed for: the
    performance counters ask it whom the MPU waits for. Tickets wrap around: one of an instruction
    long retired can look as if it were in flight, which makes a claim wait for nothing, a little,
    but never for ever.

    Latency: a claim, a mark and a write act in the next cycle. ``free`` is that of the address that
    was on ``probe`` in the cycle before.

    Source: DFX paper, section 4.2 (scoreboard).

    Parameters
    ----------
    chunks, scalars : int
        Registers of the two files. Entry ``chunks + s`` is scalar ``s``.

    Members
    -------
    probe : In(range(entries))
        The register that is asked about.
    free : Out(1)
        The register asked about in the cycle before may be claimed now.
    claim_stb, claim, claim_unit : In(1), In(range(entries)), In(Unit)
        An instruction that will write the register is dispatched, to that unit.
    mark_stb, mark, mark_unit : In(1), In(range(entries)), In(Unit)
        An instruction that will read the register is about to be issued to that unit.
    issued, retired : In(5), In(5)
        A bit a unit: an instruction was put into its queue; one has ended.
    chunk_written, chunk : In(1), In(range(chunks))
        A chunk is written.
    scalar_written, scalar : In(1), In(range(scalars))
        A scalar is written.
    valid : Out(entries)
        The valid bits.
    awaited, writer : In(range(chunks)), Out(Unit)
        The unit that a chunk was last claimed for; combinational.
    in_flight : Out(5)
        A bit a unit: some instruction is issued and not retired.
    """

    def __init__(self, chunks, scalars):
        self._chunks = chunks
        self._entries = entries = chunks + scalars
        super().__init__({
            "probe": In(range(entries)),
            "free": Out(1),
            "claim_stb": In(1),
            "claim": In(range(entries)),
            "claim_unit": In(Unit),
            "mark_stb": In(1),
            "mark": In(range(entries)),
            "mark_unit": In(Unit),
            "issued": In(len(Unit)),
            "retired": In(len(Unit)),
            "chunk_written": In(1),
            "chunk": In(range(chunks)),
            "scalar_written": In(1),
            "scalar": In(range(scalars)),
            "valid": Out(entries),
            "awaited": In(range(chunks)),
            "writer": Out(Unit),
            "in_flight": Out(len(Unit)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.tickets = tickets = memory.Memory(
            shape=data.ArrayLayout(TICKET, len(Unit)), depth=self._entries, init=[])
        marking = tickets.write_port(granularity=1)
        asking = tickets.read_port()

        stale = Signal(self._entries)
        issued = [Signal(TICKET, name=f"issued{unit.value}") for unit in Unit]
        retired = [Signal(TICKET, name=f"retired{unit.value}") for unit in Unit]

        # The tickets of the register asked about, against those in flight.
        probed = Signal(range(self._entries))
        m.d.sync += probed.eq(self.probe)
        m.d.comb += asking.addr.eq(self.probe)
        unread = Signal(len(Unit))
        for unit in Unit:
            count = Signal(TICKET, name=f"count{unit.value}")
            age = Signal(TICKET, name=f"age{unit.value}")
            m.d.comb += [
                count.eq(issued[unit] - retired[unit]),
                age.eq(asking.data[unit] - retired[unit] - 1),
                self.in_flight[unit].eq(count != 0),
                unread[unit].eq(age < count),
            ]
            with m.If(self.issued[unit]):
                m.d.sync += issued[unit].eq(issued[unit] + 1)
            with m.If(self.retired[unit]):
                m.d.sync += retired[unit].eq(retired[unit] + 1)
        m.d.comb += [
            self.free.eq(~stale.bit_select(probed, 1) & ~unread.any()),
        ]

        # An instruction marks its sources before it is issued: its ticket is the next.
        m.d.comb += [
            marking.addr.eq(self.mark),
            marking.en.eq(self.mark_stb << self.mark_unit),
        ]
        for unit in Unit:
            m.d.comb += marking.data[unit].eq(issued[unit] + 1)

        m.submodules.writers = writers = memory.Memory(shape=Unit, depth=self._chunks, init=[])
        claiming, awaiting = writers.write_port(), writers.read_port(domain="comb")
        m.d.comb += [
            claiming.addr.eq(self.claim),
            claiming.data.eq(self.claim_unit),
            claiming.en.eq(self.claim_stb & (self.claim < self._chunks)),
            awaiting.addr.eq(self.awaited),
            self.writer.eq(awaiting.data),
        ]

        # A claim and a write in the same cycle are never of the same register.
        claimed = Signal(self._entries)
        written = Signal(self._entries)
        m.d.comb += [
            claimed.eq(self.claim_stb << self.claim),
            written.eq((self.chunk_written << self.chunk)
                       | (self.scalar_written << self.scalar) << self._chunks),
        ]
        with m.If(self.claim_stb | self.chunk_written | self.scalar_written):
            m.d.sync += [
                stale.eq(stale & ~written | claimed),
                self.valid.eq(self.valid & ~claimed | written),
            ]
        return m
