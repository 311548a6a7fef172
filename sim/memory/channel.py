"""A port of a memory: one description of its timing, for HBM (AXI3) and DDR (AXI4)."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dfx_rtl.bus.axi import *

from .checker import AxiChecker, Violation
from .storage import StorageSignature
from .timing import FaultKind, FaultLayout, TimingLayout

__all__ = ["MemoryPort"]


#: Bits of a point in time. A burst must be served within half of the range, or it is served late.
TIME_WIDTH = 24
#: Bursts that one direction may serve while the other one waits.
BATCH_BURSTS = 8
#: Bits of the generator of stalls, and its shifts (Marsaglia, Xorshift RNGs, 2003).
STALL_BITS = 64
STALL_SHIFTS = 13, 7, 17
#: Upper half of its first state, so that it is never 0.
STALL_START = 0x9e3779b9


class _Direction(enum.Enum, shape=1):
    READ = 0
    WRITE = 1


class _Allow(data.Struct):
    """What may happen in the next cycle, as stalls and refresh have it."""
    arready: 1
    awready: 1
    wready: 1
    rvalid: 1
    bvalid: 1


ALLOW_ALL = 0b11111
ALLOW_ADDRESSES = 0b00011


class MemoryPort(wiring.Component):
    """A memory behind one AXI3 or AXI4 port, with the timing of the real one. Simulation only.

    Bursts of a direction are served in order. Each address waits in a queue until it is due, so
    the latencies of outstanding bursts overlap. Reads and writes share the data bus, a beat a cycle
    in one direction; it turns when one direction has nothing to move, or after 8 bursts while the
    other one waits. Refresh stops data and responses, not addresses, and the time of all that is
    in flight. A burst that leaves the memory gets DECERR; so does one that has a fault, and neither
    writes anything; the data of a failed read mean nothing. Bursts must be of full width and
    incrementing: others are reported by ``violation`` and served as if they were.

    Latency: an AR that moves in cycle n has its first R beat valid in cycle n + ``latency`` when
    the port is idle (plus ``row_miss`` in another row); a last W beat in cycle n has its B in
    cycle n + ``write_latency``. Throughput: a beat a cycle, also across bursts.
    All outputs of the bus but ``rdata`` are registers; ``rdata`` comes from the storage as it is.
    ``storage.read_enable`` depends on ``rready``, and its writes on the W channel, without a
    register between. Clock domain: ``sync``, to be renamed.

    Parameters
    ----------
    signature : :class:`Axi3Signature` or :class:`Axi4Signature`
        Of the bus.
    size_bytes : :class:`int`
        Size of the memory, in bytes: a multiple of the beat, at least two beats.
    base_address : :class:`int`
        Byte address of its first byte: a multiple of the size rounded up to a power of two.
    row_bytes : :class:`int`
        Bytes of a row, a power of two and at least a beat.
    queue_depth : :class:`int`
        Bursts a direction that can be outstanding at most, a power of two;
        ``timing.outstanding`` lowers it.
    constant_rready : :class:`bool`
        Whether the manager promises that RREADY is high whenever RVALID is; checked.

    Members
    -------
    bus : ``In(signature)``
        From the manager.
    storage : ``Out(StorageSignature(address_width, data_width))``
        The bytes; addresses count beats from the base address.
    timing : ``In(TimingLayout)``
        Constant during a run.
    fault : ``In(FaultLayout)``
        What goes wrong; constant during a run.
    violation : ``Out(Violation)``
        The first rule that the manager broke; stays until reset.

    Raises
    ------
    :exc:`TypeError`
        If the signature is neither AXI3 nor AXI4.
    :exc:`ValueError`
        If a size, address or depth is not as stated above.
    """

    def __init__(self, signature, size_bytes, *, base_address=0, row_bytes=1024, queue_depth=64,
                 constant_rready=False):
        if not isinstance(signature, Axi3Signature | Axi4Signature):
            raise TypeError(f"Signature must be AXI3 or AXI4, not {signature!r}")
        beat_bytes = signature.beat_bytes
        if not isinstance(size_bytes, int) or size_bytes < 2 * beat_bytes \
                or size_bytes % beat_bytes:
            raise ValueError(f"Size must be a multiple of {beat_bytes} bytes and at least two, "
                             f"not {size_bytes!r}")
        if not isinstance(row_bytes, int) or row_bytes < beat_bytes or row_bytes & (row_bytes - 1):
            raise ValueError(f"Row must be a power of two of at least {beat_bytes} bytes, "
                             f"not {row_bytes!r}")
        if not isinstance(queue_depth, int) or not 1 < queue_depth <= 128 \
                or queue_depth & (queue_depth - 1):
            raise ValueError(f"Queue depth must be a power of two between 2 and 128, "
                             f"not {queue_depth!r}")
        span = beat_bytes << ceil_log2(size_bytes // beat_bytes)
        if base_address % span or base_address + size_bytes > 1 << signature.address_width:
            raise ValueError(f"Base address must be a multiple of {span:#x} in "
                             f"{signature.address_width} bits, not {base_address:#x}")
        self._axi = signature
        self._size_bytes = size_bytes
        self._base_address = base_address
        self._row_bytes = row_bytes
        self._queue_depth = queue_depth
        self._constant_rready = constant_rready
        address_width = ceil_log2(size_bytes // beat_bytes)
        super().__init__({
            "bus":       In(signature),
            "storage":   Out(StorageSignature(address_width, signature.data_width)),
            "timing":    In(TimingLayout),
            "fault":     In(FaultLayout),
            "violation": Out(Violation),
        })

    @property
    def size_bytes(self):
        """Size of the memory, in bytes."""
        return self._size_bytes

    @property
    def beat_bytes(self):
        """Bytes of a beat."""
        return self._axi.beat_bytes

    def elaborate(self, platform):
        m = Module()
        m.submodules.checker = checker = AxiChecker(
            self.bus, self._size_bytes, base_address=self._base_address,
            check_subordinate=False, constant_rready=self._constant_rready,
            depth=2 * self._queue_depth)
        m.d.comb += self.violation.eq(checker.violation)

        # Registers are packed: the simulator pays for each of them at every clock edge, and for
        # its fields only when they change.
        row_width = max(len(self.storage.read_address) - self._row_shift, 0) + 1
        id_width, length_width = len(self.bus.arid), len(self.bus.arlen)
        count_width = ceil_log2(self._queue_depth) + 1
        self._entry = data.StructLayout({
            "due": TIME_WIDTH, "beat": len(self.storage.read_address), "length": length_width,
            "id": id_width, "response": Response})
        self._answer = data.StructLayout({"due": TIME_WIDTH, "id": id_width, "response": Response})
        burst = data.StructLayout({"left": length_width, "active": 1, "go": 1,
                                   "id": id_width, "response": Response})
        state = Signal(data.StructLayout({
            "started": 1, "hung": 1, "busy": 1, "direction": _Direction, "pause": 8,
            "batch": range(BATCH_BURSTS), "limit": range(self._queue_depth + 1),
            "row_wait": 16, "row": row_width, "fault_count": 16,
        }), init={"row": (1 << row_width) - 1})
        # Bursts that entered and left each queue; the difference is what is in it.
        count = Signal(data.StructLayout(
            {f"{queue}_{way}": count_width for queue in ("read", "write", "answer")
             for way in ("in", "out")}))
        now = Signal(TIME_WIDTH)
        allow = Signal(_Allow)
        read, write = Signal(burst), Signal(burst)
        queues = {queue: Signal(layout.size * self._queue_depth, name=f"{queue}s", reset_less=True)
                  for queue, layout in (("read", self._entry), ("write", self._entry),
                                        ("answer", self._answer))}
        # A queue moves down when its head leaves, so that the head stands at a fixed place: a wide
        # signal that is indexed is slow in a compiled simulation.
        heads = {queue: data.View(layout, queues[queue][:layout.size])
                 for queue, layout in (("read", self._entry), ("write", self._entry),
                                       ("answer", self._answer))}
        self._count, self._queues, self._heads, self._now = count, queues, heads, now

        issue = Signal()
        m.d.comb += [
            issue.eq(read.go & (~self.bus.rvalid | self.bus.rready)),
            self.storage.read_enable.eq(issue & (read.response == Response.OKAY)),
            self.bus.rdata.eq(self.storage.read_data),
            self.storage.write_enable.eq(self.bus.wvalid & self.bus.wready
                                         & (write.response == Response.OKAY)),
            self.storage.write_data.eq(self.bus.wdata),
            self.storage.write_strobe.eq(self.bus.wstrb),
        ]

        halted = self._elaborate_pace(m, state, allow)
        with m.If(state.hung):
            self._elaborate_hung(m)
        with m.Elif(state.busy | self.bus.arvalid | self.bus.awvalid
                    | (self.timing.stall_threshold != 0)):
            with m.If(~halted):
                m.d.sync += now.eq(now + 1)
                with m.If(state.row_wait != 0):
                    m.d.sync += state.row_wait.eq(state.row_wait - 1)
            self._leaves = {
                "read": (~read.active | (issue & (read.left == 0))) & self._is_due("read"),
                "write": (~write.active | (self.bus.wvalid & self.bus.wready & (write.left == 0)))
                         & self._is_due("write"),
                "answer": (~self.bus.bvalid | self.bus.bready) & allow.bvalid
                          & self._is_due("answer"),
            }
            # What leaves a queue stands before what enters it: the later assignment wins.
            self._elaborate_read(m, state, allow, read, issue)
            self._elaborate_answer(m)
            self._elaborate_write(m, state, allow, write)
            self._elaborate_addresses(m, state, allow, read)
            self._elaborate_direction(m, state, read, write, issue)
            m.d.sync += state.busy.eq(
                read.active | write.active | self.bus.rvalid | self.bus.bvalid
                | self.bus.arvalid | self.bus.awvalid | ~(self.bus.arready & self.bus.awready)
                | (count.read_in != count.read_out) | (count.write_in != count.answer_out))
            with m.If(self.fault.kind == FaultKind.HANG):
                self._elaborate_hang(m, state, read, write, issue)
        return m

    @property
    def _row_shift(self):
        return (self._row_bytes // self._axi.beat_bytes).bit_length() - 1

    def _elaborate_pace(self, m, state, allow):
        """Refresh and stalls: what may happen in the next cycle."""
        timing = self.timing
        left = Signal(16)
        stall = Signal(STALL_BITS)
        halted = left < timing.refresh_length
        open_channels = Mux(halted, ALLOW_ADDRESSES, ALLOW_ALL)
        with m.If(~state.started):
            m.d.sync += [
                state.started.eq(1),
                state.busy.eq(1),
                state.limit.eq(Mux(timing.outstanding > self._queue_depth, self._queue_depth,
                                   timing.outstanding)),
                left.eq(timing.refresh_interval - timing.refresh_phase),
                stall.eq(Cat(timing.seed, C(STALL_START, 32))),
                allow.as_value().eq(ALLOW_ALL),
            ]
        with m.Else():
            with m.If(timing.refresh_interval != 0):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += left.eq(timing.refresh_interval - 1)
            with m.If(timing.stall_threshold != 0):
                first, second, third = STALL_SHIFTS
                step = stall ^ (stall << first)[:STALL_BITS]
                step = step ^ (step >> second)
                step = step ^ (step << third)[:STALL_BITS]
                bytes_ = [stall[8 * index:8 * index + 8] for index in range(len(allow.as_value()))]
                m.d.sync += [
                    stall.eq(step),
                    allow.as_value().eq(Cat(byte >= timing.stall_threshold for byte in bytes_)
                                        & open_channels),
                ]
            with m.Else():
                m.d.sync += allow.as_value().eq(open_channels)
        return halted

    def _elaborate_hung(self, m):
        """What has been shown stays until it is taken; nothing follows."""
        bus = self.bus
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

    def _elaborate_hang(self, m, state, read, write, issue):
        """Count the bursts of both directions, and stop."""
        bus = self.bus
        served = (issue & (read.left == 0)) + self._leaves["answer"]
        m.d.sync += state.fault_count.eq(state.fault_count + served)
        with m.If(state.fault_count + served >= self.fault.after):
            m.d.sync += [state.hung.eq(1), read.go.eq(0),
                         bus.arready.eq(0), bus.awready.eq(0), bus.wready.eq(0)]

    def _push(self, m, queue, value):
        entered, left = self._count[f"{queue}_in"], self._count[f"{queue}_out"]
        place = (entered - left - self._leaves[queue])[:len(entered) - 1]
        m.d.sync += [
            self._queues[queue].word_select(place, len(value)).eq(value),
            entered.eq(entered + 1),
        ]

    def _pop(self, m, queue):
        left, width = self._count[f"{queue}_out"], len(self._heads[queue].as_value())
        m.d.sync += [
            self._queues[queue].eq(self._queues[queue][width:]),
            left.eq(left + 1),
        ]

    def _is_due(self, queue):
        waiting = self._count[f"{queue}_in"] != self._count[f"{queue}_out"]
        return waiting & ~(self._now - self._heads[queue].due)[TIME_WIDTH - 1]

    def _elaborate_addresses(self, m, state, allow, read):
        bus, count, timing = self.bus, self._count, self.timing
        count_width = len(count.read_in)
        bursts = (count.read_in - count.read_out)[:count_width] \
            + read.active + (bus.arvalid & bus.arready)
        m.d.sync += bus.arready.eq(allow.arready & (bursts < state.limit))
        bursts = (count.write_in - count.answer_out)[:count_width] + (bus.awvalid & bus.awready)
        m.d.sync += bus.awready.eq(allow.awready & (bursts < state.limit))

        with m.If(bus.arvalid & bus.arready):
            self._accept(m, state, "ar", "read", timing.latency - 2,
                         FaultKind.READ_SLVERR, FaultKind.READ_DECERR)
        with m.If(bus.awvalid & bus.awready):
            self._accept(m, state, "aw", "write", 0,
                         FaultKind.WRITE_SLVERR, FaultKind.WRITE_DECERR)

    def _accept(self, m, state, prefix, queue, latency, slverr, decerr):
        """Queue an address with the time from which it may move data."""
        bus, timing, fault = self.bus, self.timing, self.fault
        shift, width = self._axi.size, len(self.storage.read_address)
        address, length = getattr(bus, f"{prefix}addr"), getattr(bus, f"{prefix}len")
        beat = address[shift:shift + width]
        base, size = self._base_address >> shift, self._size_bytes >> shift
        outside = (address[shift + width:] != base >> width) | (beat + length >= size)

        row = beat[self._row_shift:]
        miss = row != state.row
        due = self._now + latency + Mux(miss, state.row_wait + timing.row_miss, 0)
        faulty = ((fault.kind == slverr) | (fault.kind == decerr)) \
            & (state.fault_count == fault.after)
        response = Mux(faulty, Mux(fault.kind == slverr, Response.SLVERR, Response.DECERR),
                       Mux(outside, Response.DECERR, Response.OKAY))
        with m.If(miss):
            m.d.sync += state.row.eq(row)
            with m.If(timing.row_miss != 0):
                m.d.sync += state.row_wait.eq(state.row_wait + timing.row_miss - 1)
        with m.If((fault.kind == slverr) | (fault.kind == decerr)):
            m.d.sync += state.fault_count.eq(state.fault_count + 1)
        self._push(m, queue, Cat(due[:TIME_WIDTH], beat, length, getattr(bus, f"{prefix}id"),
                                 response[:2]))

    def _elaborate_read(self, m, state, allow, read, issue):
        bus, head = self.bus, self._heads["read"]
        free = allow.rvalid & (state.direction == _Direction.READ) & (state.pause == 0)
        with m.If(issue):
            m.d.sync += [
                bus.rvalid.eq(1), bus.rlast.eq(read.left == 0),
                bus.rid.eq(read.id), bus.rresp.eq(read.response),
                self.storage.read_address.eq(self.storage.read_address + 1),
                read.left.eq(read.left - 1),
            ]
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(~read.active | (issue & (read.left == 0))):
            with m.If(self._is_due("read")):
                self._pop(m, "read")
                m.d.sync += [
                    read.eq(Cat(head.length, C(1, 1), free, head.id, head.response)),
                    self.storage.read_address.eq(head.beat),
                ]
            with m.Else():
                m.d.sync += [read.active.eq(0), read.go.eq(0)]
        with m.Else():
            m.d.sync += read.go.eq(free)

    def _elaborate_write(self, m, state, allow, write):
        bus, head = self.bus, self._heads["write"]
        free = allow.wready & (state.direction == _Direction.WRITE) & (state.pause == 0)
        moved = bus.wvalid & bus.wready
        with m.If(moved):
            m.d.sync += [
                self.storage.write_address.eq(self.storage.write_address + 1),
                write.left.eq(write.left - 1),
            ]
            with m.If(write.left == 0):
                due = (self._now + self.timing.write_latency - 1)[:TIME_WIDTH]
                self._push(m, "answer", Cat(due, write.id, write.response))
        with m.If(~write.active | (moved & (write.left == 0))):
            with m.If(self._is_due("write")):
                self._pop(m, "write")
                m.d.sync += [
                    write.eq(Cat(head.length, C(1, 1), C(0, 1), head.id, head.response)),
                    self.storage.write_address.eq(head.beat),
                    bus.wready.eq(free),
                ]
            with m.Else():
                m.d.sync += [write.active.eq(0), bus.wready.eq(0)]
        with m.Else():
            m.d.sync += bus.wready.eq(free)

    def _elaborate_answer(self, m):
        bus, head = self.bus, self._heads["answer"]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(self._leaves["answer"]):
            self._pop(m, "answer")
            m.d.sync += [bus.bvalid.eq(1), bus.bid.eq(head.id), bus.bresp.eq(head.response)]

    def _elaborate_direction(self, m, state, read, write, issue):
        """Turn the data bus round. A turn overrides what read and write want of the next cycle."""
        bus = self.bus
        blocked = bus.rvalid & ~bus.rready
        read_ends = issue & (read.left == 0)
        write_ends = bus.wvalid & bus.wready & (write.left == 0)
        full = state.batch == BATCH_BURSTS - 1
        turn = [state.pause.eq(self.timing.turnaround), state.batch.eq(0),
                read.go.eq(0), bus.wready.eq(0)]
        with m.If(state.pause != 0):
            m.d.sync += state.pause.eq(state.pause - 1)
        with m.Elif(state.direction == _Direction.READ):
            with m.If(write.active & bus.wvalid
                      & (~read.active | blocked | (full & read_ends))):
                m.d.sync += [state.direction.eq(_Direction.WRITE), *turn]
            with m.Elif(read_ends & ~full):
                m.d.sync += state.batch.eq(state.batch + 1)
        with m.Else():
            with m.If(read.active & ~blocked
                      & (~write.active | ~bus.wvalid | (full & write_ends))):
                m.d.sync += [state.direction.eq(_Direction.READ), *turn]
            with m.Elif(write_ends & ~full):
                m.d.sync += state.batch.eq(state.batch + 1)
