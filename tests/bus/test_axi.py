import pytest
from amaranth.lib.wiring import In, Out

from dfx_rtl.bus.axi import *


def test_axi3_members():
    signature = Axi3Signature(33, 256, 6)
    assert signature.members["awlen"] == Out(4)
    assert signature.members["araddr"] == Out(33)
    assert signature.members["wstrb"] == Out(32)
    assert signature.members["rdata"] == In(256)
    assert signature.members["bresp"] == In(Response)
    assert signature.members["arburst"] == Out(Burst)
    assert "wid" not in dict(signature.members)
    assert (signature.size, signature.beat_bytes, signature.max_beats) == (5, 32, 16)
    assert repr(signature) == "Axi3Signature(33, 256, 6)"


def test_axi4_members():
    signature = Axi4Signature(34, 512, 1)
    assert signature.members["awlen"] == Out(8)
    assert (signature.size, signature.beat_bytes, signature.max_beats) == (6, 64, 256)


def test_axi_lite_members():
    signature = AxiLiteSignature(12)
    assert signature.members["wstrb"] == Out(4)
    assert signature.members["awready"] == In(1)
    assert (signature.address_width, signature.data_width) == (12, 32)
    assert repr(AxiLiteSignature(12, 64)) == "AxiLiteSignature(12, 64)"


def test_equality():
    assert Axi3Signature(33, 256, 6) == Axi3Signature(33, 256, 6)
    assert Axi3Signature(33, 256, 6) != Axi3Signature(32, 256, 6)
    assert Axi3Signature(33, 256, 6) != Axi4Signature(33, 256, 6)
    assert AxiLiteSignature(12) == AxiLiteSignature(12, 32)
    assert AxiLiteSignature(12) != AxiLiteSignature(12, 64)


def test_smallest():
    for signature in (Axi3Signature(1, 8, 0), Axi4Signature(1, 8, 0), AxiLiteSignature(1)):
        bus = signature.create()
        assert len(bus.awaddr) == 1


@pytest.mark.parametrize("signature", [Axi3Signature, Axi4Signature])
def test_burst_errors(signature):
    with pytest.raises(TypeError, match="^Address width must be a positive integer, not 0$"):
        signature(0, 256, 6)
    with pytest.raises(TypeError, match="^Address width must be a positive integer, not '33'$"):
        signature("33", 256, 6)
    with pytest.raises(ValueError, match="^Data width must be a power of two between 8 and 1024, "
                                         "not 48$"):
        signature(33, 48, 6)
    with pytest.raises(TypeError, match="^ID width must be a non-negative integer, not -1$"):
        signature(33, 256, -1)


def test_lite_errors():
    with pytest.raises(TypeError, match="^Address width must be a positive integer, not None$"):
        AxiLiteSignature(None)
    with pytest.raises(ValueError, match="^Data width must be 32 or 64, not 128$"):
        AxiLiteSignature(12, 128)
