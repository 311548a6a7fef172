"""Registers of 32 bits behind AXI4-Lite, declared once as data.

A :class:`RegisterMap` is asked by the hardware (:class:`AxiLiteRegisters`), by the driver on the
host (``map["STATUS"].offset``) and by the documents (``map.markdown()``), so none can differ.
"""

import enum
from dataclasses import dataclass
from functools import cached_property

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .axi import AxiLiteSignature, Response

__all__ = ["Access", "Field", "Register", "RegisterMap", "AxiLiteRegisters"]


WORD_BITS = 32
WORD_BYTES = WORD_BITS // 8


class Access(enum.Enum):
    """What the host may do with a register."""
    READ_WRITE = "read and write"
    READ_ONLY = "read"
    WRITE_ONE_TO_CLEAR = "read, write one to clear"
    WRITE_PULSE = "write"


@dataclass(frozen=True)
class Field:
    """Bits of a register, packed from bit 0 in the order in which they are listed.

    Parameters
    ----------
    name : :class:`str`
        A Python identifier in lower case.
    width : :class:`int`
        Bits.
    reset : :class:`int`
        Value after reset; only a READ_WRITE register may have one that is not 0.
    doc : :class:`str`
        What it means, in words.
    """
    name: str
    width: int = 1
    reset: int = 0
    doc: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.isidentifier() \
                or self.name != self.name.lower():
            raise ValueError(f"Field name must be an identifier in lower case, not {self.name!r}")
        if not isinstance(self.width, int) or not 1 <= self.width <= WORD_BITS:
            raise ValueError(f"Width of field {self.name!r} must be between 1 and {WORD_BITS}, "
                             f"not {self.width!r}")
        if not isinstance(self.reset, int) or not 0 <= self.reset < 1 << self.width:
            raise ValueError(f"Reset value of field {self.name!r} must fit in {self.width} bits, "
                             f"not {self.reset!r}")


@dataclass(frozen=True)
class Register:
    """One word of the map.

    Parameters
    ----------
    name : :class:`str`
        An identifier in upper case.
    offset : :class:`int`
        Byte address, a multiple of 4.
    access : :class:`Access`
        What the host may do.
    fields : sequence of :class:`Field`
        At most 32 bits in all.
    doc : :class:`str`
        What it is for, in words.
    """
    name: str
    offset: int
    access: Access
    fields: tuple
    doc: str = ""

    def __post_init__(self):
        object.__setattr__(self, "fields", tuple(self.fields))
        if not isinstance(self.name, str) or not self.name.isidentifier() \
                or self.name != self.name.upper():
            raise ValueError(f"Register name must be an identifier in upper case, "
                             f"not {self.name!r}")
        if not isinstance(self.offset, int) or self.offset < 0 or self.offset % WORD_BYTES:
            raise ValueError(f"Offset of register {self.name} must be a multiple of {WORD_BYTES}, "
                             f"not {self.offset!r}")
        if not isinstance(self.access, Access):
            raise TypeError(f"Access of register {self.name} must be an Access, "
                            f"not {self.access!r}")
        if not self.fields:
            raise ValueError(f"Register {self.name} must have a field")
        names = [field.name for field in self.fields]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Register {self.name} has two fields {name!r}")
        if self.width > WORD_BITS:
            raise ValueError(f"Fields of register {self.name} must fit in {WORD_BITS} bits, "
                             f"not {self.width}")
        for field in self.fields:
            if field.reset and self.access is not Access.READ_WRITE:
                raise ValueError(f"Register {self.name} is not READ_WRITE: reset value of field "
                                 f"{field.name!r} must be 0, not {field.reset!r}")

    @property
    def member(self):
        """Name of the member of :class:`AxiLiteRegisters`."""
        return self.name.lower()

    @property
    def width(self):
        """Bits that the fields take."""
        return sum(field.width for field in self.fields)

    @cached_property
    def layout(self):
        """The fields as a layout."""
        return data.StructLayout({field.name: field.width for field in self.fields})

    @property
    def reset(self):
        """Value of the word after reset."""
        return self.pack(**{field.name: field.reset for field in self.fields})

    def pack(self, **values):
        """The word that holds these fields; the others are 0."""
        word, position = 0, 0
        for field in self.fields:
            value = values.pop(field.name, 0)
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"Field {field.name!r} of register {self.name} must fit in "
                                 f"{field.width} bits, not {value!r}")
            word |= int(value) << position
            position += field.width
        if values:
            raise KeyError(f"Register {self.name} has no field {next(iter(values))!r}")
        return word

    def unpack(self, word):
        """The fields of a word, by name."""
        fields = {}
        for field in self.fields:
            fields[field.name] = word & ((1 << field.width) - 1)
            word >>= field.width
        return fields


class RegisterMap:
    """Registers by name, in the order of their offsets.

    Parameters
    ----------
    registers : iterable of :class:`Register`

    Raises
    ------
    :exc:`ValueError`
        If two registers share a name, an offset or the name of a member.
    """

    def __init__(self, registers):
        self._registers = {}
        offsets, members = {}, {}
        for register in sorted(registers, key=lambda register: register.offset):
            if register.name in self._registers:
                raise ValueError(f"Register {register.name} is declared twice")
            if register.offset in offsets:
                raise ValueError(f"Registers {offsets[register.offset]} and {register.name} "
                                 f"overlap at offset {register.offset:#x}")
            for member in _members_of(register):
                if member in members or member == "bus":
                    raise ValueError(f"Member {member!r} of register {register.name} is taken")
                members[member] = register.name
            offsets[register.offset] = register.name
            self._registers[register.name] = register
        if not self._registers:
            raise ValueError("A register map must have a register")

    def __getitem__(self, name):
        return self._registers[name]

    def __iter__(self):
        return iter(self._registers.values())

    def __len__(self):
        return len(self._registers)

    def __contains__(self, name):
        return name in self._registers

    @property
    def address_width(self):
        """Bits of the smallest byte address that reaches every register; at least 3."""
        return max(3, *(register.offset.bit_length() for register in self))

    def markdown(self):
        """The map as a table for the documents."""
        lines = ["| offset | register | access | bits | field | reset | meaning |",
                 "|---|---|---|---|---|---|---|"]
        for register in self:
            lines.append(f"| `{register.offset:#05x}` | **{register.name}** | "
                         f"{register.access.value} | | | | {register.doc} |")
            position = 0
            for field in register.fields:
                top = position + field.width - 1
                bits = f"{position}" if field.width == 1 else f"{top}:{position}"
                lines.append(f"| | | | {bits} | `{field.name}` | {field.reset:#x} | {field.doc} |")
                position += field.width
        return "\n".join(lines) + "\n"


def _members_of(register):
    """Members that a register adds to the block, as ``{name: wiring member}``."""
    name, layout = register.member, register.layout
    match register.access:
        case Access.READ_WRITE:
            init = {field.name: field.reset for field in register.fields}
            return {name: Out(layout, init=init)}
        case Access.READ_ONLY:
            return {name: In(layout)}
        case Access.WRITE_ONE_TO_CLEAR:
            return {name: Out(layout), f"{name}_set": In(layout)}
        case Access.WRITE_PULSE:
            return {name: Out(layout), f"{name}_stb": Out(1)}


class AxiLiteRegisters(wiring.Component):
    """The registers of a map, behind AXI4-Lite.

    All outputs of the bus are registers, so no path runs through it. One access at a time is in
    progress in each direction; reads and writes do not wait for each other. Address and data of a
    write may come in any order. WSTRB is honoured byte by byte; WRITE_PULSE acts only if at least
    one strobe is set, and bytes without a strobe are then 0. An address where there is no register
    is answered with DECERR, reads as 0 and changes nothing. Writing a READ_ONLY register, and
    reading a WRITE_PULSE one (as 0), is OKAY and without effect.

    Latency: the response is valid 2 cycles after the (later) request has been accepted.
    Throughput: one read and one write in 2 cycles.

    Parameters
    ----------
    map : :class:`RegisterMap`
    address_width : :class:`int`
        Bits of the byte address; all of them are decoded but the lowest two. The default is the
        least that reaches every register.

    Members
    -------
    bus : ``In(AxiLiteSignature(address_width))``
        From the host.
    <name> : ``Out(layout)`` of a READ_WRITE register NAME
        Its value.
    <name> : ``In(layout)`` of a READ_ONLY register
        What the host reads.
    <name>_set : ``In(layout)`` of a WRITE_ONE_TO_CLEAR register
        Events. A bit that is high in a cycle sets the sticky bit, also if the host clears it in
        the same cycle.
    <name> : ``Out(layout)`` of a WRITE_ONE_TO_CLEAR register
        The sticky bits.
    <name>, <name>_stb : ``Out(layout)``, ``Out(1)`` of a WRITE_PULSE register
        The strobe is high for one cycle after a write; the value is valid in that cycle.

    Raises
    ------
    :exc:`TypeError`
        If the map is not a RegisterMap.
    :exc:`ValueError`
        If the address is too narrow.
    """

    def __init__(self, map, *, address_width=None):
        if not isinstance(map, RegisterMap):
            raise TypeError(f"Map must be a RegisterMap, not {map!r}")
        if address_width is None:
            address_width = map.address_width
        if address_width < map.address_width:
            raise ValueError(f"Address width must be at least {map.address_width} to reach every "
                             f"register, not {address_width!r}")
        self._map = map
        members = {"bus": In(AxiLiteSignature(address_width))}
        for register in map:
            members.update(_members_of(register))
        super().__init__(members)

    @property
    def map(self):
        """The registers."""
        return self._map

    def elaborate(self, platform):
        m = Module()
        self._elaborate_write(m)
        self._elaborate_read(m)
        return m

    def _elaborate_write(self, m):
        bus = self.bus
        address_held = Signal()
        data_held = Signal()
        address = Signal.like(bus.awaddr, reset_less=True)
        word = Signal(WORD_BITS, reset_less=True)
        mask = Signal(WORD_BITS, reset_less=True)
        m.d.comb += [bus.awready.eq(~address_held), bus.wready.eq(~data_held)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), address_held.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_held.eq(1), word.eq(bus.wdata),
                         mask.eq(Cat(strobe.replicate(8) for strobe in bus.wstrb))]

        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        for register in self._map:
            if register.access is Access.WRITE_PULSE:
                m.d.sync += getattr(self, f"{register.member}_stb").eq(0)
            if register.access is Access.WRITE_ONE_TO_CLEAR:
                sticky = getattr(self, register.member).as_value()
                m.d.sync += sticky.eq(sticky | getattr(self, f"{register.member}_set").as_value())
        with m.If(address_held & data_held & (~bus.bvalid | bus.bready)):
            m.d.sync += [address_held.eq(0), data_held.eq(0),
                         bus.bvalid.eq(1), bus.bresp.eq(Response.OKAY)]
            with m.Switch(address[2:]):
                for register in self._map:
                    with m.Case(register.offset // WORD_BYTES):
                        self._write_register(m, register, word, mask)
                with m.Default():
                    m.d.sync += bus.bresp.eq(Response.DECERR)

    def _write_register(self, m, register, word, mask):
        if register.access is Access.READ_ONLY:
            return
        value = getattr(self, register.member).as_value()
        match register.access:
            case Access.READ_WRITE:
                m.d.sync += value.eq((value & ~mask) | (word & mask))
            case Access.WRITE_ONE_TO_CLEAR:
                events = getattr(self, f"{register.member}_set").as_value()
                m.d.sync += value.eq((value & ~(word & mask)) | events)
            case Access.WRITE_PULSE:
                m.d.sync += [value.eq(word & mask),
                             getattr(self, f"{register.member}_stb").eq(mask.any())]

    def _elaborate_read(self, m):
        bus = self.bus
        address_held = Signal()
        address = Signal.like(bus.araddr, reset_less=True)
        m.d.comb += bus.arready.eq(~address_held)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [address.eq(bus.araddr), address_held.eq(1)]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(address_held & (~bus.rvalid | bus.rready)):
            m.d.sync += [address_held.eq(0), bus.rvalid.eq(1), bus.rdata.eq(0),
                         bus.rresp.eq(Response.OKAY)]
            with m.Switch(address[2:]):
                for register in self._map:
                    with m.Case(register.offset // WORD_BYTES):
                        if register.access is not Access.WRITE_PULSE:
                            m.d.sync += bus.rdata.eq(getattr(self, register.member).as_value())
                with m.Default():
                    m.d.sync += bus.rresp.eq(Response.DECERR)
