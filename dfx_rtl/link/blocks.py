"""The codes of a lane: blocks of a 2-bit header and 64 bits, and the interface of a transceiver.

Bit 63 of a block goes first on the line, after the header. In a control block its octet [63:56]
says what it is. Everything here is in the manner of Aurora 64B/66B (SP011); the session and retry
blocks are ours.
"""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import *

__all__ = ["BLOCK", "REGULAR_IDLE", "NOT_READY_IDLE", "NOT_READY_LOOSE_IDLE", "BONDING_IDLE",
           "COMPENSATION_IDLE", "COMPENSATION_STRICT_IDLE", "Header", "BlockType", "ControlBlock",
           "WordKind", "ChannelWord", "ReceivedWord", "PacketWord", "TransceiverSignature",
           "packet_stream"]


#: Bits of a block without its header.
BLOCK = 64
#: Idle blocks: octet 0x78 and a flag octet. A transmitter sends the strict-aligned ones.
REGULAR_IDLE = 0x7810 << 48
NOT_READY_IDLE = 0x7830 << 48
NOT_READY_LOOSE_IDLE = 0x7820 << 48
BONDING_IDLE = 0x7840 << 48
COMPENSATION_IDLE = 0x7880 << 48
COMPENSATION_STRICT_IDLE = 0x7890 << 48


class Header(enum.IntEnum, shape=2):
    """Header of a block. The other two values are errors. Not scrambled."""
    DATA = 0b01
    CONTROL = 0b10


class BlockType(enum.IntEnum, shape=8):
    """Octet [63:56] of a control block."""
    #: An idle block; the flag octet says which.
    IDLE = 0x78
    #: The data blocks since the last END are a packet.
    END = 0x1E
    #: State of the session, while it is set up.
    HELLO = 0xD2
    #: Acknowledgement and credit only.
    ACKNOWLEDGE = 0x99
    #: Acknowledgement, and a request to send again everything after it.
    RETRY = 0x55
    #: What follows is sent again from the oldest packet that is not acknowledged.
    REPLAY = 0xB4


class ControlBlock(data.Struct):
    """A control block that is not idle.

    Attributes
    ----------
    crc : 32 bits
        CRC-32 of the block with this field zero; of an END also of the packet's data before it.
    credit : 8 bits
        Room in the receive buffer beyond the packets acknowledged, in units of 1/128 of the
        buffer, at least one word.
    acknowledge : 8 bits
        Number of the next packet that the sender of this block expects.
    sequence : 8 bits
        END: number of the packet. HELLO: see :class:`SessionOctet`. Else 0.
    type : 8 bits
        A :class:`BlockType`.
    """
    crc: 32
    credit: 8
    acknowledge: 8
    sequence: 8
    type: 8


class WordKind(enum.IntEnum, shape=3):
    """What the lanes of a channel brought in one cycle."""
    IDLE = 0
    #: An idle block of a remote end that is not ready.
    NOT_READY = 1
    DATA = 2
    #: A :class:`ControlBlock` on lane 0.
    CONTROL = 3
    #: A header of 00 or 11 on some lane.
    BAD_HEADER = 4
    #: A control block that does not exist, or data on some lanes only.
    BAD_BLOCK = 5


def ChannelWord(lanes):
    """Layout of a word that is sent: a block a lane, or a control block on lane 0."""
    return data.StructLayout({"data": BLOCK * lanes, "control": 1})


def ReceivedWord(lanes):
    """Layout of a word that came: a block a lane, and its :class:`WordKind`."""
    return data.StructLayout({"data": BLOCK * lanes, "kind": WordKind})


def PacketWord(lanes):
    """Layout of a word of a packet: a block a lane, and whether it is the packet's last."""
    return data.StructLayout({"data": BLOCK * lanes, "last": 1})


class TransceiverSignature(wiring.Signature):
    """Parallel side of the transceivers of a channel, seen from the link.

    Everything ``transmit_*`` belongs to the link clock, everything else to the recovered clock.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes of the channel, 1 to 4.

    Members
    -------
    transmit_header, transmit_data : ``Out(2)``, ``Out(64)``, arrays of ``lanes``
        A block: it is taken in a cycle with ``transmit_ready``.
    transmit_ready : ``In(1)``
        Low when the gearbox pauses.
    receive_header, receive_data : ``In(2)``, ``In(64)``, arrays of ``lanes``
        66 bits as they came, at some alignment.
    receive_valid : ``In(lanes)``
        Low when the gearbox of a lane pauses.
    slip : ``Out(lanes)``
        High for one cycle: move the alignment of a lane by one bit.
    receive_reset : ``Out(1)``
        The receiver starts again.

    Raises
    ------
    :exc:`TypeError`, :exc:`ValueError`
        If ``lanes`` is not an integer between 1 and 4.
    """

    def __init__(self, lanes):
        check_integer("Lanes", lanes, 1, 4)
        self._lanes = lanes
        super().__init__({
            "transmit_header": Out(2).array(lanes),
            "transmit_data":   Out(BLOCK).array(lanes),
            "transmit_ready":  In(1),
            "receive_header":  In(2).array(lanes),
            "receive_data":    In(BLOCK).array(lanes),
            "receive_valid":   In(lanes),
            "slip":            Out(lanes),
            "receive_reset":   Out(1),
        })

    @property
    def lanes(self):
        """Lanes of the channel."""
        return self._lanes

    def __eq__(self, other):
        return type(other) is TransceiverSignature and other.lanes == self.lanes

    def __repr__(self):
        return f"TransceiverSignature({self._lanes})"


def packet_stream(lanes):
    """Signature of a stream of packets."""
    return stream.Signature(PacketWord(lanes))

