"""A reliable link over serial lanes, in the manner of Aurora 64B/66B. Knows nothing of DFX."""

from .aurora_link import *
from .block_lock import *
from .blocks import *
from .bonding import *
from .channel import *
from .crc import *
from .crc_encoder import *
from .elastic_buffer import *
from .initialisation import *
from .packet_receiver import *
from .packet_transmitter import *
from .plain_link import *
from .receive_lanes import *
from .scrambler import *
from .session import *
from .surface import *
from .transmit_lanes import *

__all__ = [  # noqa: F405
    *aurora_link.__all__, *block_lock.__all__, *blocks.__all__, *bonding.__all__,
    *channel.__all__, *crc.__all__, *crc_encoder.__all__, *elastic_buffer.__all__,
    *initialisation.__all__, *packet_receiver.__all__, *packet_transmitter.__all__,
    *plain_link.__all__,
    *receive_lanes.__all__, *scrambler.__all__, *session.__all__, *surface.__all__,
    *transmit_lanes.__all__]
