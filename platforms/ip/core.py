"""The core as a block of the card."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dfx_rtl.build import TOP, core_ports
from dfx_rtl.bus.axi import AxiLiteSignature
from dfx_rtl.control.registers import REGISTERS
from dfx_rtl.core import Core
from dfx_rtl.dma.requests import ddr_signature, hbm_signature
from dfx_rtl.router.layouts import FlitLayout

from .vendor import VendorModule, VendorPort

__all__ = ["CoreIp"]


class CoreIp(wiring.Component):
    """The core: in simulation itself, on a card an ``Instance`` of its Verilog.

    So its Verilog is the file that ``python -m dfx_rtl.build`` writes, with each module once.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    host, interrupt, hbm, ddr, send, receive, link_error
        As of :class:`~dfx_rtl.core.Core`.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "host": In(AxiLiteSignature(REGISTERS.address_width)),
            "interrupt": Out(1),
            "hbm": Out(hbm_signature(config)).array(config.channels),
            "ddr": Out(ddr_signature(config)),
            "send": Out(stream.Signature(FlitLayout(config.tile))).array(2),
            "receive": In(stream.Signature(FlitLayout(config.tile))).array(2),
            "link_error": In(8).array(2),
        })

    def module(self):
        """The core's Verilog module."""
        ports = [VendorPort(name, "input") for name in ("clk", "rst", "hbm_clk", "hbm_rst")]
        ports += [VendorPort(name, direction, len(value))
                  for name, (value, direction) in core_ports(self, self._config).items()]
        return VendorModule(TOP, tuple(ports))

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            m.submodules.core = core = Core(self._config)
            connect(m, flipped(self.host), core.host)
            connect(m, core.ddr, flipped(self.ddr))
            for channel in range(self._config.channels):
                connect(m, core.hbm[channel], flipped(self.hbm[channel]))
            for side in range(2):
                connect(m, core.send[side], flipped(self.send[side]))
                connect(m, flipped(self.receive[side]), core.receive[side])
                m.d.comb += core.link_error[side].eq(self.link_error[side])
            m.d.comb += self.interrupt.eq(core.interrupt)
            return m
        connections = {"clk": ClockSignal(), "rst": ResetSignal(),
                       "hbm_clk": ClockSignal("hbm"), "hbm_rst": ResetSignal("hbm")}
        connections |= {name: value for name, (value, _) in core_ports(self, self._config).items()}
        m.submodules.ip = self.module().instance(platform, connections)
        return m
