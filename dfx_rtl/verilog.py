"""Verilog text of a design: modules that differ in nothing but their names are emitted once.

Amaranth emits a module for each submodule, so 16 lanes are 16 modules. One module with 16
instances is what a person would have written, and what a simulator and a synthesis tool read in a
fraction of the time.
"""

import gc
import re
from dataclasses import dataclass, field

from amaranth.back import verilog

__all__ = ["convert", "merge_modules", "parse_modules", "repair_modules", "VerilogModule"]

_NAME = r"(?:\\\S+|[A-Za-z_]\w*)"
_MODULE = re.compile(rf"(?ms)^((?:\(\*[^\n]*\*\)\n)*)module ({_NAME})\s*\((.*?)\);\n"
                     r"(.*?)^endmodule$")
_INSTANCE = re.compile(rf"(?m)^  ({_NAME})\s+(?:#\(|{_NAME}\s*\()")
_CONNECTION = re.compile(rf"(?m)^(    \.)({_NAME})(?=\s*\()")
# The register with which Yosys wakes processes.
_WAKE = re.compile(r"  reg (\\\$auto\S+)  = 0;")
# Names that the tools make up, with numbers that count over the whole design: those of nets that
# enter a module without having a name in it, and those of Yosys.
_NUMBERED = re.compile(r"\\(port)\$\d+\$\d+(?:\$\d+)?(?=\s)|\\(\$auto)\$[^\s:]*:\S+")


@dataclass
class VerilogModule:
    """A module of Verilog text as Yosys writes it.

    Attributes
    ----------
    name : str
        As in the text: with its backslash, if it has one.
    attributes : str
        The lines before ``module``.
    ports : list of str
        The port list.
    items : list of str
        Declarations, assignments, processes and instances: whole lines.
    children : list of (int, str)
        Item and module name of each instance of a module of the same text.
    """

    name: str
    attributes: str
    ports: list[str]
    items: list[str]
    children: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self):
        # A backslashed name ends with a space.
        ports = ", ".join(f"{port} " if port.startswith("\\") else port for port in self.ports)
        return f"{self.attributes}module {self.name} ({ports});\n{''.join(self.items)}endmodule\n"


def _items(body):
    """The items of a module's body: an item goes on where a line is indented deeper, or ends it."""
    items, attributes = [], False
    for line in body.splitlines(keepends=True):
        continues = attributes or not line.startswith("  ") or line.startswith("   ") \
            or re.match(r"  (end\b|\);|\) )", line)
        if continues and items:
            items[-1] += line
        else:
            items.append(line)
        attributes = line.startswith("  (*") and line.endswith("*)\n")
    return items


def parse_modules(text):
    """The modules of a Verilog text as Yosys writes it, in their order, as
    :class:`VerilogModule`."""
    modules = []
    for attributes, name, ports, body in _MODULE.findall(text):
        modules.append(VerilogModule(name, attributes, re.findall(_NAME, ports), _items(body)))
    names = {module.name for module in modules}
    for module in modules:
        for index, item in enumerate(module.items):
            found = _INSTANCE.search(item)
            if found and found[1] in names:
                module.children.append((index, found[1]))
    return modules


def _joined(text, modules):
    """The text of modules, after what stands before the first module of ``text``."""
    first = _MODULE.search(text)
    return text[:first.start() if first else None] + "\n".join(map(str, modules))


def _bottom_up(modules):
    """Names of the modules, each after its children."""
    order = {}

    def visit(name):
        if name not in order:
            for _, child in modules[name].children:
                visit(child)
            order[name] = None

    for name in modules:
        visit(name)
    return order


def _renumbered(module):
    """New names for the numbered names of a module, in the order of their numbers."""
    found = {name[0]: name[1] or name[2] for item in module.items
             for name in _NUMBERED.finditer(item)}
    order = sorted(found, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    return {name: f"\\{found[name]}$${index + 1}" for index, name in enumerate(order)}


def _connected(instance, renamed):
    """An instance with new names of its module's ports. Yosys sorts them by name, and so do we."""
    head, start, connections = instance.rpartition("(\n")
    connections = connections.removesuffix("\n  );\n")
    lines = sorted(_CONNECTION.sub(lambda found: found[1] + renamed.get(found[2], found[2]), line)
                   for line in connections.split(",\n"))
    return head + start + ",\n".join(lines) + "\n  );\n"


def merge_modules(text):
    """The same design with one module where there were several that are equal but for their names.

    Works from the leaves up, so that modules whose children are equal are found too. Of equal
    modules the first in the text stays, with its name. Names that the tools number over the whole
    design are numbered anew in each module. A module that nobody instantiates stays as it is named.
    Merging twice changes nothing.

    Parameters
    ----------
    text : str
        Verilog as ``amaranth.back.verilog`` writes it.

    Returns
    -------
    str
    """
    modules = {module.name: module for module in parse_modules(text)}
    place = {name: index for index, name in enumerate(modules)}
    # For each module: the one that stands for it, and the new names of its ports.
    stands_for, renamed = {}, {}
    groups = {}
    for name in _bottom_up(modules):
        module = modules[name]
        for index, child in module.children:
            item = _connected(module.items[index], renamed[child])
            # The module's name comes first in the item.
            module.items[index] = item.replace(child, f"\0{groups[stands_for[child]][0]}\0", 1)
        renamed[name] = names = _renumbered(module)
        module.items = [_NUMBERED.sub(lambda found, names=names: names[found[0]], item)
                        for item in module.items]
        module.ports = [names.get(port, port) for port in module.ports]
        # Neither ports nor items mean anything by their order.
        key = (module.attributes, tuple(sorted(module.ports)), tuple(sorted(module.items)))
        number, members = groups.setdefault(key, (len(groups), []))
        members.append(name)
        stands_for[name] = key
    kept = {number: min(members, key=place.get) for number, members in groups.values()}
    instantiated = {child for module in modules.values() for _, child in module.children}
    for module in modules.values():
        for index, _ in module.children:
            module.items[index] = re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])],
                                         module.items[index])
    keep = set(kept.values()) | (set(modules) - instantiated)
    return _joined(text, [module for name, module in modules.items() if name in keep])


def _repaired(module):
    """A module's items without two oddities of Yosys.

    A wire of no bits is declared ``[-1:0]``, which Verilog takes for two bits; nothing reads it.
    A process that reads nothing never runs in an event-driven simulator, so what it sets would be
    X there. Yosys wakes its other processes with a register that is never written; this one too.
    """
    items = [item for item in module.items if not item.startswith("  wire [-1:0]")]
    woken = [index for index, item in enumerate(items) if item.startswith("  always @*\n")
             and re.fullmatch(r"    \S.* = \d+'[dh][0-9a-f]+;\n", item.partition("\n")[2])]
    if woken:
        wake = next((found[1] for item in items if (found := _WAKE.match(item))), None)
        if wake is None:
            wake = "\\$auto:wake$0"
            items.insert(0, f"  reg {wake}  = 0;\n")
            woken = [index + 1 for index in woken]
        for index in woken:
            assignment = items[index].partition("\n")[2]
            items[index] = f"  always @* begin\n    if ({wake} ) begin end\n{assignment}  end\n"
    return items


def repair_modules(text):
    """The same design without two oddities of Yosys: wires of no bits, and processes that an
    event-driven simulator would never run.

    Repairing twice changes nothing.

    Parameters
    ----------
    text : str
        Verilog as ``amaranth.back.verilog`` writes it, also through a platform.

    Returns
    -------
    str
    """
    modules = parse_modules(text)
    for module in modules:
        module.items = _repaired(module)
    return _joined(text, modules)


#: What Yosys writes for an assertion: the message if it does not hold, and itself.
_ASSERTION = re.compile(r"^ *if \(!.*\)\n *\$write\(.*\);\n *assert \(.*\);\n", re.MULTILINE)


def convert(elaboratable, name, *, ports=None, merge=True, assertions=False):
    """The Verilog of a design, without the source locations of this machine.

    Parameters
    ----------
    elaboratable
        The design.
    name : str
        The top module.
    ports : dict, optional
        As of ``amaranth.back.verilog.convert``; a component does without.
    merge : bool
        Emit equal modules once; see :func:`merge_modules`.
    assertions : bool
        Keep assertions, which are SystemVerilog: for a simulator.

    Returns
    -------
    str
    """
    # Millions of objects that live to the end: looking for garbage among them takes a third of
    # the time, and finds none.
    collects = gc.isenabled()
    gc.disable()
    try:
        text = verilog.convert(elaboratable, name=name, ports=ports, emit_src=False,
                               strip_internal_attrs=True)
    finally:
        if collects:
            gc.enable()
    text = repair_modules(text)
    if not assertions:
        text = _ASSERTION.sub("", text)
    return merge_modules(text) if merge else text
