"""What is translated: a system whose inputs are registers, so that they cost nothing at rest."""

from amaranth import *
from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection
from amaranth.lib.wiring import In

__all__ = ["Top"]


class Top(Elaboratable):
    """A system between registers.

    Verilator evaluates all logic between an input and the next register in every call, whether the
    input has changed or not. So the inputs of the system are registers in a domain ``host``, whose
    clock rises only when the host has changed something. What the memories answer is a register
    too: before each edge the engine looks at the ``read_enables`` of a hub, and where one is set it
    changes ``read_data`` to what is at ``read_address``. So is what comes from the neighbours.
    What is written stands in the hub after the edge, as for any engine. No register has an enable:
    that would be logic.

    Parameters
    ----------
    system : System
        What is simulated.

    Attributes
    ----------
    ports : dict
        The ports by name, as ``amaranth.back.verilog`` takes them, after the elaboration:
        ``system_`` and the path of a member, ``hbm_`` and ``ddr_`` and what belongs to a hub,
        ``clk``, ``hbm_clk``, ``host_clk``. No name has a double underscore, which Verilator would
        change.
    """

    def __init__(self, system):
        self._system = system
        self.ports = {}

    def _input(self, name, shape):
        signal = Signal(shape, name=name)
        self.ports[name] = signal, PortDirection.Input
        return signal

    def _output(self, name, value):
        self.ports[name] = Value.cast(value), PortDirection.Output

    def elaborate(self, platform):
        m = Module()
        system = self._system
        m.submodules.system = fragment = Fragment.get(system, platform)
        # The system defines its clock domains, and they are needed outside of it too.
        m.domains.sync = fragment.domains.pop("sync")
        m.domains.hbm = fragment.domains.pop("hbm")
        m.domains.host = ClockDomain(reset_less=True)
        for name, domain in (("clk", "sync"), ("hbm_clk", "hbm"), ("host_clk", "host")):
            self.ports[name] = ClockSignal(domain), PortDirection.Input
        for path, member, value in system.signature.flatten(system):
            name = "_".join(["system", *map(str, path)])
            if member.flow == In:
                value = Value.cast(value)
                domain = "sync" if path[0] == "boundary_in" else "host"
                m.d[domain] += value.eq(self._input(name, len(value)))
            else:
                self._output(name, value)
        self._serve(m, "hbm", "hbm", system.hbm_hub)
        self._serve(m, "ddr", "sync", system.ddr_hub)
        return m

    def _serve(self, m, name, domain, hub):
        for member in ("write_stb", "write_addresses", "write_data", "write_strobes"):
            self._output(f"{name}_{member}", getattr(hub, member))
        enables = Signal(len(hub.ports))
        words = []
        for index, port in enumerate(hub.ports):
            m.d.comb += enables[index].eq(port.read_enable)
            self._output(f"{name}_{index}_read_address", port.read_address)
            word = Signal(hub.data_width, name=f"{name}_{index}_word", reset_less=True)
            m.d[domain] += word.eq(self._input(f"{name}_{index}_read_data", hub.data_width))
            words.append(word)
        self._output(f"{name}_read_enables", enables)
        m.d.comb += hub.read_data.eq(Cat(words))
