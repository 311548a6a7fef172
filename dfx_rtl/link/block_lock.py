"""Finds where the blocks of a lane begin."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import *

__all__ = ["BlockLock"]

_GOOD_TO_LOCK = 64
#: Of the leaky bucket: a bad header puts in so much, a good one takes out 1; full is lost.
_BUCKET_STEP, _BUCKET_FULL = 8, 64


class BlockLock(wiring.Component):
    """Slips a lane until its headers are valid.

    Locked after 64 good headers in a row. Without lock, each bad header is answered with a slip,
    and then nothing is looked at for ``slip_cycles`` blocks. With lock, bad headers fill a leaky
    bucket, 8 a header, and each good one takes out 1: at 64 the lock is lost. So noise is noticed
    within about 20 blocks, and error rates below 10 % of headers are lived with.

    Parameters
    ----------
    slip_cycles : :class:`int`
        Blocks after a slip that may still have the old alignment, 1 to 64.

    Members
    -------
    clear : ``In(1)``
        Start again.
    valid : ``In(1)``
        A header is there.
    header : ``In(2)``
        The header.
    locked : ``Out(1)``
        The alignment is right. A register.
    slip : ``Out(1)``
        Move the alignment by a bit. A register.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``slip_cycles`` is not an integer between 1 and 64.
    """

    # Ref: IEEE 802.3, figure 49-14, for the 64 headers and the slip.

    def __init__(self, slip_cycles=32):
        check_integer("Slip cycles", slip_cycles, 1, 64)
        self._slip_cycles = slip_cycles
        super().__init__({
            "clear": In(1),
            "valid": In(1),
            "header": In(2),
            "locked": Out(1),
            "slip": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        good = Signal()
        good_count = Signal(range(_GOOD_TO_LOCK))
        wait_count = Signal(range(self._slip_cycles + 1))
        bucket = Signal(range(_BUCKET_FULL + _BUCKET_STEP))
        m.d.comb += good.eq(self.header[0] ^ self.header[1])
        with m.If(self.slip):
            m.d.sync += self.slip.eq(0)
        with m.If(self.clear):
            m.d.sync += [self.locked.eq(0), self.slip.eq(0), good_count.eq(0), bucket.eq(0)]
        with m.Elif(self.valid & self.locked):
            with m.If(~good):
                m.d.sync += bucket.eq(bucket + _BUCKET_STEP)
                with m.If(bucket >= _BUCKET_FULL - _BUCKET_STEP):
                    m.d.sync += [self.locked.eq(0), bucket.eq(0)]
            with m.Elif(bucket != 0):
                m.d.sync += bucket.eq(bucket - 1)
        with m.Elif(self.valid):
            with m.If(wait_count != 0):
                m.d.sync += wait_count.eq(wait_count - 1)
            with m.Elif(good):
                m.d.sync += good_count.eq(good_count + 1)
                with m.If(good_count == _GOOD_TO_LOCK - 1):
                    m.d.sync += self.locked.eq(1)
            with m.Else():
                m.d.sync += [self.slip.eq(1), good_count.eq(0), wait_count.eq(self._slip_cycles)]
        return m
