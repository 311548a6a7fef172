"""Rewrites Verilog so that Verilator makes small and fast C++ of it."""

import re
from collections import Counter

from dfx_rtl.verilog import parse_modules

__all__ = ["SHARING_FLAGS", "set_constants", "share_modules", "skip_inputs",
           "split_concatenations"]

#: Instances from which on the code of a module is shared.
_INSTANCES = 8
#: What Verilator must leave alone for that: this optimisation names its values over the whole
#: design, and functions that differ in a name are not merged.
SHARING_FLAGS = ("-fno-dfg",)
#: Bits from which on a concatenation is taken apart.
_WIDE = 2048

_NAME = r"(?:\\\S+ |\w+)"
_INPUT = re.compile(rf"(?m)^(  input (?:\[\d+:0\] )?(?!\w*clk\b){_NAME});$")
_CONSTANT = re.compile(r"(?m)^  always @\*\n(?=    [^\n]+ = \d+'h[0-9a-f]+;\n)")
_ASSIGNMENT = re.compile(r"(?m)^  assign [^\n]*\{[^\n]*;$")
_CONCATENATION = re.compile(r"\{ ([^{}]*) \}")
_PIECE = re.compile(rf"{_NAME}\s*\[(\d+)(?::(\d+))?\]|(\d+)'h[0-9a-f]+")


def set_constants(text):
    """Let bits that never change have their value from the start.

    Yosys writes a process without inputs for them, which by the standard never runs.
    """
    return _CONSTANT.sub("  initial\n", text)


def _width(piece):
    """Bits of a piece that ``_PIECE`` has found."""
    high, low, constant = (group and int(group) for group in piece.groups())
    return constant or (1 if low is None else high - low + 1)


def split_concatenations(text):
    """Assign long concatenations piece by piece, to a wire that stands for them.

    Verilator builds a concatenation of n pieces in n steps, each of which copies all that it has:
    the transposed tile of 1024 values took longer than anything else.
    """
    count = 0

    def split(assignment):
        lines = []

        def stand_in(found):
            nonlocal count
            pieces = [_PIECE.fullmatch(piece) for piece in found[1].split(", ")]
            if None in pieces or sum(map(_width, pieces)) < _WIDE:
                return found[0]
            count += 1
            wire = f"\\concatenation${count} "
            lines.append(f"  wire [{sum(map(_width, pieces)) - 1}:0] {wire};\n")
            low = 0
            for piece in reversed(pieces):
                lines.append(f"  assign {wire}[{low + _width(piece) - 1}:{low}] = {piece[0]};\n")
                low += _width(piece)
            return wire

        line = _CONCATENATION.sub(stand_in, assignment[0])
        return "".join([*lines, line])

    return _ASSIGNMENT.sub(split, text)


def share_modules(text):
    """Mark modules with many instances, so that Verilator emits each of their functions once.

    Verilator would put the code of all modules into one class; 16 lanes and 32 memory channels
    would then be 48 copies, which take minutes to compile and do not fit in the caches of a
    processor. A marked module stays a class, and its inputs are variables of it: otherwise its
    functions would read the variables of the parent, and each instance needed its own.

    Parameters
    ----------
    text : str
        Verilog as :func:`dfx_rtl.verilog.convert` returns it.

    Returns
    -------
    str, bool
        The Verilog, and whether there are such modules: then :data:`SHARING_FLAGS` and
        :func:`skip_inputs` are needed.
    """
    modules = parse_modules(text)
    count = Counter(child for module in modules for _, child in module.children)
    shared = [name for name, instances in count.items() if instances >= _INSTANCES]
    for name in shared:
        start = text.index(f"\nmodule {name} (")
        body = text.index(");\n", start) + len(");\n")
        end = text.index("\nendmodule", body)
        inputs = _INPUT.sub(r"\1 /*verilator public_flat_rw*/;", text[body:end])
        text = f"{text[:body]}  /*verilator no_inline_module*/\n{inputs}{text[end:]}"
    return text, bool(shared)


def skip_inputs(code):
    """Take out of the C++ what Verilator evaluates in every call, in case an input has changed.

    Nothing depends on an input but registers and clocks (see ``top.py``), but Verilator cannot
    know that nobody writes the inputs of the modules that :func:`share_modules` has marked. Code in
    which the place is not found stays right, and is slower.
    """
    return re.sub(r"(?m)^(void \w+___eval_ico\(\w+\* vlSelf\) \{)$", r"\1\n    return;", code)
