from collections import Counter

import pytest
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.resources import Multiplier, count_resources, declared_ports
from dfx_rtl.verilog import convert, parse_modules


class Unit(wiring.Component):
    """Products of all kinds, a RAM and a ROM."""

    a: In(11)
    b: In(11)
    c: In(signed(12))
    address: In(4)
    write: In(1)
    products: Out(128)
    words: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = memory.Memory(shape=9, depth=16, init=[])
        m.submodules.rom = rom = memory.Memory(shape=7, depth=10, init=[1, 2, 3])
        written, read, constants = ram.write_port(), ram.read_port(), rom.read_port()
        m.d.comb += [
            written.addr.eq(self.address), written.en.eq(self.write), written.data.eq(self.a),
            read.addr.eq(self.address), constants.addr.eq(self.address),
            self.words.eq(Cat(read.data, constants.data)),
            self.products.eq(Cat(self.a * self.b, self.c * self.b, self.a * 5, self.c * self.c,
                                 Cat(self.b, self.a[2:5]) * Cat(self.a, Const(3, 2)))),
        ]
        return m


class Top(wiring.Component):
    """Two of them."""

    a: In(11)
    c: In(signed(12))
    o: Out(144 * 2)

    def elaborate(self, platform):
        m = Module()
        for index in range(2):
            m.submodules[f"unit{index}"] = unit = Unit()
            m.d.comb += [unit.a.eq(self.a), unit.b.eq(~self.a), unit.c.eq(self.c),
                         unit.address.eq(self.a), unit.write.eq(self.a[-1]),
                         self.o.word_select(index, 144).eq(Cat(unit.products, unit.words))]
        return m


@pytest.mark.parametrize("merge", (False, True))
def test_every_instance_counts(merge):
    modules = parse_modules(convert(Top(), "top", merge=merge))
    resources = count_resources(modules, "top")
    assert Counter((item.path, item.size) for item in resources.multipliers) == {
        ((unit,), size): 1 for unit in ("unit0", "unit1")
        for size in ("11u x 11u", "12s x 11u", "12s x 12s", "14u x 13u")}
    assert sorted((item.path[0], item.name, item.depth, item.width, item.bits, item.written)
                  for item in resources.memories) == [
        ("unit0", "ram", 16, 9, 144, True), ("unit0", "rom", 10, 7, 70, False),
        ("unit1", "ram", 16, 9, 144, True), ("unit1", "rom", 10, 7, 70, False)]
    assert resources.constant_products == {("unit0",): 1, ("unit1",): 1}


def test_ports():
    top = parse_modules(convert(Top(), "top"))[0]
    assert declared_ports(top) == {"a": ("input", 11), "c": ("input", 12),
                                   "o": ("output", 288),
                                   "clk": ("input", 1), "rst": ("input", 1)}


@pytest.mark.parametrize("widths, signed, dsps", [
    ((12, 11), (True, False), 1),
    ((27, 18), (True, True), 1),
    ((26, 17), (False, False), 1),
    ((18, 27), (True, True), 1),
    ((27, 17), (False, False), 2),
    ((24, 24), (False, False), 2),
    ((97, 17), (False, False), 4),
    ((53, 53), (False, False), 12),
])
def test_digits_of_a_wide_product(widths, signed, dsps):
    assert Multiplier((), widths, signed).dsps == dsps
