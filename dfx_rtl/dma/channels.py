"""Who may use the HBM channels next, and which writes are acknowledged."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.axi import Response
from ..control.faults import ErrorKind, MemoryErrorLayout
from .requests import BurstLayout, HbmPartLayout, HbmWriteLayout

__all__ = ["HbmChannels"]


class HbmChannels(wiring.Component):
    """Shares the HBM ports between weight fetches, stores and copies.

    One burst for all channels and one write for one of them a cycle; they do not wait for each
    other. Stores go before copies. ``ready`` of ``copy`` depends combinationally on
    ``store.valid``, and that of a write on its payload.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    bursts : In(stream.Signature(BurstLayout))
        Reads, the same of every channel at once.
    store, copy : In(stream.Signature(HbmWriteLayout))
        Writes.
    writes_idle : Out(1)
        Every write that was accepted before this cycle is acknowledged.
    owing : Out(channels)
        A bit a channel: a write of it is not acknowledged.
    stop : In(1)
        No request is accepted; what was accepted is finished.
    error : Out(MemoryErrorLayout)
        A write was answered with an error. If several channels answer so in one cycle, the lowest
        is named.
    reads, writes : Out(stream).array(channels)
        To the ports, :func:`BurstLayout` and :func:`HbmPartLayout`. All have the same payload.
    responses : In(stream.Signature(Response)).array(channels)
        From the ports, one for each write.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "bursts": In(stream.Signature(BurstLayout(config))),
            "store": In(stream.Signature(HbmWriteLayout(config))),
            "copy": In(stream.Signature(HbmWriteLayout(config))),
            "writes_idle": Out(1),
            "owing": Out(config.channels),
            "stop": In(1),
            "error": Out(MemoryErrorLayout()),
            "reads": Out(stream.Signature(BurstLayout(config))).array(config.channels),
            "writes": Out(stream.Signature(HbmPartLayout(config))).array(config.channels),
            "responses": In(stream.Signature(Response)).array(config.channels),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        half = config.word_bytes // 2

        write = Signal(HbmWriteLayout(config))
        write_valid = Signal()
        write_ready = Signal()
        halves = Signal(2)
        m.d.comb += [
            write.eq(Mux(self.store.valid, self.store.payload, self.copy.payload)),
            write_valid.eq((self.store.valid | self.copy.valid) & ~self.stop),
            halves.eq(Cat(write.strobe[:half].any(), write.strobe[half:].any())),
            self.store.ready.eq(write_ready & self.store.valid),
            self.copy.ready.eq(write_ready & ~self.store.valid),
        ]

        selected = Signal(config.channels)
        write_readies = Signal(config.channels)
        burst = Signal()
        read_readies = Cat(reads.ready for reads in self.reads)
        m.d.comb += [
            burst.eq(self.bursts.valid & ~self.stop & read_readies.all()),
            self.bursts.ready.eq(burst),
            selected.eq(write_valid << write.channel),
            write_ready.eq((selected & write_readies).any()),
        ]

        part = Signal(HbmPartLayout(config))
        answered = Signal(config.channels)
        m.d.comb += [
            part.tile.eq(write.tile),
            part.halves.eq(halves),
            part.data.eq(write.data),
            part.strobe.eq(write.strobe),
        ]
        for channel, (reads, writes, responses) in enumerate(zip(
                self.reads, self.writes, self.responses, strict=True)):
            m.d.comb += [
                reads.valid.eq(burst),
                reads.payload.eq(self.bursts.payload),
                write_readies[channel].eq(writes.ready),
                writes.valid.eq(selected[channel]),
                writes.payload.eq(part),
                responses.ready.eq(1),
                answered[channel].eq(responses.valid),
            ]
        with m.If(answered.any()):
            # From the last channel to the first, so that the first wins.
            for channel, responses in reversed(list(enumerate(self.responses))):
                with m.If(responses.valid & (responses.payload != Response.OKAY)):
                    m.d.comb += [
                        self.error.stb.eq(1),
                        self.error.kind.eq(ErrorKind.HBM_WRITE),
                        self.error.response.eq(responses.payload),
                        self.error.channel.eq(channel),
                    ]

        m.d.comb += self.writes_idle.eq(self.owing == 0)
        for channel in range(config.channels):
            count = Signal(8, name=f"owed_count{channel}")
            accepted = Signal(name=f"accepted{channel}")
            m.d.comb += [
                accepted.eq(selected[channel] & write_readies[channel]),
                self.owing[channel].eq(count != 0),
            ]
            with m.If(accepted != answered[channel]):
                m.d.sync += count.eq(Mux(accepted, count + 1, count - 1))
        return m
