"""A vendor's block as data: instance, Tcl and stub come from one list of ports."""

import pytest
from amaranth import *

from platforms.ip.vendor import VendorModule, VendorPort

MODULE = VendorModule("made", (VendorPort("a", "input", 3), VendorPort("b", "output"),
                               VendorPort("c", "output", 8)),
                      {"WIDTH": 3}, ip="maker", preset="small", properties={"ON": "true"})


class Platform:
    def __init__(self):
        self.modules = []

    def use_module(self, module):
        self.modules.append(module)


def test_an_instance_tells_the_platform():
    platform, a, b = Platform(), Signal(3), Signal()
    instance = MODULE.instance(platform, {"a": a, "b": b})
    assert platform.modules == [MODULE]
    assert instance.type == "made"
    assert instance.parameters == {"WIDTH": 3}
    assert set(instance.ports) == {"a", "b"}


def test_script_and_stub():
    assert MODULE.script() == """\
create_ip -name maker -vendor xilinx.com -library ip -module_name made
set_property CONFIG.preset {small} [get_ips made]
set_property -dict [list \\
    CONFIG.ON {true} \\
] [get_ips made]
"""
    assert MODULE.stub() == """\
/* verilator lint_off UNUSEDPARAM */
module made #(
    parameter WIDTH = 0
) (
    input wire [2:0] a,
    output wire b,
    output wire [7:0] c
);
    assign b = 0;
    assign c = 0;
endmodule
"""
    assert VendorModule("primitive", ()).script() == ""


@pytest.mark.parametrize(("connections", "message"), [
    ({"a": Const(0, 3), "d": Const(0, 1)}, "Module made has no port d"),
    ({"b": Const(0, 1)}, "Input a of module made is not connected"),
    ({"a": Const(0, 2)}, "Port a of module made has 3 bits, not 2"),
])
def test_connections_are_checked(connections, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MODULE.instance(Platform(), connections)


def test_direction():
    with pytest.raises(ValueError, match="^Direction of port a must be input or output, "
                                         "not 'inout'$"):
        VendorPort("a", "inout")
