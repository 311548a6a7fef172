"""Bytes over a serial line: 8 bits, no parity, one stop bit."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]

_BITS = 8
#: Cycles a bit below which a sample may miss its bit.
_MIN_DIVISOR = 4


def _check_divisor(divisor):
    if not isinstance(divisor, int) or divisor < _MIN_DIVISOR:
        raise ValueError(f"Divisor must be an integer of at least {_MIN_DIVISOR}, "
                         f"not {divisor!r}")


class UartTransmitter(wiring.Component):
    """Sends bytes.

    Throughput: a byte in 10 bits. ``bytes.ready`` is high while nothing is being sent.

    Parameters
    ----------
    divisor : int
        Cycles a bit.

    Members
    -------
    bytes : In(stream.Signature(8))
    line : Out(1)
        High while idle.

    Raises
    ------
    ValueError
        If the divisor is too small.
    """

    def __init__(self, divisor):
        _check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"bytes": In(stream.Signature(_BITS)), "line": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(_BITS + 3))
        count = Signal(range(self._divisor))
        frame = Signal(_BITS + 1)
        m.d.comb += self.bytes.ready.eq(left == 0)
        with m.If(left == 0):
            with m.If(self.bytes.valid):
                m.d.sync += [
                    # The start bit goes first, the stop bit is what is shifted in.
                    self.line.eq(0),
                    frame.eq(Cat(self.bytes.payload, 1)),
                    left.eq(_BITS + 2),
                    count.eq(self._divisor - 1),
                ]
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)
        with m.Else():
            m.d.sync += [
                self.line.eq(frame[0]),
                frame.eq(Cat(frame[1:], 1)),
                left.eq(left - 1),
                count.eq(self._divisor - 1),
            ]
        return m


class UartReceiver(wiring.Component):
    """Receives bytes. One whose stop bit is low is dropped; so is one that nobody has taken when
    the next one is complete.

    Latency: 2 cycles for the synchroniser; a byte is valid in the middle of its stop bit.

    Parameters
    ----------
    divisor : int
        Cycles a bit.

    Members
    -------
    line : In(1)
        Not synchronised.
    bytes : Out(stream.Signature(8))

    Raises
    ------
    ValueError
        If the divisor is too small.
    """

    def __init__(self, divisor):
        _check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"line": In(1, init=1), "bytes": Out(stream.Signature(_BITS))})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.line, line, init=1)
        left = Signal(range(_BITS + 3))
        count = Signal(range(self._divisor + self._divisor // 2))
        frame = Signal(_BITS)
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(left == 0):
            with m.If(~line):
                # From the edge to the middle of the start bit, which must still be low.
                m.d.sync += [left.eq(_BITS + 2), count.eq(self._divisor // 2 - 1)]
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)
        with m.Else():
            m.d.sync += [
                frame.eq(Cat(frame[1:], line)),
                left.eq(left - 1),
                count.eq(self._divisor - 1),
            ]
            with m.If((left == _BITS + 2) & line):
                m.d.sync += left.eq(0)
            with m.If((left == 1) & line & (~self.bytes.valid | self.bytes.ready)):
                m.d.sync += [self.bytes.valid.eq(1), self.bytes.payload.eq(frame)]
        return m
