"""What all links have in common: the ports that their user sees."""

from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .blocks import PacketWord
from .packet_transmitter import COUNT
from .session import DownCause

__all__ = ["link_members"]


def link_members(lanes):
    """Members of a link's user side, as a dictionary.

    send : ``In(stream.Signature(PacketWord(lanes)))``
        Packets of 1 to ``packet_words`` words.
    receive : ``Out(stream.Signature(PacketWord(lanes)))``
        Packets of the remote end.
    restart : ``In(1)``
        Forget all packets and begin a new session; high for one cycle.
    up : ``Out(1)``
        Packets flow.
    down_cause : ``Out(DownCause)``
        Why the link has failed, until it is restarted. NONE, also while it is not up yet.
    retry_count, crc_error_count, header_error_count, packet_count : ``Out(32)``
        Since the restart: how often packets were sent again, control blocks with a wrong CRC,
        invalid headers, packets received.
    """
    return {
        "send": In(stream.Signature(PacketWord(lanes))),
        "receive": Out(stream.Signature(PacketWord(lanes))),
        "restart": In(1),
        "up": Out(1),
        "down_cause": Out(DownCause),
        "retry_count": Out(COUNT),
        "crc_error_count": Out(COUNT),
        "header_error_count": Out(COUNT),
        "packet_count": Out(COUNT),
    }
