"""AXI3, AXI4 and AXI4-Lite as signatures.

Signals carry the names of the standard (AMBA AXI and ACE, IHI 0022) in lower case and are flat, so
that a port of a top level is called as tools expect it. Directions are those of a manager: ``Out``
is driven by the manager. A subordinate takes ``In(...)`` of the same signature.

The handshake of each channel: a beat moves in a cycle in which ``valid`` and ``ready`` are both
high. ``valid`` never waits for ``ready``, and once high it stays high, with a stable payload, until
the beat moves.
"""

from amaranth import *
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Burst", "Response", "Axi3Signature", "Axi4Signature", "AxiLiteSignature",
           "BOUNDARY_BYTES"]


#: No burst may cross a multiple of this many bytes (A3.4.1).
BOUNDARY_BYTES = 4096


class Burst(enum.Enum, shape=2):
    """How the address of a burst advances (A3.4.1, table A3-3)."""
    FIXED = 0
    INCR = 1
    WRAP = 2
    RESERVED = 3


class Response(enum.Enum, shape=2):
    """Outcome of a write burst or of a read beat (A3.4.4, table A3-4)."""
    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _check_width(what, width, minimum):
    if not isinstance(width, int) or isinstance(width, bool) or width < minimum:
        kind = "a positive" if minimum else "a non-negative"
        raise TypeError(f"{what} must be {kind} integer, not {width!r}")


def _check_burst_parameters(address_width, data_width, id_width):
    _check_width("Address width", address_width, 1)
    if data_width not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"Data width must be a power of two between 8 and 1024, "
                         f"not {data_width!r}")
    _check_width("ID width", id_width, 0)


def _burst_members(address_width, data_width, id_width, length_width):
    def address(prefix):
        return {
            f"{prefix}id":    Out(id_width),
            f"{prefix}addr":  Out(address_width),
            f"{prefix}len":   Out(length_width),
            f"{prefix}size":  Out(3),
            f"{prefix}burst": Out(Burst),
            f"{prefix}valid": Out(1),
            f"{prefix}ready": In(1),
        }

    return {
        **address("aw"),
        "wdata":  Out(data_width),
        "wstrb":  Out(data_width // 8),
        "wlast":  Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid":    In(id_width),
        "bresp":  In(Response),
        "bvalid": In(1),
        "bready": Out(1),
        **address("ar"),
        "rid":    In(id_width),
        "rdata":  In(data_width),
        "rresp":  In(Response),
        "rlast":  In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


class _BurstSignature(wiring.Signature):
    """What AXI3 and AXI4 have in common."""

    LENGTH_WIDTH: int

    def __init__(self, address_width, data_width, id_width):
        _check_burst_parameters(address_width, data_width, id_width)
        self._address_width = address_width
        self._data_width = data_width
        self._id_width = id_width
        super().__init__(_burst_members(address_width, data_width, id_width, self.LENGTH_WIDTH))

    @property
    def address_width(self):
        """Width of a byte address, in bits."""
        return self._address_width

    @property
    def data_width(self):
        """Width of a beat, in bits."""
        return self._data_width

    @property
    def id_width(self):
        """Width of the transaction identifiers, in bits."""
        return self._id_width

    @property
    def beat_bytes(self):
        """Bytes of a beat."""
        return self._data_width // 8

    @property
    def size(self):
        """The value of ``awsize`` and ``arsize`` for beats of full width."""
        return self.beat_bytes.bit_length() - 1

    @property
    def max_beats(self):
        """Beats of the longest incrementing burst."""
        return 1 << self.LENGTH_WIDTH

    def __eq__(self, other):
        return (type(self) is type(other) and self._address_width == other._address_width
                and self._data_width == other._data_width and self._id_width == other._id_width)

    def __repr__(self):
        return f"{type(self).__name__}({self._address_width}, {self._data_width}, " \
               f"{self._id_width})"


class Axi3Signature(_BurstSignature):
    """AXI3 as the HBM ports of a Xilinx UltraScale+ device have it (PG276).

    Bursts are of 1 to 16 beats. There is no ``wid``, so write data follow the order of the write
    addresses; lock, cache, protection and quality-of-service signals do not exist.

    Parameters
    ----------
    address_width : :class:`int`
        Width of a byte address, in bits.
    data_width : :class:`int`
        Width of a beat, in bits: a power of two between 8 and 1024.
    id_width : :class:`int`
        Width of the transaction identifiers, in bits; may be 0.

    Members
    -------
    awid awaddr awlen awsize awburst awvalid awready
        Write address channel; ``awlen`` (4 bits) is the number of beats less one.
    wdata wstrb wlast wvalid wready
        Write data channel.
    bid bresp bvalid bready
        Write response channel.
    arid araddr arlen arsize arburst arvalid arready
        Read address channel.
    rid rdata rresp rlast rvalid rready
        Read data channel.

    Raises
    ------
    :exc:`TypeError`
        If a width is not an integer in its range.
    :exc:`ValueError`
        If the data width is not a power of two between 8 and 1024.
    """

    LENGTH_WIDTH = 4


class Axi4Signature(_BurstSignature):
    """AXI4 as a memory controller needs it.

    Bursts are of 1 to 256 beats. The optional signals (lock, cache, protection, quality of service,
    region, user) are left out: a top level ties them to constants.

    Parameters
    ----------
    address_width : :class:`int`
        Width of a byte address, in bits.
    data_width : :class:`int`
        Width of a beat, in bits: a power of two between 8 and 1024.
    id_width : :class:`int`
        Width of the transaction identifiers, in bits; may be 0.

    Members
    -------
    awid awaddr awlen awsize awburst awvalid awready
        Write address channel; ``awlen`` (8 bits) is the number of beats less one.
    wdata wstrb wlast wvalid wready
        Write data channel.
    bid bresp bvalid bready
        Write response channel.
    arid araddr arlen arsize arburst arvalid arready
        Read address channel.
    rid rdata rresp rlast rvalid rready
        Read data channel.

    Raises
    ------
    :exc:`TypeError`
        If a width is not an integer in its range.
    :exc:`ValueError`
        If the data width is not a power of two between 8 and 1024.
    """

    LENGTH_WIDTH = 8


class AxiLiteSignature(wiring.Signature):
    """AXI4-Lite without protection signals: every access is one beat of full width (B1.1).

    Parameters
    ----------
    address_width : :class:`int`
        Width of a byte address, in bits.
    data_width : :class:`int`
        Width of a beat, in bits: 32 or 64.

    Members
    -------
    awaddr awvalid awready
        Write address channel.
    wdata wstrb wvalid wready
        Write data channel. It is independent of the address channel in time.
    bresp bvalid bready
        Write response channel.
    araddr arvalid arready
        Read address channel.
    rdata rresp rvalid rready
        Read data channel.

    Raises
    ------
    :exc:`TypeError`
        If the address width is not a positive integer.
    :exc:`ValueError`
        If the data width is neither 32 nor 64.
    """

    def __init__(self, address_width, data_width=32):
        _check_width("Address width", address_width, 1)
        if data_width not in (32, 64):
            raise ValueError(f"Data width must be 32 or 64, not {data_width!r}")
        self._address_width = address_width
        self._data_width = data_width
        super().__init__({
            "awaddr":  Out(address_width),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata":   Out(data_width),
            "wstrb":   Out(data_width // 8),
            "wvalid":  Out(1),
            "wready":  In(1),
            "bresp":   In(Response),
            "bvalid":  In(1),
            "bready":  Out(1),
            "araddr":  Out(address_width),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata":   In(data_width),
            "rresp":   In(Response),
            "rvalid":  In(1),
            "rready":  Out(1),
        })

    @property
    def address_width(self):
        """Width of a byte address, in bits."""
        return self._address_width

    @property
    def data_width(self):
        """Width of a beat, in bits."""
        return self._data_width

    def __eq__(self, other):
        return (type(self) is type(other) and self._address_width == other._address_width
                and self._data_width == other._data_width)

    def __repr__(self):
        return f"AxiLiteSignature({self._address_width}, {self._data_width})"
