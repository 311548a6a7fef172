# amaranth: UnusedElaboratable=no
"""The ports of the DMA for PCI Express."""

from platforms.ip.xdma import XdmaIp


def test_ports():
    module = XdmaIp().module()
    ports = {port.name: (port.direction, port.width) for port in module.ports}
    assert len(ports) == len(module.ports)
    for name, expected in {
            "m_axi_awaddr": ("output", 64), "m_axi_wdata": ("output", 512),
            "m_axi_rid": ("input", 4), "m_axil_wstrb": ("output", 4),
            "m_axil_araddr": ("output", 32), "pci_exp_rxp": ("input", 16),
            "m_axi_arcache": ("output", 4), "usr_irq_req": ("input", 1)}.items():
        assert ports[name] == expected, name
    assert module.properties["axi_data_width"] == "512_bit"
