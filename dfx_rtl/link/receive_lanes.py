"""The receiving side of a channel, in the clock that is recovered from the line."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .block_lock import *
from .blocks import *
from .bonding import *
from .checks import *
from .scrambler import *

__all__ = ["ReceiveLanes"]


class ReceiveLanes(wiring.Component):
    """Makes words out of what the transceivers of a channel receive.

    Descrambles, finds the blocks, takes the skew out, says what each word is, and removes
    compensation and bonding blocks. Lane 0 speaks for the channel: of the others only the headers
    matter while it carries a control block. A word in which any lane has a compensation block is
    one, so that a bit error in another lane does not leave it in the middle of a packet.

    Latency: 1 cycle with one lane, else 3 plus the skew. Throughput: a word a cycle.

    Parameters
    ----------
    lanes, slip_cycles, skew : :class:`int`
        See :class:`BlockLock` and :class:`Bonding`.

    Members
    -------
    clear : ``In(1)``
        Start again.
    header, data : ``In(2)``, ``In(64)``, arrays of ``lanes``
        As the transceivers have it.
    valid : ``In(lanes)``
        A lane has a block.
    slip : ``Out(lanes)``
        Move the alignment of a lane by a bit.
    locked : ``Out(1)``
        All lanes have block lock.
    bonded : ``Out(1)``
        Words come out.
    word_valid : ``Out(1)``
        A word is there.
    word : ``Out(ReceivedWord(lanes))``
        The word.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        As the two components do.
    """

    def __init__(self, lanes, *, slip_cycles=32, skew=7):
        check_integer("Lanes", lanes, 1, 4)
        self._lanes = lanes
        self._locks = [BlockLock(slip_cycles) for _ in range(lanes)]
        self._bonding = Bonding(lanes, skew)
        super().__init__({
            "clear": In(1),
            "header": In(2).array(lanes),
            "data": In(BLOCK).array(lanes),
            "valid": In(lanes),
            "slip": Out(lanes),
            "locked": Out(1),
            "bonded": Out(1),
            "word_valid": Out(1),
            "word": Out(ReceivedWord(lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = range(self._lanes)
        m.submodules.bonding = bonding = self._bonding
        all_locked = Signal()
        present = Signal(self._lanes)
        m.d.sync += present.eq(self.valid)
        for lane in lanes:
            m.submodules[f"lock{lane}"] = lock = self._locks[lane]
            m.submodules[f"descrambler{lane}"] = descrambler = Descrambler()
            header = Signal(2, name=f"header{lane}", reset_less=True)
            with m.If(self.valid[lane]):
                m.d.sync += header.eq(self.header[lane])
            m.d.comb += [
                lock.clear.eq(self.clear),
                lock.valid.eq(self.valid[lane]),
                lock.header.eq(self.header[lane]),
                self.slip[lane].eq(lock.slip),
                descrambler.enable.eq(self.valid[lane]),
                descrambler.scrambled.eq(self.data[lane]),
                bonding.header[lane].eq(header),
                bonding.data[lane].eq(descrambler.data),
            ]
        m.d.comb += [
            all_locked.eq(Cat(lock.locked for lock in self._locks).all()),
            self.locked.eq(all_locked),
            bonding.clear.eq(self.clear | ~all_locked),
            bonding.valid.eq(present),
            self.bonded.eq(bonding.bonded),
        ]

        headers, blocks = bonding.word_header, bonding.word_data
        control = Signal(self._lanes)
        invalid = Signal(self._lanes)
        removed = Signal(self._lanes)
        for lane in lanes:
            m.d.comb += [
                control[lane].eq(headers[lane] == Header.CONTROL),
                invalid[lane].eq(headers[lane][0] == headers[lane][1]),
                removed[lane].eq(control[lane] & ((blocks[lane] == COMPENSATION_IDLE)
                                                  | (blocks[lane] == COMPENSATION_STRICT_IDLE)
                                                  | (blocks[lane] == BONDING_IDLE))),
            ]
        m.d.comb += [
            self.word_valid.eq(bonding.word_valid & ~removed.any()),
            self.word.data.eq(Cat(blocks[lane] for lane in lanes)),
            self.word.kind.eq(WordKind.BAD_BLOCK),
        ]
        with m.If(invalid.any()):
            m.d.comb += self.word.kind.eq(WordKind.BAD_HEADER)
        with m.Elif(~control.any()):
            m.d.comb += self.word.kind.eq(WordKind.DATA)
        with m.Elif(control.all()):
            with m.Switch(blocks[0][BLOCK - 8:]):
                with m.Case(BlockType.IDLE):
                    with m.If(blocks[0] == REGULAR_IDLE):
                        m.d.comb += self.word.kind.eq(WordKind.IDLE)
                    with m.Elif((blocks[0] == NOT_READY_IDLE)
                                | (blocks[0] == NOT_READY_LOOSE_IDLE)):
                        m.d.comb += self.word.kind.eq(WordKind.NOT_READY)
                with m.Case(BlockType.END, BlockType.HELLO, BlockType.ACKNOWLEDGE,
                            BlockType.RETRY, BlockType.REPLAY):
                    m.d.comb += self.word.kind.eq(WordKind.CONTROL)
        return m
