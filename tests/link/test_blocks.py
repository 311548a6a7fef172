import pytest

from dfx_rtl.link import *


def test_idle_blocks():
    # Octet 0x78 and a flag octet: CC 0x80, CB 0x40, NR 0x20, SA 0x10.
    assert REGULAR_IDLE.to_bytes(8, "big").hex() == "7810000000000000"
    assert NOT_READY_IDLE.to_bytes(8, "big").hex() == "7830000000000000"
    assert NOT_READY_LOOSE_IDLE.to_bytes(8, "big").hex() == "7820000000000000"
    assert BONDING_IDLE.to_bytes(8, "big").hex() == "7840000000000000"
    assert COMPENSATION_IDLE.to_bytes(8, "big").hex() == "7880000000000000"
    assert COMPENSATION_STRICT_IDLE.to_bytes(8, "big").hex() == "7890000000000000"


def test_block_types_differ_in_more_than_a_bit():
    types = list(BlockType)
    assert [kind.value for kind in types] == [0x78, 0x1E, 0xD2, 0x99, 0x55, 0xB4]
    assert min((one ^ other).bit_count() for one in types for other in types if one != other) == 4


def test_control_block():
    block = ControlBlock.const({"type": BlockType.END, "sequence": 0x12, "acknowledge": 0x34,
                                "credit": 0x56, "crc": 0x789ABCDE})
    assert block.as_value().value == 0x1E123456789ABCDE


def test_transceiver_signature():
    assert TransceiverSignature(2) == TransceiverSignature(2)
    assert TransceiverSignature(2) != TransceiverSignature(1)
    assert repr(TransceiverSignature(2)) == "TransceiverSignature(2)"
    assert TransceiverSignature(3).lanes == 3


@pytest.mark.parametrize("lanes, error", [(0, ValueError), (5, ValueError), ("1", TypeError),
                                          (True, TypeError), (1.0, TypeError)])
def test_lanes(lanes, error):
    with pytest.raises(error) as raised:
        TransceiverSignature(lanes)
    assert str(raised.value) == f"Lanes must be an integer between 1 and 4, not {lanes!r}"
