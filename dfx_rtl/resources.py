"""Memories and multipliers of a design, counted in its Verilog."""

import re
from collections import Counter
from dataclasses import dataclass

__all__ = ["Memory", "Multiplier", "Resources", "count_resources", "declared_ports"]

_IDENTIFIER = r"(?:\\\S+|[A-Za-z_][\w$]*)"
_MEMORY = re.compile(rf"(?m)^  reg (?:\[(\d+):0\] )?({_IDENTIFIER})\s+\[(\d+):0\];")
_SIGNAL = re.compile(rf"(?m)^  (?:wire|reg|input|output) (?:\[(\d+):0\] )?({_IDENTIFIER})")
_PORT = re.compile(rf"(?m)^  (input|output) (?:\[(\d+):0\] )?({_IDENTIFIER})\s*;")
_PRODUCT = re.compile(r"  assign .*? = (\S.*) \* (\S.*);")
_CONSTANT = re.compile(r"(\d+)'s?h[0-9a-f]+")
_CONSTANT_FACTOR = re.compile(r"(?:\$signed\()?\d+'s?h[0-9a-f]+\)?")

# A DSP48E2 multiplies 27 by 18 bits with their signs; a wider product is cut into digits of one
# bit less, but for the highest.
_DSP_DIGITS = (26, 17)


@dataclass(frozen=True, order=True)
class Memory:
    """A memory: the instances on the way to it, its depth in words, its width in bits."""

    path: tuple[str, ...]
    name: str
    depth: int
    width: int
    written: bool

    @property
    def bits(self):
        """Bits of it."""
        return self.depth * self.width


@dataclass(frozen=True, order=True)
class Multiplier:
    """A multiplication of two signals: the instances on the way to it, and both widths."""

    path: tuple[str, ...]
    widths: tuple[int, int]
    signed: tuple[bool, bool]

    @property
    def size(self):
        """Both factors, ``s`` for a signed one, ``u`` for an unsigned one."""
        return " x ".join(f"{width}{'s' if signed else 'u'}"
                          for width, signed in zip(self.widths, self.signed, strict=True))

    @property
    def dsps(self):
        """DSP48E2 that it takes, cut into digits: an estimate."""
        # Without the sign, which the highest digit has room for.
        a, b = (width - 1 if signed else width
                for width, signed in zip(self.widths, self.signed, strict=True))
        large, small = _DSP_DIGITS
        return min(-(-a // large) * -(-b // small), -(-b // large) * -(-a // small))


@dataclass(frozen=True)
class Resources:
    """What :func:`count_resources` found: memories, multipliers, and products with a constant."""

    memories: list[Memory]
    multipliers: list[Multiplier]
    constant_products: Counter


def declared_ports(module):
    """Direction and width of each port of a module, by name."""
    ports = {}
    for item in module.items:
        found = _PORT.search(item)
        if found:
            ports[found[3]] = (found[1], int(found[2] or 0) + 1)
    return ports


class _Module:
    """Memories and multipliers that stand in a module itself."""

    def __init__(self, module):
        self._widths = {}
        for item in module.items:
            found = _SIGNAL.search(item)
            if found:
                self._widths[found[2]] = int(found[1] or 0) + 1
        self.memories = []
        self.multipliers = []
        self.constants = 0
        body = "".join(item for item in module.items if item.startswith("  always"))
        for item in module.items:
            if found := _MEMORY.search(item):
                written = re.search(rf"{re.escape(found[2])}\s*\[[^;\n]*?\]\s*(\[[^;\n]*\])?\s*<= ",
                                    body)
                self.memories.append((found[2].lstrip("\\"), int(found[3]) + 1,
                                      int(found[1] or 0) + 1, bool(written)))
            elif found := _PRODUCT.match(item):
                if any(map(_CONSTANT_FACTOR.fullmatch, found.groups())):
                    self.constants += 1
                else:
                    factors = [self._factor(text.strip()) for text in found.groups()]
                    factors.sort(reverse=True)
                    self.multipliers.append(tuple(zip(*factors, strict=True)))

    def _factor(self, text):
        """Width and sign of a factor; a zero in front of an unsigned one does not count."""
        if text.startswith("$signed("):
            inner = text[len("$signed("):-1].strip()
            zero = re.fullmatch(r"\{ 1'h0, (.*) \}", inner)
            return (self._width(zero[1]), False) if zero else (self._width(inner), True)
        return self._width(text), False

    def _width(self, text):
        """Width of an expression as Yosys writes them: names, parts, constants, joined."""
        text = text.strip()
        if text.startswith("{"):
            text = text[1:-1].strip()
        total, rest = 0, text
        while rest:
            if found := _CONSTANT.match(rest):
                total += int(found[1])
            elif found := re.match(rf"({_IDENTIFIER})\s*\[(\d+)(?::(\d+))?\]", rest):
                total += int(found[2]) - int(found[3] or found[2]) + 1
            elif found := re.match(_IDENTIFIER, rest):
                total += self._widths[found[0]]
            else:
                raise ValueError(f"the factor {text!r} cannot be measured")
            rest = rest[found.end():].lstrip(", ")
        return total


def _instances(module):
    """Instance name and module of each child."""
    for index, child in module.children:
        # The name of the module, perhaps parameters, the name of the instance.
        name = re.search(rf"({_IDENTIFIER})\s*\(\n", module.items[index])
        yield name[1].lstrip("\\"), child


def count_resources(modules, top):
    """The memories and multipliers in all instances of a design.

    Parameters
    ----------
    modules : list of VerilogModule
        The design.
    top : str
        Its top module.

    Returns
    -------
    Resources
        Products with a constant are counted by the path of instances; they take no multiplier.
    """
    modules = {module.name: module for module in modules}
    own = {name: _Module(module) for name, module in modules.items()}
    memories, multipliers, constants = [], [], Counter()

    def visit(name, path):
        module = own[name]
        memories.extend(Memory(path, *memory) for memory in module.memories)
        multipliers.extend(Multiplier(path, *product) for product in module.multipliers)
        if module.constants:
            constants[path] += module.constants
        for instance, child in _instances(modules[name]):
            visit(child, (*path, instance))

    visit(top, ())
    return Resources(memories, multipliers, constants)
