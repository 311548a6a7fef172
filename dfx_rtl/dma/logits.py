"""Writes the logits of a token to DDR."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..control.results import LogitsLayout
from .requests import ADDRESS, WriteRequestLayout

__all__ = ["LogitsWriter"]


class LogitsWriter(wiring.Component):
    """Places column group g of token n at byte base + n * stride + g * lanes * 4.

    A group that is wider than a beat takes several writes. Latency from a group to its first write:
    2 cycles; throughput: a group every 3 cycles, plus 1 for each further beat of it. The whole last
    group is written, with the columns that only fill it up.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    logits : In(stream.Signature(LogitsLayout))
        Groups.
    base : In(ADDRESS)
        Byte address of the first token's logits, a multiple of a group and of a beat.
    stride : In(32)
        Bytes from one token's logits to the next one's, a multiple of the same.
    output_index : In(17)
        Which token these are the logits of; read with its first group.
    writes : Out(stream.Signature(WriteRequestLayout))
        To the DDR port.
    idle : Out(1)
        No group is held.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "logits": In(stream.Signature(LogitsLayout(config.lanes))),
            "base": In(ADDRESS),
            "stride": In(32),
            "output_index": In(17),
            "writes": Out(stream.Signature(WriteRequestLayout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        group_bytes = config.lanes * 4
        beat_bytes = config.ddr_bytes_per_beat
        # A group fills `beats` beats, or a beat has `places` places for a group.
        beats = max(1, group_bytes // beat_bytes)
        places = max(1, beat_bytes // group_bytes)

        values = Signal(group_bytes * 8, reset_less=True)
        row = Signal(ADDRESS, reset_less=True)
        address = Signal(ADDRESS, reset_less=True)
        part = Signal(range(beats))
        place = Signal(range(places))
        m.d.comb += [
            place.eq(address >> ceil_log2(group_bytes)),
            self.writes.payload.address.eq(address),
            self.writes.payload.data.eq(
                values.word_select(part, group_bytes * 8 // beats).replicate(places)),
            self.writes.payload.strobe.eq(
                Cat((place == index).replicate(min(group_bytes, beat_bytes))
                    for index in range(places))),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(~self.logits.valid)
                with m.If(self.logits.valid):
                    # The index moves on with the arg max, before the last groups have left.
                    with m.If(self.logits.payload.group == 0):
                        m.d.sync += row.eq(self.base + self.output_index * self.stride)
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += self.logits.ready.eq(1)
                m.d.sync += [
                    address.eq(row + self.logits.payload.group * group_bytes),
                    values.eq(self.logits.payload.values),
                ]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.writes.valid.eq(1)
                with m.If(self.writes.ready):
                    m.d.sync += [part.eq(part + 1), address.eq(address + beat_bytes)]
                    with m.If(part == beats - 1):
                        m.d.sync += part.eq(0)
                        m.next = "IDLE"
        return m
