"""Two ends of a link, and the line between them."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.link import AuroraLink, DownCause, link_members

from .channel import ErrorLayout, LineModel
from .traffic import PacketSink, PacketSource

__all__ = ["LinkPair", "SoakBench", "LineParameters", "PAIR_CLOCKS"]


#: For each of the two clocks: the domains that it drives. End a sends with clock a, end b receives
#: with it; the line from a to b has it, too, but is never reset.
PAIR_CLOCKS = {"a": ("a", "b_receive", "a_line"), "b": ("b", "a_receive", "b_line")}


@dataclass(frozen=True, kw_only=True)
class LineParameters:
    """Of both directions of a line; see :class:`LineModel`."""
    latency: int = 4
    skews: tuple = (0, 0, 0, 0)
    alignments: tuple = (0, 0, 0, 0)
    pause: int = 0
    seed: int = 1


class LinkPair(wiring.Component):
    """Two :class:`AuroraLink` and two :class:`LineModel`, in six domains with two clocks.

    Simulation only. See ``PAIR_CLOCKS`` for the domains.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    line : :class:`LineParameters`
        The line.
    parameters
        Of the links.

    Members
    -------
    a, b : ``Out(wiring.Signature(link_members(lanes)))`` seen from inside
        The ends.
    reset_a, reset_b : ``In(1)``
        Reset an end.
    error_a, error_b : ``In(ErrorLayout)``
        On the line from a, from b.
    realign_a, realign_b : ``In(lanes)``
        The same.
    error_count_a, error_count_b : ``Out(32)``
        The same.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        As the links and the lines do.
    """

    def __init__(self, lanes, line=None, **parameters):
        line = line or LineParameters()
        self._links, self._lines = {}, {}
        for number, end in enumerate("ab"):
            self._links[end] = AuroraLink(lanes, **parameters)
            self._lines[end] = LineModel(
                lanes, latency=line.latency, skews=line.skews[:lanes],
                alignments=line.alignments[:lanes], pause=line.pause, seed=line.seed + number)
        super().__init__({
            **{end: Out(wiring.Signature(link_members(lanes))) for end in "ab"},
            **{f"reset_{end}": In(1) for end in "ab"},
            **{f"error_{end}": In(ErrorLayout) for end in "ab"},
            **{f"realign_{end}": In(lanes) for end in "ab"},
            **{f"error_count_{end}": Out(32) for end in "ab"},
        })

    def elaborate(self, platform):
        m = Module()
        for end, other in ("ab", "ba"):
            link, line = self._links[end], self._lines[end]
            renamer = DomainRenamer({"sync": end, "receive": f"{end}_receive"})
            m.submodules[f"link_{end}"] = renamer(link)
            m.submodules[f"line_{end}"] = DomainRenamer(f"{end}_line")(line)
            reset = getattr(self, f"reset_{end}")
            m.d.comb += [
                ResetSignal(end).eq(reset),
                ResetSignal(f"{end}_receive").eq(reset),
                ResetSignal(f"{end}_line").eq(0),
                line.error.eq(getattr(self, f"error_{end}")),
                line.realign.eq(getattr(self, f"realign_{end}")),
                getattr(self, f"error_count_{end}").eq(line.error_count),
            ]
            sender, receiver = link.transceiver, self._links[other].transceiver
            m.d.comb += [
                sender.transmit_ready.eq(line.transmit_ready),
                receiver.receive_valid.eq(line.valid),
                line.slip.eq(receiver.slip),
            ]
            for lane in range(len(line.valid)):
                m.d.comb += [
                    line.header[lane].eq(sender.transmit_header[lane]),
                    line.data[lane].eq(sender.transmit_data[lane]),
                    receiver.receive_header[lane].eq(line.received_header[lane]),
                    receiver.receive_data[lane].eq(line.received_data[lane]),
                ]
            surface = getattr(self, end)
            for name in link.signature.members:
                if name in ("send", "receive"):
                    continue
                if name in surface.signature.members:
                    m.d.comb += (link.restart.eq(surface.restart) if name == "restart"
                                 else getattr(surface, name).eq(getattr(link, name)))
            connect(m, flipped(surface.send), link.send)
            connect(m, link.receive, flipped(surface.receive))
        return m


class SoakBench(wiring.Component):
    """A :class:`LinkPair` with packets both ways, for runs of millions of packets.

    Simulation only.

    Parameters
    ----------
    lanes, line, parameters
        Of the pair.
    longest, fixed
        Of the packets.

    Members
    -------
    error : ``In(ErrorLayout)``
        On both lines.
    one_line : ``In(1)``
        The line from b is without errors.
    send_stall, receive_stall : ``In(8)``
        Stalls, of 256.
    stop : ``In(1)``
        Begin no packet.
    one_way : ``In(1)``
        Nothing but acknowledgements from b.
    up, failed, wrong : ``Out(1)``
        Both ends are up; one has failed; something wrong has come.
    sent_count, received_count : ``Out(32)``
        Packets in both directions.
    word_count, errors, retries, crc_errors, header_errors : ``Out(32)``
        Words received by b; blocks hit, and counters of both ends, summed.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        As the units do.
    """

    def __init__(self, lanes, line=None, *, longest=32, fixed=False, **parameters):
        self.pair = LinkPair(lanes, line, **parameters)
        self._sources, self._sinks = {}, {}
        for number, end in enumerate("ab"):
            self._sources[end] = PacketSource(lanes, seed=7 + number, longest=longest, fixed=fixed)
            self._sinks[end] = PacketSink(lanes, seed=8 - number, longest=longest, fixed=fixed)
        super().__init__({
            "error": In(ErrorLayout),
            "one_line": In(1),
            "send_stall": In(8),
            "receive_stall": In(8),
            "stop": In(1),
            "one_way": In(1),
            "up": Out(1),
            "failed": Out(1),
            "wrong": Out(1),
            "sent_count": Out(32),
            "received_count": Out(32),
            "word_count": Out(32),
            "errors": Out(32),
            "retries": Out(32),
            "crc_errors": Out(32),
            "header_errors": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair = pair = self.pair
        for end in "ab":
            surface = getattr(pair, end)
            source, sink = self._sources[end], self._sinks[end]
            m.submodules[f"source_{end}"] = DomainRenamer(end)(source)
            m.submodules[f"sink_{end}"] = DomainRenamer(end)(sink)
            connect(m, source.packets, surface.send)
            connect(m, surface.receive, sink.packets)
            m.d.comb += [
                source.stall.eq(self.send_stall),
                source.stop.eq(self.stop if end == "a" else self.stop | self.one_way),
                sink.stall.eq(self.receive_stall),
            ]
        a, b = pair.a, pair.b
        m.d.comb += pair.error_a.eq(self.error)
        with m.If(~self.one_line):
            m.d.comb += pair.error_b.eq(self.error)
        m.d.comb += [
            self.up.eq(a.up & b.up),
            self.failed.eq((a.down_cause != DownCause.NONE) | (b.down_cause != DownCause.NONE)),
            self.wrong.eq(self._sinks["a"].wrong | self._sinks["b"].wrong),
            self.sent_count.eq(sum(source.packet_count for source in self._sources.values())),
            self.received_count.eq(sum(sink.packet_count for sink in self._sinks.values())),
            self.word_count.eq(self._sinks["b"].word_count),
            self.errors.eq(pair.error_count_a + pair.error_count_b),
            self.retries.eq(a.retry_count + b.retry_count),
            self.crc_errors.eq(a.crc_error_count + b.crc_error_count),
            self.header_errors.eq(a.header_error_count + b.header_error_count),
        ]
        return m
