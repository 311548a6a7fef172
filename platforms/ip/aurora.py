"""The transceivers of a QSFP28 cage, as 66-bit blocks: four GTY with their gearboxes (PG182)."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.link import TransceiverSignature

from .primitives import ibufds_gte4
from .vendor import VendorModule, VendorPort

__all__ = ["AuroraIp"]

LANES = 4
_LINE_RATE = 25.78125
# Ports of the transceiver are wider than what it uses of them.
_HEADER = 6
_SEQUENCE = 7
_VALID = 2


class AuroraIp(wiring.Component):
    """Four lanes of 25.78125 Gb/s in one cage: the parallel side that an Aurora-style link needs.

    On a card, an ``Instance`` of the transceiver wizard's IP, with its pins and reference clock 0;
    it drives the clock domains ``link{n}_transmit`` and ``link{n}_receive``, which the parent
    defines, with 390.625 MHz (a block of 66 bits a cycle) and the resets of the transceivers.
    In simulation it is a loop: what is sent comes back in the same cycle.

    The vendor's own Aurora IP is not used: it has no retransmission. ``receive_reset`` is not used
    either: the receiver finds the blocks again by slips, and the recovered clock must not depend
    on a signal of its own domain.

    Parameters
    ----------
    index : int
        Of the cage.

    Members
    -------
    transceiver : In(TransceiverSignature(4))
        The lanes; bit 63 of a block is the first on the line after the header.
    up : Out(1)
        The transceivers are out of reset; asynchronous.
    """

    def __init__(self, index):
        self.index = index
        super().__init__({"transceiver": In(TransceiverSignature(LANES)), "up": Out(1)})

    @property
    def domains(self):
        """Clock domains that are driven here, of the two directions."""
        return f"link{self.index}_transmit", f"link{self.index}_receive"

    def module(self, channels, reference):
        """The IP.

        Parameters
        ----------
        channels : tuple of str
            Locations of the transceivers, the lowest first.
        reference : float
            Frequency of the reference clock, in MHz.
        """
        ports = []

        def add(direction, *items):
            ports.extend(VendorPort(name, direction, width) for name, width in items)

        for side in ("tx", "rx"):
            clock = f"gtwiz_userclk_{side}_"
            add("input", (f"{clock}reset_in", 1), (f"gtwiz_reset_{side}_datapath_in", 1),
                (f"gtwiz_reset_{side}_pll_and_datapath_in", 1))
            add("output", *((f"{clock}{name}_out", 1)
                            for name in ("srcclk", "usrclk", "usrclk2", "active")),
                (f"gtwiz_reset_{side}_done_out", 1), (f"{side}pmaresetdone_out", LANES),
                (f"{side}prgdivresetdone_out", LANES))
        add("input", ("gtwiz_reset_clk_freerun_in", 1), ("gtwiz_reset_all_in", 1),
            ("gtwiz_userdata_tx_in", 64 * LANES), ("gtrefclk00_in", 1),
            ("gtyrxp_in", LANES), ("gtyrxn_in", LANES), ("rxgearboxslip_in", LANES),
            ("txheader_in", _HEADER * LANES), ("txsequence_in", _SEQUENCE * LANES))
        add("output", ("gtwiz_reset_rx_cdr_stable_out", 1), ("gtwiz_userdata_rx_out", 64 * LANES),
            ("gtytxp_out", LANES), ("gtytxn_out", LANES), ("gtpowergood_out", LANES),
            ("qpll0outclk_out", 1), ("qpll0outrefclk_out", 1),
            ("rxheader_out", _HEADER * LANES), ("rxheadervalid_out", _VALID * LANES),
            ("rxdatavalid_out", _VALID * LANES), ("rxstartofseq_out", _VALID * LANES))
        # The QPLL runs at half the line rate; what is not a whole multiple is a fraction of 2^24.
        multiple = _LINE_RATE * 1000 / 2 / reference
        fraction = int(multiple % 1 * (1 << 24))
        properties = {
            "CHANNEL_ENABLE": " ".join(channels),
            "FREERUN_FREQUENCY": 100,
            "LOCATE_COMMON": "CORE",
            "LOCATE_RESET_CONTROLLER": "CORE",
            "LOCATE_USER_DATA_WIDTH_SIZING": "CORE",
        }
        for side, code in (("TX", "ENCODING"), ("RX", "DECODING")):
            properties |= {
                f"{side}_LINE_RATE": _LINE_RATE,
                f"{side}_REFCLK_FREQUENCY": reference,
                f"{side}_QPLL_FRACN_NUMERATOR": fraction,
                f"{side}_DATA_{code}": "64B66B_ASYNC",
                f"{side}_USER_DATA_WIDTH": 64,
                f"{side}_INT_DATA_WIDTH": 64,
                f"{side}_MASTER_CHANNEL": channels[0],
                f"LOCATE_{side}_USER_CLOCKING": "CORE",
            }
        # To confirm in Vivado, with report_property: CHANNEL_ENABLE, *_MASTER_CHANNEL,
        # TX_DATA_ENCODING and RX_DATA_DECODING, and the ports of the gearbox.
        return VendorModule(f"dfx_gty_{self.index}", tuple(ports), ip="gtwizard_ultrascale",
                            preset="GTY-10GBASE-R", properties=properties)

    def elaborate(self, platform):
        m = Module()
        lanes = self.transceiver
        if platform is None:
            m.d.comb += [self.up.eq(1), lanes.transmit_ready.eq(1), lanes.receive_valid.eq(-1)]
            for index in range(LANES):
                m.d.comb += [
                    lanes.receive_data[index].eq(lanes.transmit_data[index]),
                    lanes.receive_header[index].eq(lanes.transmit_header[index]),
                ]
            return m

        pins = platform.request("qsfp", self.index, dir="-")
        reference = Signal()
        m.submodules.clock_buffer = ibufds_gte4().instance(platform, {
            "I": pins.refclk.p, "IB": pins.refclk.n, "CEB": C(0, 1), "O": reference})
        transmit, receive = self.domains
        done = Signal(2)
        header = Signal(_HEADER * LANES)
        header_valid = Signal(_VALID * LANES)
        data = Signal(64 * LANES)
        m.d.comb += [
            ResetSignal(transmit).eq(~done[0]),
            ResetSignal(receive).eq(~done[1]),
            self.up.eq(done.all()),
            # The asynchronous gearbox never pauses.
            lanes.transmit_ready.eq(1),
        ]
        for index in range(LANES):
            m.d.comb += [
                lanes.receive_data[index].eq(data.word_select(index, 64)),
                lanes.receive_header[index].eq(header.word_select(index, _HEADER)),
                lanes.receive_valid[index].eq(header_valid.word_select(index, _VALID)[0]),
            ]
        connections = {
            "gtwiz_reset_clk_freerun_in": ClockSignal("reference"),
            "gtwiz_reset_all_in": ResetSignal("reference"),
            "gtwiz_userclk_tx_usrclk2_out": ClockSignal(transmit),
            "gtwiz_userclk_rx_usrclk2_out": ClockSignal(receive),
            "gtwiz_reset_tx_done_out": done[0],
            "gtwiz_reset_rx_done_out": done[1],
            "gtwiz_userdata_tx_in": Cat(lanes.transmit_data),
            "gtwiz_userdata_rx_out": data,
            "gtrefclk00_in": reference,
            "gtyrxp_in": pins.rx.p, "gtyrxn_in": pins.rx.n,
            "gtytxp_out": pins.tx.p, "gtytxn_out": pins.tx.n,
            "rxgearboxslip_in": lanes.slip,
            "txheader_in": Cat(Cat(one, C(0, _HEADER - 2)) for one in lanes.transmit_header),
            "txsequence_in": C(0, _SEQUENCE * LANES),
            "rxheader_out": header,
            "rxheadervalid_out": header_valid,
        }
        connections |= {f"gtwiz_{name}_in": C(0, 1) for side in ("tx", "rx") for name in (
            f"userclk_{side}_reset", f"reset_{side}_datapath", f"reset_{side}_pll_and_datapath")}
        m.submodules.ip = self.module(
            platform.qsfp_channels(self.index), platform.qsfp_reference).instance(
                platform, connections)
        return m
