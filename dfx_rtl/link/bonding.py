"""Takes the skew out of the lanes of a channel."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .blocks import *
from .checks import *

__all__ = ["Bonding"]

#: Bonding blocks that must come on all lanes at once before the lanes count as bonded, and those
#: that may fail to in a row afterwards.
_GOOD_TO_BOND, _BAD_TO_LOSE = 7, 2


class Bonding(wiring.Component):
    """Delays the early lanes so that what was sent at once is read at once.

    Each lane has a short queue. Lanes throw blocks away until a bonding block is at the head of the
    queue and wait there; a lane that waits longer than the skew allows throws its block away. When
    all wait, all read on together. After 7 bonding blocks in a row that came on all lanes at once,
    the lanes are bonded and words come out; two in a row that came on some lanes only undo it.

    Latency: 2 cycles plus the skew. Throughput: a word a cycle. A channel of one lane has nothing
    to bond: its blocks pass at once, without a register.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes, 1 to 4.
    skew : :class:`int`
        Blocks by which one lane may be later than another, 1 to 7. (Bonding blocks are 16 apart.)

    Members
    -------
    clear : ``In(1)``
        Start again.
    valid : ``In(lanes)``
        A block of a lane is there.
    header, data : ``In(2)``, ``In(64)``, arrays of ``lanes``
        The block, descrambled.
    bonded : ``Out(1)``
        The lanes are aligned.
    word_valid : ``Out(1)``
        A word is there.
    word_header, word_data : ``Out(2)``, ``Out(64)``, arrays of ``lanes``
        Blocks that were sent at once.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If a parameter is not an integer in its range.
    """

    # Ref: Aurora 64B/66B, SP011, channel bonding.

    def __init__(self, lanes, skew=7):
        check_integer("Lanes", lanes, 1, 4)
        check_integer("Skew", skew, 1, 7)
        self._lanes = lanes
        self._skew = skew
        super().__init__({
            "clear": In(1),
            "valid": In(lanes),
            "header": In(2).array(lanes),
            "data": In(BLOCK).array(lanes),
            "bonded": Out(1),
            "word_valid": Out(1),
            "word_header": Out(2).array(lanes),
            "word_data": Out(BLOCK).array(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        if self._lanes == 1:
            m.d.comb += [
                self.bonded.eq(~self.clear),
                self.word_valid.eq(self.valid & ~self.clear),
                self.word_header[0].eq(self.header[0]),
                self.word_data[0].eq(self.data[0]),
            ]
            return m

        depth = 2 << ceil_log2(self._skew + 1)
        layout = data.StructLayout({"data": BLOCK, "header": 2})
        filled = Signal(self._lanes)
        late = Signal(self._lanes)
        marked = Signal(self._lanes)
        take = Signal(self._lanes)
        heads = []
        for lane in range(self._lanes):
            queue = memory.Memory(shape=layout, depth=depth, init=[])
            m.submodules[f"queue{lane}"] = queue
            write, read = queue.write_port(), queue.read_port(domain="comb")
            write_index = Signal(range(depth), name=f"write_index{lane}")
            read_index = Signal(range(depth), name=f"read_index{lane}")
            level = Signal(range(depth), name=f"level{lane}")
            head = Signal(layout, name=f"head{lane}")
            m.d.comb += [
                write.en.eq(self.valid[lane]),
                write.addr.eq(write_index),
                write.data.data.eq(self.data[lane]),
                write.data.header.eq(self.header[lane]),
                read.addr.eq(read_index),
                head.eq(read.data),
                level.eq(write_index - read_index),
                filled[lane].eq(level != 0),
                late[lane].eq(level > self._skew),
                marked[lane].eq((head.header == Header.CONTROL) & (head.data == BONDING_IDLE)),
            ]
            with m.If(self.clear):
                m.d.sync += [write_index.eq(0), read_index.eq(0)]
            with m.Else():
                m.d.sync += [write_index.eq(write_index + self.valid[lane]),
                             read_index.eq(read_index + take[lane])]
            heads.append(head)

        together = Signal()
        all_filled = Signal()
        all_marked = Signal()
        some_marked = Signal()
        good_count = Signal(range(_GOOD_TO_BOND + 1))
        bad_count = Signal(range(_BAD_TO_LOSE + 1))
        m.d.comb += [
            all_filled.eq(filled.all()),
            all_marked.eq(all_filled & marked.all()),
            some_marked.eq(all_filled & marked.any()),
            take.eq(Mux(together | all_marked, all_filled.replicate(self._lanes),
                        filled & (~marked | late))),
        ]
        m.d.sync += self.word_valid.eq(together & self.bonded & all_filled & ~self.clear)
        with m.If(together & all_filled):
            for lane, head in enumerate(heads):
                m.d.sync += [self.word_header[lane].eq(head.header),
                             self.word_data[lane].eq(head.data)]
        with m.If(self.clear):
            m.d.sync += [together.eq(0), self.bonded.eq(0), good_count.eq(0), bad_count.eq(0)]
        with m.Elif(all_marked):
            m.d.sync += [together.eq(1), bad_count.eq(0)]
            with m.If(good_count == _GOOD_TO_BOND - 1):
                m.d.sync += self.bonded.eq(1)
            with m.Else():
                m.d.sync += good_count.eq(good_count + 1)
        with m.Elif(together & some_marked):
            m.d.sync += bad_count.eq(bad_count + 1)
            with m.If(~self.bonded | (bad_count == _BAD_TO_LOSE - 1)):
                m.d.sync += [together.eq(0), self.bonded.eq(0), good_count.eq(0), bad_count.eq(0)]
        return m
