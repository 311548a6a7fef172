"""Protocol checkers: components that watch a bus and remember the first rule that it breaks."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import ceil_log2

from dfx_rtl.bus.axi import *

__all__ = ["Violation", "AxiChecker", "AxiLiteChecker"]


class Violation(enum.Enum, shape=5):
    """The rule that was broken."""
    NONE = 0
    VALID_AFTER_RESET = 1
    AW_UNSTABLE = 2
    W_UNSTABLE = 3
    B_UNSTABLE = 4
    AR_UNSTABLE = 5
    R_UNSTABLE = 6
    BOUNDARY = 7
    LENGTH = 8
    SIZE = 9
    BURST = 10
    ALIGNMENT = 11
    ADDRESS_RANGE = 12
    W_BEFORE_AW = 13
    W_LAST = 14
    B_BEFORE_W = 15
    B_ID = 16
    R_WITHOUT_AR = 17
    R_LAST = 18
    R_ID = 19
    R_NOT_READY = 20
    RESPONSE = 21
    QUEUE_OVERFLOW = 22


def _unflipped(bus):
    signature = bus.signature
    return signature.flip() if isinstance(signature, wiring.FlippedSignature) else signature


class _Watch:
    """Rules of one channel: valid stays, and the payload is stable, until the beat moves (A1)."""

    def __init__(self, m, bus, prefix, payload, report, *, held, copy):
        self.valid = getattr(bus, f"{prefix}valid")
        self.ready = getattr(bus, f"{prefix}ready")
        self._m, self._held, self._copy = m, held, copy
        self._payload = Cat(payload)
        self._report = report

    def stable(self, violation):
        """To be called inside ``If(valid)``, and once more, with nothing else, in ``Else``."""
        m = self._m
        with m.If(self._held & (self._copy != self._payload)):
            self._report(violation)
        m.d.sync += self._held.eq(~self.ready)
        with m.If(~self.ready):
            m.d.sync += self._copy.eq(self._payload)

    def withdrawn(self, violation):
        with self._m.Elif(self._held):
            self._report(violation)


class AxiChecker(wiring.Component):
    """Watches an AXI3 or AXI4 bus, and remembers the first rule that is broken. Simulation only.

    It reads the signals of the bus where they are; nothing has to be connected. After the first
    violation it looks no further. If rules are broken in one cycle, one of them is reported.

    Of both sides: valid is low in the first cycle after reset (VALID_AFTER_RESET); valid stays and
    the payload is stable until the beat moves (AW_UNSTABLE and so on).
    Of the manager: a burst does not cross 4 KiB (BOUNDARY), has at most ``max_beats`` (LENGTH), is
    of full width (SIZE), increments (BURST), starts at a whole beat (ALIGNMENT) and stays inside
    the memory (ADDRESS_RANGE); data come with or after their address (W_BEFORE_AW); WLAST is at
    the last beat and only there (W_LAST); with ``constant_rready``, RREADY is high whenever RVALID
    is (R_NOT_READY); no more than ``depth`` bursts a direction are outstanding (QUEUE_OVERFLOW).
    Of the subordinate: a response follows its address and data (B_BEFORE_W) and has its identifier
    (B_ID); data follow their address (R_WITHOUT_AR), with its identifier (R_ID) and RLAST at the
    last beat (R_LAST). All bursts are answered in order, whatever their identifiers. EXOKAY does
    not occur (RESPONSE).

    Source: AMBA AXI and ACE (IHI 0022), A3.1.2, A3.2 to A3.4; PG276 for the profile.
    Latency: the violation is visible in the next cycle.

    Parameters
    ----------
    bus : interface object
        Of :class:`Axi3Signature` or :class:`Axi4Signature`, flipped or not.
    size_bytes : :class:`int` or None
        Size of the memory, in bytes; None allows all addresses.
    base_address : :class:`int`
        Byte address of the memory.
    max_beats : :class:`int` or None
        Longest burst, in beats; None is the longest of the protocol.
    check_subordinate : :class:`bool`
        Whether the rules of the subordinate are checked; without them a read costs less.
    constant_rready : :class:`bool`
        Whether the manager promises that RREADY never delays a beat.
    depth : :class:`int`
        Bursts a direction that can be followed, a power of two above 1.

    Members
    -------
    violation : ``Out(Violation)``
        The rule that was broken first, until reset.

    Raises
    ------
    :exc:`TypeError`
        If the bus is neither AXI3 nor AXI4.
    :exc:`ValueError`
        If the depth is not a power of two above 1.
    """

    def __init__(self, bus, size_bytes=None, *, base_address=0, max_beats=None,
                 check_subordinate=True, constant_rready=False, depth=64):
        signature = getattr(bus, "signature", None) and _unflipped(bus)
        if not isinstance(signature, Axi3Signature | Axi4Signature):
            raise TypeError(f"Bus must be AXI3 or AXI4, not {bus!r}")
        if not isinstance(depth, int) or depth < 2 or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two above 1, not {depth!r}")
        self._bus = bus
        self._axi = signature
        self._size_bytes = size_bytes
        self._base_address = base_address
        self._max_beats = signature.max_beats if max_beats is None else max_beats
        self._check_subordinate = check_subordinate
        self._constant_rready = constant_rready
        self._depth = depth
        super().__init__({"violation": Out(Violation)})

    def elaborate(self, platform):
        m = Module()
        bus, depth = self._bus, self._depth
        count_width = ceil_log2(depth) + 1
        length_width = len(bus.arlen)
        # Packed, because the simulator pays for every register at every clock edge.
        state = Signal(data.StructLayout({
            "started": 1,
            "aw_held": 1, "w_held": 1, "b_held": 1, "ar_held": 1, "r_held": 1,
            "w_beat": length_width, "r_beat": length_width,
            "aw_count": count_width, "w_count": count_width, "b_count": count_width,
            "ar_count": count_width, "r_count": count_width,
        }))
        # Queues move down when their head leaves, so that the head stands at a fixed place.
        length_queue = Signal(length_width * depth, reset_less=True)
        id_queue = Signal(len(bus.awid) * depth, reset_less=True)
        entry = data.StructLayout({"length": length_width, "id": len(bus.arid)})
        read_queue = Signal(entry.size * depth, reset_less=True)

        def report(violation):
            m.d.sync += self.violation.eq(violation)

        def push(queue, entered, left, leaves, value):
            if len(value):
                place = (entered - left - leaves)[:count_width - 1]
                m.d.sync += queue.word_select(place, len(value)).eq(value)

        def channel(prefix, *fields):
            payload = Cat(getattr(bus, prefix + field) for field in fields)
            copy = Signal(len(payload), name=f"{prefix}_copy", reset_less=True)
            return _Watch(m, bus, prefix, payload, report, held=state[f"{prefix}_held"], copy=copy)

        aw = channel("aw", "id", "addr", "len", "size", "burst")
        w = channel("w", "data", "strb", "last")
        ar = channel("ar", "id", "addr", "len", "size", "burst")
        valids = [bus.awvalid, bus.wvalid, bus.arvalid]
        if self._check_subordinate:
            b = channel("b", "id", "resp")
            r = channel("r", "id", "data", "resp", "last")
            valids += [bus.bvalid, bus.rvalid]

        with m.If(self.violation == Violation.NONE):
            # What leaves a queue stands before what enters it: the later assignment wins.
            with m.If(bus.wvalid & bus.wready & bus.wlast):
                m.d.sync += length_queue.eq(length_queue[length_width:])
            if self._check_subordinate:
                with m.If(bus.bvalid & bus.bready):
                    m.d.sync += id_queue.eq(id_queue[len(bus.awid):])
                with m.If(bus.rvalid & bus.rready & bus.rlast):
                    m.d.sync += read_queue.eq(read_queue[entry.size:])

            with m.If(bus.awvalid):
                with m.If(~state.aw_held):
                    self._check_address(m, "aw", report)
                aw.stable(Violation.AW_UNSTABLE)
                with m.If(bus.awready):
                    m.d.sync += state.aw_count.eq(state.aw_count + 1)
                    push(length_queue, state.aw_count, state.w_count,
                         bus.wvalid & bus.wready & bus.wlast, bus.awlen)
                    if self._check_subordinate:
                        push(id_queue, state.aw_count, state.b_count, bus.bvalid & bus.bready,
                             bus.awid)
                    with m.If((state.aw_count - state.b_count)[:count_width] == depth):
                        report(Violation.QUEUE_OVERFLOW)
            aw.withdrawn(Violation.AW_UNSTABLE)

            with m.If(bus.wvalid):
                # Data beside an address that is still offered, or of one accepted before.
                ahead = state.w_count == state.aw_count
                length = Mux(ahead, bus.awlen, length_queue[:length_width])
                with m.If(bus.wready):
                    m.d.sync += state.w_beat.eq(state.w_beat + 1)
                    with m.If(bus.wlast):
                        m.d.sync += [state.w_beat.eq(0), state.w_count.eq(state.w_count + 1)]
                with m.If(bus.wlast != (state.w_beat == length)):
                    report(Violation.W_LAST)
                with m.If((ahead & ~bus.awvalid)
                          | (state.w_count == (state.aw_count + 1)[:count_width])):
                    report(Violation.W_BEFORE_AW)
                w.stable(Violation.W_UNSTABLE)
            w.withdrawn(Violation.W_UNSTABLE)

            with m.If(bus.arvalid):
                with m.If(~state.ar_held):
                    self._check_address(m, "ar", report)
                ar.stable(Violation.AR_UNSTABLE)
                if self._check_subordinate:
                    with m.If(bus.arready):
                        m.d.sync += state.ar_count.eq(state.ar_count + 1)
                        push(read_queue, state.ar_count, state.r_count,
                             bus.rvalid & bus.rready & bus.rlast, Cat(bus.arlen, bus.arid))
                        with m.If((state.ar_count - state.r_count)[:count_width] == depth):
                            report(Violation.QUEUE_OVERFLOW)
            ar.withdrawn(Violation.AR_UNSTABLE)

            if self._check_subordinate:
                with m.If(bus.bvalid):
                    with m.If(bus.bready):
                        m.d.sync += state.b_count.eq(state.b_count + 1)
                    with m.If(bus.bresp == Response.EXOKAY):
                        report(Violation.RESPONSE)
                    with m.If(bus.bid != id_queue[:len(bus.bid)]):
                        report(Violation.B_ID)
                    with m.If((state.b_count == state.w_count)
                              | (state.b_count == state.aw_count)):
                        report(Violation.B_BEFORE_W)
                    b.stable(Violation.B_UNSTABLE)
                b.withdrawn(Violation.B_UNSTABLE)

                with m.If(bus.rvalid):
                    served = data.View(entry, read_queue[:entry.size])
                    with m.If(bus.rready):
                        m.d.sync += state.r_beat.eq(state.r_beat + 1)
                        with m.If(bus.rlast):
                            m.d.sync += [state.r_beat.eq(0), state.r_count.eq(state.r_count + 1)]
                    with m.If(bus.rresp == Response.EXOKAY):
                        report(Violation.RESPONSE)
                    with m.If(bus.rlast != (state.r_beat == served.length)):
                        report(Violation.R_LAST)
                    with m.If(bus.rid != served.id):
                        report(Violation.R_ID)
                    with m.If(state.r_count == state.ar_count):
                        report(Violation.R_WITHOUT_AR)
                    r.stable(Violation.R_UNSTABLE)
                r.withdrawn(Violation.R_UNSTABLE)
            else:
                with m.If(bus.bvalid & bus.bready):
                    m.d.sync += state.b_count.eq(state.b_count + 1)

            if self._constant_rready:
                with m.If(bus.rvalid & ~bus.rready):
                    report(Violation.R_NOT_READY)

            with m.If(~state.started):
                m.d.sync += state.started.eq(1)
                with m.If(Cat(valids).any()):
                    report(Violation.VALID_AFTER_RESET)
        return m

    def _check_address(self, m, prefix, report):
        address = getattr(self._bus, f"{prefix}addr")
        length = getattr(self._bus, f"{prefix}len")
        size = getattr(self._bus, f"{prefix}size")
        burst = getattr(self._bus, f"{prefix}burst")
        shift = self._axi.size
        beat = address[shift:]

        with m.If(size != shift):
            report(Violation.SIZE)
        with m.Elif(burst != Burst.INCR):
            report(Violation.BURST)
        with m.Elif(address[:shift].any()):
            report(Violation.ALIGNMENT)
        if self._max_beats < self._axi.max_beats:
            with m.Elif(length >= self._max_beats):
                report(Violation.LENGTH)
        with m.Elif(address[shift:12] + length >= BOUNDARY_BYTES >> shift):
            report(Violation.BOUNDARY)
        if self._size_bytes is not None:
            first = self._base_address >> shift
            with m.Elif((beat < first) | (beat + length >= first + (self._size_bytes >> shift))):
                report(Violation.ADDRESS_RANGE)


class AxiLiteChecker(wiring.Component):
    """Watches an AXI4-Lite bus, and remembers the first rule that is broken. Simulation only.

    Of both sides: valid is low in the first cycle after reset (VALID_AFTER_RESET); valid stays and
    the payload is stable until the beat moves (AW_UNSTABLE and so on). Of the subordinate: a
    response follows its address and data (B_BEFORE_W), data follow their address (R_WITHOUT_AR),
    and EXOKAY does not occur (RESPONSE). At most 15 accesses a direction may be outstanding.

    Source: AMBA AXI and ACE (IHI 0022), A3.1.2, A3.2, B1.1.
    Latency: the violation is visible in the next cycle.

    Parameters
    ----------
    bus : interface object
        Of :class:`AxiLiteSignature`, flipped or not.

    Members
    -------
    violation : ``Out(Violation)``
        The rule that was broken first, until reset.

    Raises
    ------
    :exc:`TypeError`
        If the bus is not AXI4-Lite.
    """

    def __init__(self, bus):
        signature = getattr(bus, "signature", None) and _unflipped(bus)
        if not isinstance(signature, AxiLiteSignature):
            raise TypeError(f"Bus must be AXI4-Lite, not {bus!r}")
        self._bus = bus
        super().__init__({"violation": Out(Violation)})

    def elaborate(self, platform):
        m = Module()
        bus = self._bus
        started = Signal()
        counts = {prefix: Signal(4, name=f"{prefix}_count") for prefix in ("aw", "w", "b",
                                                                           "ar", "r")}

        def report(violation):
            m.d.sync += self.violation.eq(violation)

        channels = {"aw": ("addr",), "w": ("data", "strb"), "b": ("resp",),
                    "ar": ("addr",), "r": ("data", "resp")}
        with m.If(self.violation == Violation.NONE):
            for prefix, fields in channels.items():
                payload = Cat(getattr(bus, prefix + field) for field in fields)
                held = Signal(name=f"{prefix}_held")
                copy = Signal(len(payload), name=f"{prefix}_copy", reset_less=True)
                watch = _Watch(m, bus, prefix, payload, report, held=held, copy=copy)
                unstable = Violation[f"{prefix.upper()}_UNSTABLE"]
                with m.If(watch.valid):
                    with m.If(watch.ready):
                        m.d.sync += counts[prefix].eq(counts[prefix] + 1)
                    if prefix in ("b", "r"):
                        with m.If(getattr(bus, f"{prefix}resp") == Response.EXOKAY):
                            report(Violation.RESPONSE)
                    if prefix == "b":
                        with m.If((counts["b"] == counts["aw"]) | (counts["b"] == counts["w"])):
                            report(Violation.B_BEFORE_W)
                    if prefix == "r":
                        with m.If(counts["r"] == counts["ar"]):
                            report(Violation.R_WITHOUT_AR)
                    watch.stable(unstable)
                watch.withdrawn(unstable)
            with m.If(~started):
                m.d.sync += started.eq(1)
                with m.If(Cat(getattr(bus, f"{prefix}valid") for prefix in channels).any()):
                    report(Violation.VALID_AFTER_RESET)
        return m
