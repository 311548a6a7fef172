"""The host's way in: the DMA subsystem for PCI Express (PG195)."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.bus.axi import Axi4Signature, AxiLiteSignature

from .primitives import ibufds_gte4
from .vendor import VendorModule, VendorPort

__all__ = ["XdmaIp"]

LANES = 16
_MEMORY = Axi4Signature(64, 512, 4)
_REGISTERS = AxiLiteSignature(32)


class XdmaIp(wiring.Component):
    """PCI Express 3.0, 16 lanes: a memory bus and a register bus that the host is the manager of.

    On a card, an ``Instance`` of the IP with its pins; it drives the clock domain ``pcie``,
    which the parent defines, with 250 MHz and the reset of the link. In simulation
    the buses are driven by a testbench, which stands for the host, and so is the domain.

    Members
    -------
    memory : Out(Axi4Signature(64, 512, 4))
        What ``/dev/xdma0_h2c_0`` and ``/dev/xdma0_c2h_0`` do. To confirm in Vivado: bursts are of
        full width and incrementing.
    registers : Out(AxiLiteSignature(32))
        What ``/dev/xdma0_user`` does.
    interrupt : In(1)
        What ``/dev/xdma0_events_0`` tells: high until the host has cleared the cause.
    """

    memory: Out(_MEMORY)
    registers: Out(_REGISTERS)
    interrupt: In(1)

    def module(self):
        """The IP."""
        ports = [VendorPort(name, "input") for name in ("sys_clk", "sys_clk_gt", "sys_rst_n")]
        ports += [VendorPort(f"pci_exp_{name}", direction, LANES) for name, direction in (
            ("rxp", "input"), ("rxn", "input"), ("txp", "output"), ("txn", "output"))]
        ports += [VendorPort(name, "output") for name in ("axi_aclk", "axi_aresetn",
                                                          "user_lnk_up")]
        ports += [VendorPort("usr_irq_req", "input"), VendorPort("usr_irq_ack", "output")]
        for prefix, signature in (("m_axi_", _MEMORY), ("m_axil_", _REGISTERS)):
            for name, member in signature.members.items():
                ports.append(VendorPort(prefix + name,
                                        "output" if member.flow == Out else "input",
                                        Shape.cast(member.shape).width))
        ports += [VendorPort(f"m_axi_{channel}{name}", "output", width)
                  for channel in ("aw", "ar")
                  for name, width in (("prot", 3), ("lock", 1), ("cache", 4))]
        ports += [VendorPort(f"m_axil_{channel}prot", "output", 3) for channel in ("aw", "ar")]
        # To confirm in Vivado, with report_property: all names but mode_selection,
        # axilite_master_en, axilite_master_size, pl_link_cap_*, cfg_mgmt_if, xdma_axi_intf_mm,
        # axi_data_width and axisten_freq.
        return VendorModule("dfx_xdma", tuple(ports), ip="xdma", properties={
            "mode_selection": "Advanced",
            "pl_link_cap_max_link_width": "X16",
            "pl_link_cap_max_link_speed": "8.0_GT/s",
            "axi_data_width": "512_bit",
            "axisten_freq": "250",
            "xdma_axi_intf_mm": "AXI_Memory_Mapped",
            "axilite_master_en": "true",
            "axilite_master_scale": "Kilobytes",
            "axilite_master_size": "4",
            "xdma_rnum_chnl": "1",
            "xdma_wnum_chnl": "1",
            "xdma_num_usr_irq": "1",
            "cfg_mgmt_if": "false",
            "pf0_msix_enabled": "false",
        })

    def elaborate(self, platform):
        m = Module()
        if platform is None:
            return m
        pins = platform.request("pcie", 0, dir="-")
        m.submodules.reset_buffer = reset = io.Buffer("i", pins.perst)
        reference = Signal()
        fabric = Signal()
        m.submodules.clock_buffer = ibufds_gte4().instance(platform, {
            "I": pins.refclk.p, "IB": pins.refclk.n, "CEB": C(0, 1),
            "O": reference, "ODIV2": fabric})

        reset_n = Signal()
        m.d.comb += ResetSignal("pcie").eq(~reset_n)
        connections = {
            "sys_clk": fabric, "sys_clk_gt": reference, "sys_rst_n": reset.i,
            "pci_exp_rxp": pins.rx.p, "pci_exp_rxn": pins.rx.n,
            "pci_exp_txp": pins.tx.p, "pci_exp_txn": pins.tx.n,
            "axi_aclk": ClockSignal("pcie"), "axi_aresetn": reset_n,
            "usr_irq_req": self.interrupt,
        }
        for prefix, bus, signature in (("m_axi_", self.memory, _MEMORY),
                                       ("m_axil_", self.registers, _REGISTERS)):
            connections |= {prefix + name: Value.cast(getattr(bus, name))
                            for name in signature.members}
        m.submodules.ip = self.module().instance(platform, connections)
        return m
