"""Fetches tiles of weights, K and V ahead of the MPU."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.expressions import leading_zeros
from ..arith.formats import Fp16
from ..bus.axi import Response
from ..control.commands import FetchLayout
from ..control.faults import ErrorKind, MemoryErrorLayout
from .requests import BurstLayout, HbmWordLayout

__all__ = ["WeightFetch"]


class WeightFetch(wiring.Component):
    """Reads consecutive tiles from all channels in lockstep, as far ahead as the buffer is long.

    A fetch is cut into aligned bursts, one a cycle at most. A burst leaves when its tiles have a
    place in the buffers and the stores that it depends on are acknowledged. A tile leaves as soon
    as every channel has its word of it; that path is combinational. One tile a cycle.

    Parameters
    ----------
    config : CoreConfig
        The core; ``weight_tiles`` tiles at most are in flight or stored.

    Members
    -------
    fetches : In(stream.Signature(FetchLayout))
        What to fetch; ``tiles`` is at least 1.
    stores : In(16)
        Stores of K or V acknowledged so far, modulo 2^16.
    bursts : Out(stream.Signature(BurstLayout))
        Reads for all channels.
    words : In(stream.Signature(HbmWordLayout)).array(channels)
        What the channels answer.
    weights : Out(stream.Signature(data.ArrayLayout(Fp16, tile * lanes)))
        Tiles in linear memory order.
    error : Out(MemoryErrorLayout)
        A read was answered with an error; strobed when the word leaves. If several channels did so
        for one tile, the lowest is named.
    stop : In(1)
        Tiles are dropped as they come.
    outstanding : Out(1)
        A tile is in flight or stored.
    idle : Out(1)
        No fetch is in progress and no tile in flight or stored.

    Raises
    ------
    ValueError
        If the buffer is shorter than a burst.
    """

    # Ref: DFX paper, section 5.2 (the DMA of a core); decoupled access and execute.

    def __init__(self, config):
        if config.weight_tiles < config.burst_tiles:
            raise ValueError(f"CoreConfig.weight_tiles must be at least {config.burst_tiles} for "
                             f"a whole burst, not {config.weight_tiles}")
        self._config = config
        super().__init__({
            "fetches": In(stream.Signature(FetchLayout)),
            "stores": In(16),
            "bursts": Out(stream.Signature(BurstLayout(config))),
            "words": In(stream.Signature(HbmWordLayout(config))).array(config.channels),
            "weights": Out(stream.Signature(data.ArrayLayout(Fp16, config.tile * config.lanes))),
            "error": Out(MemoryErrorLayout()),
            "stop": In(1),
            "outstanding": Out(1),
            "idle": Out(1),
            "waiting": Out(config.channels),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        burst_tiles = config.burst_tiles
        alignment = len(self.bursts.payload.tiles)

        current = Signal(FetchLayout, reset_less=True)
        active = Signal()
        free_count = Signal(range(config.weight_tiles + 1), init=config.weight_tiles)
        to_boundary = Signal(range(burst_tiles + 1))
        length = Signal(range(burst_tiles + 1))
        final = Signal()
        behind = Signal(signed(16))
        issue = Signal()
        leave = Signal()
        m.d.comb += [
            to_boundary.eq(burst_tiles - current.tile[:alignment]),
            final.eq(current.tiles <= to_boundary),
            length.eq(Mux(final, current.tiles, to_boundary)),
            behind.eq(self.stores - current.stores),
            self.bursts.valid.eq(active & (behind >= 0) & (free_count >= length)),
            self.bursts.payload.tile.eq(current.tile),
            self.bursts.payload.tiles.eq(length - 1),
            issue.eq(self.bursts.valid & self.bursts.ready),
            self.fetches.ready.eq(~active | (issue & final)),
            self.outstanding.eq(free_count != config.weight_tiles),
            self.idle.eq(~active & ~self.outstanding),
        ]
        with m.If(self.fetches.valid & self.fetches.ready):
            m.d.sync += [active.eq(1), current.eq(self.fetches.payload)]
        with m.Elif(issue):
            m.d.sync += [
                active.eq(~final),
                current.tile.eq(current.tile + length),
                current.tiles.eq(current.tiles - length),
            ]
        with m.If(issue | leave):
            m.d.sync += free_count.eq(free_count - Mux(issue, length, 0) + leave)

        all_valid = Signal()
        m.d.comb += [
            all_valid.eq(Cat(word.valid for word in self.words).all()),
            self.weights.valid.eq(all_valid & ~self.stop),
            leave.eq(all_valid & (self.weights.ready | self.stop)),
            self.weights.payload.eq(Cat(word.payload.data for word in self.words)),
        ]
        for channel, word in enumerate(self.words):
            m.d.comb += [
                word.ready.eq(leave),
                self.waiting[channel].eq(self.outstanding & ~word.valid),
            ]
        responses = Signal(data.ArrayLayout(Response, config.channels))
        # From the highest channel on, so that the zeros in front count up to the lowest one.
        failed = Signal(config.channels)
        lowest = Signal(range(config.channels))
        m.d.comb += [
            responses.eq(Cat(word.payload.response for word in self.words)),
            failed.eq(Cat(word.payload.response != Response.OKAY
                          for word in reversed(list(self.words)))),
            lowest.eq(leading_zeros(failed)),
        ]
        with m.If(leave & ~self.stop & failed.any()):
            m.d.comb += [
                self.error.stb.eq(1),
                self.error.kind.eq(ErrorKind.HBM_READ),
                self.error.response.eq(responses[lowest]),
                self.error.channel.eq(lowest),
            ]
        return m
