import gc
import re

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.verilog import convert, merge_modules, parse_modules, repair_modules


class Leaf(wiring.Component):
    """A register behind an exclusive or with a constant."""

    def __init__(self, constant):
        self._constant = constant
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i ^ self._constant)
        return m


class Pair(wiring.Component):
    """Two leaves in a row, and bits between them that have no name of their own."""

    def __init__(self, *constants):
        self._constants = constants
        super().__init__({"i": In(16), "o": Out(8), "all": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Leaf(self._constants[0])
        m.submodules.second = second = Leaf(self._constants[1])
        m.d.comb += [first.i.eq(Cat(self.i[3:7], self.i[8:12] + 1)),
                     second.i.eq(Cat(first.o[:4], first.o[4:] + 1)),
                     self.o.eq(second.o), self.all.eq(~(self.i[:4] == 15))]
        return m


class Top(wiring.Component):
    """Pairs side by side."""

    def __init__(self, *pairs):
        self._pairs = pairs
        super().__init__({"i": In(16 * len(pairs)), "o": Out(9 * len(pairs))})

    def elaborate(self, platform):
        m = Module()
        for index, constants in enumerate(self._pairs):
            m.submodules[f"pair{index}"] = pair = Pair(*constants)
            m.d.comb += [pair.i.eq(self.i.word_select(index, 16)),
                         self.o.word_select(index, 9).eq(Cat(pair.o, pair.all))]
        return m


def names(text):
    return [module.name for module in parse_modules(text)]


def expanded(text, top="top"):
    """The design without modules: what stands in each, in place of its instances."""
    modules = {module.name: module for module in parse_modules(text)}

    def expand(name):
        module = modules[name]
        children = dict(module.children)
        own = sorted(re.sub(r"\$auto\S+", "", item) for index, item in enumerate(module.items)
                     if index not in children)
        return own, [(re.findall(r"\((?!\n).*\)", module.items[index]), expand(child))
                     for index, child in module.children]

    return expand(top)


def test_parse():
    text = convert(Top((1, 2)), "top", merge=False)
    modules = {module.name: module for module in parse_modules(text)}
    assert list(modules) == ["top", r"\top.pair0", r"\top.pair0.first", r"\top.pair0.second"]
    assert [name for _, name in modules["top"].children] == [r"\top.pair0"]
    assert [name for _, name in modules[r"\top.pair0"].children] == [
        r"\top.pair0.first", r"\top.pair0.second"]
    assert set(modules["top"].ports) == {"clk", "rst", "i", "o"}
    assert parse_modules("".join(map(str, modules.values()))) == list(modules.values())


def test_equal_modules_are_merged_from_the_leaves_up():
    text = convert(Top(*[(1, 2)] * 12), "top", merge=False)
    assert len(names(text)) == 1 + 12 * 3
    merged = merge_modules(text)
    assert names(merged) == ["top", r"\top.pair0", r"\top.pair0.first", r"\top.pair0.second"]
    instances = [name for module in parse_modules(merged) for _, name in module.children]
    assert instances == [r"\top.pair0"] * 12 + [r"\top.pair0.first", r"\top.pair0.second"]
    assert expanded(merged) == expanded(merge_modules(convert(
        Top(*[(1, 2)] * 12), "top", merge=False)))
    assert merge_modules(merged) == merged


def test_modules_that_differ_stay():
    text = convert(Top((1, 2), (1, 3), (4, 2)), "top")
    pairs = [name for name in names(text) if name.count(".") == 1]
    leaves = [name for name in names(text) if name.count(".") == 2]
    assert pairs == [r"\top.pair0", r"\top.pair1", r"\top.pair2"]
    assert leaves == [r"\top.pair0.first", r"\top.pair0.second", r"\top.pair1.second",
                      r"\top.pair2.first"]


def test_ports_without_a_name_are_connected_by_their_new_names():
    text = convert(Top(*[(1, 2)] * 3), "top")
    modules = {module.name: module for module in parse_modules(text)}
    for module in modules.values():
        for index, child in module.children:
            connected = re.findall(r"(?m)^    \.(\\\S+|\w+)", module.items[index])
            assert sorted(connected) == sorted(modules[child].ports)
    assert r"\port$$1" in text and not re.search(r"\\port\$\d", text)


def test_the_text_of_a_design_is_always_the_same():
    assert convert(Top((1, 2), (1, 2)), "top") == convert(Top((1, 2), (1, 2)), "top")


def test_text_without_modules():
    assert merge_modules("/* nothing */\n") == "/* nothing */\n"


@pytest.mark.parametrize("enabled", (True, False))
def test_garbage_collection_is_left_as_it_was(enabled):
    try:
        if not enabled:
            gc.disable()
        convert(Leaf(1), "top")
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_wire_of_no_bits_is_left_out():
    class Empty(wiring.Component):
        i: In(4)
        o: Out(4)

        def elaborate(self, platform):
            m = Module()
            empty = Signal(0)
            m.d.comb += [empty.eq(self.i), self.o.eq(Cat(self.i, empty))]
            return m

    assert "[-1:0]" not in convert(Empty(), "top")


def test_a_process_that_reads_nothing_is_woken():
    class Constant(wiring.Component):
        i: In(1)
        o: Out(6)

        def elaborate(self, platform):
            m = Module()
            with m.If(self.i):
                m.d.comb += self.o[:2].eq(3)
            with m.Else():
                m.d.comb += self.o[2:4].eq(1)
            return m

    text = convert(Constant(), "top")
    processes = re.findall(r"(?m)^  always @\*.*\n.*", text)
    assert processes
    for process in processes:
        assert re.fullmatch(r"  always @\* begin\n    if \(\\\$auto\S+ \) begin end", process)
    assert repair_modules(text) == text


@pytest.mark.parametrize("constant", ["6'h0f", "32'd0"])
def test_constants_of_a_process_that_is_woken(constant):
    """Through a platform, a zero of 32 bits comes in decimal."""
    process = f"  always @*\n    o = {constant};\n"
    text = f"module top(o);\n  output o;\n  reg o;\n{process}endmodule\n"
    repaired = repair_modules(text)
    assert process not in repaired
    assert f"    if (\\$auto:wake$0 ) begin end\n    o = {constant};\n  end\n" in repaired


def test_assertions_are_for_simulators():
    """``assert`` is no word of Verilog; Vivado and Yosys refuse it in a ``.v`` file."""

    class Asserting(wiring.Component):
        i: In(1)
        o: Out(1)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.o.eq(self.i)
            with m.If(self.o):
                m.d.sync += Assert(self.i, "i fell")
            return m

    assert "assert" not in convert(Asserting(), "top")
    assert "i fell" not in convert(Asserting(), "top")
    assert "assert (i)" in convert(Asserting(), "top", assertions=True)
