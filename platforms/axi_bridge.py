"""From an AXI4 manager in one clock domain to an AXI3 port of the HBM in another."""

from amaranth import *
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from dfx_rtl.bus.axi import Axi3Signature, Axi4Signature, Burst, Response

__all__ = ["AxiBridge"]

# Words of write data on their way; a burst's data are there before its address leaves.
_WRITE_WORDS = 32
# Words of read data that are reserved before their address leaves: two times the latency of the
# HBM, about 200 ns, at a word in each cycle of 250 MHz.
_READ_WORDS = 128
# Bursts on their way in each direction.
_BURSTS = 32


class AxiBridge(wiring.Component):
    """Takes AXI4 bursts in domain ``upstream`` and makes AXI3 bursts of them in domain ``hbm``.

    The lower side is as wide as the upper one, or narrower by a power of two. Bursts are cut where
    they are aligned to 16 beats of the lower side, so that none crosses 4 KiB or has more than 16
    beats. One answer comes back for each burst of the upper side, in its order, with the worst
    response of its parts. Upper bursts must be of full width and incrementing; of an address the
    bits inside a beat are ignored, which is right, since strobes name the bytes that are written.
    Reads are not ordered with writes.

    An address leaves for the HBM only when the data of its whole burst are there, or there is a
    place for them: the ports of an HBM hold each other up otherwise (PG276). ``rready`` and
    ``bready`` of the lower side are therefore always 1.

    Latency: an address passes an asynchronous FIFO, which takes 1 cycle of the one domain and 3
    of the other; data the same on their way. Throughput: an upper beat a cycle, or a lower beat a
    cycle, whichever is less. No output of either side depends combinationally on an input of it,
    but for ``awready`` and ``wready``, which exclude each other.

    Source: AMBA AXI (IHI 0022), A3.4.

    Parameters
    ----------
    upper : Axi4Signature
        Of the AXI4 side.
    lower : Axi3Signature
        Of the AXI3 side.
    domain : str
        Clock domain of the AXI4 side.

    Members
    -------
    upper : In(upper)
        From the manager, in ``domain``.
    lower : Out(lower)
        To the HBM, in domain ``hbm``. All traffic has identifier 0.

    Raises
    ------
    TypeError
        If a signature is of another protocol.
    ValueError
        If the lower side is wider than the upper one.
    """

    def __init__(self, upper, lower, *, domain):
        if not isinstance(upper, Axi4Signature):
            raise TypeError(f"Upper signature must be AXI4, not {upper!r}")
        if not isinstance(lower, Axi3Signature):
            raise TypeError(f"Lower signature must be AXI3, not {lower!r}")
        if lower.data_width > upper.data_width:
            raise ValueError(f"Lower side must not be wider than the upper one, but "
                             f"{lower.data_width} is more than {upper.data_width} bits")
        self._domain = domain
        self._ratio = ratio = upper.data_width // lower.data_width
        #: Words, which are beats of the upper side, in a burst of the lower one.
        self._burst_words = max(1, lower.max_beats // ratio)
        self._address_width = upper.address_width - upper.size
        self._command = data.StructLayout({
            "address": self._address_width,
            "words": exact_log2(self._burst_words),
        })
        # A part of an upper burst that is on its way.
        self._part = data.StructLayout({
            "id": upper.id_width,
            "words": exact_log2(self._burst_words),
            "final": 1,
        })
        super().__init__({"upper": In(upper), "lower": Out(lower)})

    def elaborate(self, platform):
        m = Module()
        self._elaborate_writes(m)
        self._elaborate_reads(m)
        return m

    def _fifo(self, m, name, width, depth, *, down):
        """An asynchronous FIFO, down to the HBM or up from it."""
        domains = (self._domain, "hbm") if down else ("hbm", self._domain)
        m.submodules[name] = result = fifo.AsyncFIFO(width=width, depth=depth,
                                                     w_domain=domains[0], r_domain=domains[1])
        return result

    def _parts(self, m, name, width, depth=_BURSTS):
        """A FIFO of the upper side, for what is on its way."""
        m.submodules[name] = result = DomainRenamer(self._domain)(
            fifo.SyncFIFO(width=width, depth=depth))
        return result

    def _lower_address(self, word):
        return word << self.upper.signature.size

    def _lower_length(self, words):
        """``awlen`` or ``arlen``: beats less one."""
        return Cat(C(self._ratio - 1, exact_log2(self._ratio)), words)

    def _elaborate_writes(self, m):
        upper, lower = self.upper, self.lower
        clock = m.d[self._domain]
        command_shape, part_shape = self._command, self._part
        beat_bytes = upper.signature.beat_bytes
        size = upper.signature.size

        commands = self._fifo(m, "write_commands", command_shape.size, 8, down=True)
        words = self._fifo(m, "write_words", 9 * beat_bytes, _WRITE_WORDS, down=True)
        # A place for every answer, so that a slow host does not hold up the others at the port.
        answers = self._fifo(m, "write_answers", 2, _BURSTS, down=False)
        parts = self._parts(m, "write_parts", part_shape.size)

        # The upper burst in progress: its next word, and where the part in progress began.
        active = Signal(name="write_active")
        identifier = Signal(upper.signature.id_width, name="write_id", reset_less=True)
        address = Signal(self._address_width, name="write_address", reset_less=True)
        start = Signal(self._address_width, name="write_start", reset_less=True)
        count = Signal(exact_log2(self._burst_words), name="write_count", reset_less=True)
        ends = Signal(name="write_part_ends")
        take = Signal(name="write_take")
        command = data.View(command_shape, commands.w_data)
        part = data.View(part_shape, parts.w_data)
        m.d.comb += [
            upper.awready.eq(~active),
            upper.wready.eq(active & words.w_rdy & commands.w_rdy & parts.w_rdy),
            take.eq(upper.wvalid & upper.wready),
            ends.eq(upper.wlast | self._aligned(address + 1)),
            words.w_data.eq(Cat(upper.wdata, upper.wstrb)),
            words.w_en.eq(take),
            # A burst's command follows its data.
            command.address.eq(start),
            command.words.eq(count),
            commands.w_en.eq(take & ends),
            part.id.eq(identifier),
            part.final.eq(upper.wlast),
            parts.w_en.eq(take & ends),
        ]
        with m.If(upper.awvalid & upper.awready):
            clock += [
                active.eq(1),
                identifier.eq(upper.awid),
                address.eq(upper.awaddr >> size),
                start.eq(upper.awaddr >> size),
                count.eq(0),
            ]
        with m.If(take):
            clock += [active.eq(~upper.wlast), address.eq(address + 1), count.eq(count + 1)]
            with m.If(ends):
                clock += [start.eq(address + 1), count.eq(0)]

        self._elaborate_write_bursts(m, commands, words)

        m.d.comb += [
            lower.bready.eq(1),
            answers.w_data.eq(Value.cast(lower.bresp)),
            answers.w_en.eq(lower.bvalid),
        ]
        # The parts' answers make one of the whole.
        done = data.View(part_shape, parts.r_data)
        worst = Signal(2, name="write_worst")
        answer = Signal(2, name="write_answer")
        m.d.comb += [
            answer.eq(Mux(worst.any(), worst, answers.r_data)),
            upper.bvalid.eq(answers.r_rdy & parts.r_rdy & done.final),
            upper.bid.eq(done.id),
            upper.bresp.eq(answer),
            answers.r_en.eq(parts.r_rdy & (upper.bready | ~done.final)),
            parts.r_en.eq(answers.r_rdy & answers.r_en),
        ]
        with m.If(parts.r_en):
            clock += worst.eq(Mux(done.final, 0, answer))

    def _elaborate_write_bursts(self, m, commands, words):
        """The lower side of writing: an address, and at the same time its beats."""
        lower = self.lower
        size = lower.signature.size
        ratio = self._ratio
        command = data.View(self._command, commands.r_data)
        word = data.View(data.StructLayout({
            "data": ratio * lower.signature.data_width, "strobe": ratio << size}), words.r_data)

        head = Signal(self._command, reset_less=True)
        head_valid = Signal()
        address_sent = Signal()
        data_sent = Signal()
        word_count = Signal(exact_log2(self._burst_words))
        # At least a bit, since Verilog has no signals of none.
        lane = Signal(max(1, exact_log2(ratio)), name="write_lane")
        last_lane = Signal(name="write_last_lane")
        beat = Signal(name="write_beat")
        address_done = Signal()
        data_done = Signal()
        done = Signal()
        m.d.comb += [
            lower.awvalid.eq(head_valid & ~address_sent),
            lower.awaddr.eq(self._lower_address(head.address)),
            lower.awlen.eq(self._lower_length(head.words)),
            lower.awsize.eq(size),
            lower.awburst.eq(Burst.INCR),
            lower.wvalid.eq(head_valid & ~data_sent & words.r_rdy),
            lower.wdata.eq(word.data.word_select(lane, lower.signature.data_width)),
            lower.wstrb.eq(word.strobe.word_select(lane, 1 << size)),
            lower.wlast.eq(last_lane & (word_count == head.words)),
            last_lane.eq(lane == ratio - 1),
            beat.eq(lower.wvalid & lower.wready),
            words.r_en.eq(head_valid & ~data_sent & lower.wready & last_lane),
            address_done.eq(address_sent | lower.awready),
            data_done.eq(data_sent | (beat & lower.wlast)),
            done.eq(head_valid & address_done & data_done),
            commands.r_en.eq(~head_valid | done),
        ]
        with m.If(beat):
            m.d.hbm += lane.eq(Mux(last_lane, 0, lane + 1))
            with m.If(last_lane):
                m.d.hbm += word_count.eq(word_count + 1)
        with m.If(head_valid):
            m.d.hbm += [address_sent.eq(address_done & ~done), data_sent.eq(data_done & ~done)]
        with m.If(commands.r_rdy & commands.r_en):
            m.d.hbm += [head.eq(command), head_valid.eq(1), word_count.eq(0)]
        with m.Elif(done):
            m.d.hbm += head_valid.eq(0)

    def _elaborate_reads(self, m):
        upper = self.upper
        clock = m.d[self._domain]
        size = upper.signature.size

        commands = self._fifo(m, "read_commands", self._command.size, 16, down=True)
        words = self._fifo(m, "read_words", upper.signature.data_width + 2, _READ_WORDS,
                           down=False)
        parts = self._parts(m, "read_parts", self._part.size)

        # The upper burst in progress: its next word, and how many follow.
        active = Signal(name="read_active")
        identifier = Signal(upper.signature.id_width, name="read_id", reset_less=True)
        address = Signal(self._address_width, name="read_address", reset_less=True)
        remaining = Signal(8, name="read_remaining", reset_less=True)
        length = Signal(exact_log2(self._burst_words), name="read_length")
        final = Signal(name="read_final")
        issue = Signal(name="read_issue")
        reserved_count = Signal(range(_READ_WORDS + 1))
        give = Signal(name="read_give")
        command = data.View(self._command, commands.w_data)
        part = data.View(self._part, parts.w_data)
        # Words less one up to the boundary.
        to_boundary = Signal(exact_log2(self._burst_words), name="read_to_boundary")
        m.d.comb += [
            upper.arready.eq(~active),
            to_boundary.eq(~address),
            final.eq(remaining <= to_boundary),
            length.eq(Mux(final, remaining, to_boundary)),
            issue.eq(active & commands.w_rdy & parts.w_rdy
                     & (reserved_count <= _READ_WORDS - self._burst_words)),
            command.address.eq(address),
            command.words.eq(length),
            commands.w_en.eq(issue),
            part.id.eq(identifier),
            part.words.eq(length),
            part.final.eq(final),
            parts.w_en.eq(issue),
        ]
        with m.If(upper.arvalid & upper.arready):
            clock += [
                active.eq(1),
                identifier.eq(upper.arid),
                address.eq(upper.araddr >> size),
                remaining.eq(upper.arlen),
            ]
        with m.If(issue):
            clock += [
                active.eq(~final),
                address.eq(address + length + 1),
                remaining.eq(remaining - length - 1),
            ]
        with m.If(issue | give):
            clock += reserved_count.eq(reserved_count + Mux(issue, length + 1, 0) - give)

        self._elaborate_read_bursts(m, commands, words)

        done = data.View(self._part, parts.r_data)
        index = Signal(exact_log2(self._burst_words), name="read_index")
        ends = Signal(name="read_part_ends")
        m.d.comb += [
            ends.eq(index == done.words),
            upper.rvalid.eq(words.r_rdy & parts.r_rdy),
            Cat(upper.rdata, Value.cast(upper.rresp)).eq(words.r_data),
            upper.rid.eq(done.id),
            upper.rlast.eq(done.final & ends),
            words.r_en.eq(upper.rready & parts.r_rdy),
            give.eq(upper.rvalid & upper.rready),
            parts.r_en.eq(give & ends),
        ]
        with m.If(give):
            clock += index.eq(Mux(ends, 0, index + 1))

    def _elaborate_read_bursts(self, m, commands, words):
        """The lower side of reading: addresses as they come, and beats put together to words."""
        lower = self.lower
        width = lower.signature.data_width
        command = data.View(self._command, commands.r_data)
        m.d.comb += [
            lower.arvalid.eq(commands.r_rdy),
            lower.araddr.eq(self._lower_address(command.address)),
            lower.arlen.eq(self._lower_length(command.words)),
            lower.arsize.eq(lower.signature.size),
            lower.arburst.eq(Burst.INCR),
            commands.r_en.eq(lower.arready),
            lower.rready.eq(1),
        ]
        lanes = self._ratio
        if lanes == 1:
            m.d.comb += [
                words.w_data.eq(Cat(lower.rdata, Value.cast(lower.rresp))),
                words.w_en.eq(lower.rvalid),
            ]
            return
        lane = Signal(exact_log2(lanes), name="read_lane")
        last_lane = Signal(name="read_last_lane")
        # The beats below the last one of a word, and their first response that is not OKAY.
        held = Signal((lanes - 1) * width, name="read_held", reset_less=True)
        held_response = Signal(2, name="read_held_response")
        response = Signal(2, name="read_response")
        m.d.comb += [
            last_lane.eq(lane == lanes - 1),
            response.eq(Mux(held_response != Response.OKAY.value, held_response,
                            Value.cast(lower.rresp))),
            words.w_data.eq(Cat(held, lower.rdata, response)),
            words.w_en.eq(lower.rvalid & last_lane),
        ]
        with m.If(lower.rvalid):
            m.d.hbm += [
                lane.eq(Mux(last_lane, 0, lane + 1)),
                held_response.eq(Mux(last_lane, 0, response)),
                held.eq(Cat(held, lower.rdata)[width:]),
            ]

    def _aligned(self, word):
        """Whether a word begins a burst of the lower side, if it is full."""
        low = exact_log2(self._burst_words)
        return (word[:low] == 0) if low else C(1)
