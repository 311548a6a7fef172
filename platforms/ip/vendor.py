"""A block that somebody else made, as data: its ports once, for everything that needs them."""

from dataclasses import dataclass, field

from amaranth.hdl import Instance

__all__ = ["VendorModule", "VendorPort"]


@dataclass(frozen=True)
class VendorPort:
    """A port of a vendor's block.

    Parameters
    ----------
    name : str
        As in Verilog.
    direction : str
        ``input`` or ``output``, seen from the block.
    width : int
        In bits.
    """

    name: str
    direction: str
    width: int = 1

    def __post_init__(self):
        if self.direction not in ("input", "output"):
            raise ValueError(f"Direction of port {self.name} must be input or output, "
                             f"not {self.direction!r}")

    def declaration(self):
        """As in a Verilog port list."""
        shape = f" [{self.width - 1}:0]" if self.width > 1 else ""
        return f"{self.direction} wire{shape} {self.name}"


@dataclass(frozen=True)
class VendorModule:
    """A vendor's block: what the ``Instance``, the Tcl and the stub are made of.

    Parameters
    ----------
    name : str
        The Verilog module.
    ports : tuple of VendorPort
        All of them.
    parameters : dict
        Verilog parameters of the instance.
    ip : str or None
        Name in the catalogue of IPs, for ``create_ip``; None is a primitive of the device.
    preset : str or None
        Preset of the IP that is set before the properties.
    properties : dict
        ``CONFIG`` properties of the IP.
    """

    name: str
    ports: tuple
    parameters: dict = field(default_factory=dict)
    ip: str | None = None
    preset: str | None = None
    properties: dict = field(default_factory=dict)

    def instance(self, platform, connections):
        """An instance in a card.

        Parameters
        ----------
        platform : AlveoPlatform
            Notes that it needs the block.
        connections : dict
            A value for each port by name; an output may be left out.

        Raises
        ------
        ValueError
            If there is no such port, an input has no value, or a value has another width.
        """
        known = {port.name: port for port in self.ports}
        for name in connections:
            if name not in known:
                raise ValueError(f"Module {self.name} has no port {name}")
        arguments = {f"p_{name}": value for name, value in self.parameters.items()}
        for name, port in known.items():
            if name not in connections:
                if port.direction == "input":
                    raise ValueError(f"Input {name} of module {self.name} is not connected")
                continue
            value = connections[name]
            if len(value) != port.width:
                raise ValueError(f"Port {name} of module {self.name} has {port.width} bits, "
                                 f"not {len(value)}")
            arguments[f"{port.direction[0]}_{name}"] = value
        platform.use_module(self)
        return Instance(self.name, **arguments)

    def script(self):
        """The Tcl that makes the IP."""
        if self.ip is None:
            return ""
        lines = [f"create_ip -name {self.ip} -vendor xilinx.com -library ip "
                 f"-module_name {self.name}"]
        if self.preset is not None:
            lines.append(f"set_property CONFIG.preset {{{self.preset}}} [get_ips {self.name}]")
        if self.properties:
            lines.append("set_property -dict [list \\")
            lines.extend(f"    CONFIG.{name} {{{value}}} \\"
                         for name, value in self.properties.items())
            lines.append(f"] [get_ips {self.name}]")
        return "\n".join(lines) + "\n"

    def stub(self):
        """A Verilog module with these ports and nothing inside, for a linter."""
        parameters = ""
        if self.parameters:
            parameters = " #(\n" + ",\n".join(f"    parameter {name} = 0"
                                              for name in self.parameters) + "\n)"
        ports = ",\n".join(f"    {port.declaration()}" for port in self.ports)
        outputs = "".join(f"    assign {port.name} = 0;\n" for port in self.ports
                          if port.direction == "output")
        # Nothing here uses a parameter.
        return (f"/* verilator lint_off UNUSEDPARAM */\n"
                f"module {self.name}{parameters} (\n{ports}\n);\n{outputs}endmodule\n")
