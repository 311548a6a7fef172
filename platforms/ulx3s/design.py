"""The whole design on the board: core, memories, console, serial line."""

import dataclasses

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from dfx_rtl.compiler import compile
from dfx_rtl.config import CONFIGS
from dfx_rtl.core import Core

from .console import Console
from .memory import BlockMemory
from .uart import UartReceiver, UartTransmitter

__all__ = ["BAUD", "CLOCK_HZ", "CONFIG", "Ulx3sDesign", "compile_model"]

CLOCK_HZ = 25_000_000
BAUD = 115_200
#: Clock cycles a bit of the serial line.
DIVISOR = round(CLOCK_HZ / BAUD)

#: (d, l) = (4, 1), which the open router can route, with small memories, since block RAM is short.
CONFIG = dataclasses.replace(
    CONFIGS["nano"], name="ulx3s", tile=4, lanes=1, vector_lanes=1, axi_bits=16, ddr_bits=64,
    channel_bytes=1 << 17, ddr_bytes=1 << 15, weight_tiles=64, instructions=64, queue_depth=4)


def compile_model(checkpoint, config=CONFIG):
    """Compile a checkpoint for the board; images as ``compile`` gives them."""
    return compile(checkpoint, config)


def _words(content, width):
    """Bytes as a list of words."""
    size = width // 8
    content = bytes(content)
    return [int.from_bytes(content[place:place + size], "little")
            for place in range(0, len(content), size)]


class Ulx3sDesign(wiring.Component):
    """A core whose memories are block RAM with a model in them, behind a serial line.

    All of it runs in one clock; the core's HBM domain is that clock, too, so that a tile of two
    beats takes two cycles, and the MPU is busy half of the time at most.

    Parameters
    ----------
    compiled : CompiledModel
        Program and images.
    vocabulary : list of str
        The token of each id, a character each.
    divisor : int
        Clock cycles a bit of the serial line.

    Members
    -------
    receive, transmit : In(1), Out(1)
        The serial line: 8 bits, no parity, one stop bit.
    """

    def __init__(self, compiled, vocabulary, divisor=DIVISOR):
        config = compiled.config
        self.core = Core(config)
        self.hbm = [BlockMemory(port.signature,
                                _words(compiled.hbm[channel], config.axi_bits))
                    for channel, port in enumerate(self.core.hbm)]
        # Behind the image prompt and output have their places.
        ddr = bytes(compiled.ddr).ljust(compiled.ddr_bytes, b"\0")
        self.ddr = BlockMemory(self.core.ddr.signature, _words(ddr, config.ddr_bits))
        words = self.ddr.words
        self._console = Console(compiled.run, vocabulary, len(words.address), len(words.data))
        self._receiver = UartReceiver(divisor)
        self._transmitter = UartTransmitter(divisor)
        super().__init__({"receive": In(1, init=1), "transmit": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        core, console = self.core, self._console
        m.submodules.core = DomainRenamer({"hbm": "sync"})(core)
        m.submodules.console = console
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.ddr = ddr = self.ddr
        connect(m, core.ddr, ddr.bus)
        for channel, hbm in enumerate(self.hbm):
            m.submodules[f"hbm{channel}"] = hbm
            connect(m, core.hbm[channel], hbm.bus)
        connect(m, console.registers, core.host)
        connect(m, console.words, ddr.words)
        connect(m, receiver.bytes, console.typed)
        connect(m, console.shown, transmitter.bytes)
        m.d.comb += [
            receiver.line.eq(self.receive),
            self.transmit.eq(transmitter.line),
            # A core alone neither sends nor receives.
            *(send.ready.eq(1) for send in core.send),
        ]
        return m
