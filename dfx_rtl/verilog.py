"""Verilog text of a design: modules that differ in nothing but their names are emitted once.

Amaranth emits a module for each submodule, so 16 lanes are 16 modules. One module with 16
instances is what a person would have written, and what a simulator and a synthesis tool read in a
fraction of the time.
"""

import re
from dataclasses import dataclass, field

from amaranth.back import verilog

__all__ = ["convert", "merge_modules", "parse_modules", "VerilogModule"]

_NAME = r"(?:\\\S+|[A-Za-z_]\w*)"
_MODULE = re.compile(rf"(?ms)^((?:\(\*[^\n]*\*\)\n)*)module ({_NAME})\s*\((.*?)\);\n(.*?)^endmodule$")
_INSTANCE = re.compile(rf"({_NAME})\s+(?:#\(|{_NAME}\s*\()")
_CONNECTION = re.compile(rf"(?m)^(    \.)({_NAME})(?=\s*\()")
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
            found = _INSTANCE.match(item.lstrip())
            if found and found[1] in names:
                module.children.append((index, found[1]))
    return modules


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
            ports = renamed[child]
            item = _CONNECTION.sub(lambda found, ports=ports:
                                   found[1] + ports.get(found[2], found[2]), module.items[index])
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
    first = _MODULE.search(text)
    head = text[:first.start()] if first else text
    return head + "\n".join(str(module) for name, module in modules.items() if name in keep)


def convert(elaboratable, name, *, ports=None, merge=True):
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
        Emit equal modules once.

    Returns
    -------
    str
    """
    text = verilog.convert(elaboratable, name=name, ports=ports, emit_src=False,
                           strip_internal_attrs=True)
    return merge_modules(text) if merge else text
