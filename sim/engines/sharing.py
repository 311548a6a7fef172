"""Keeps the code of modules with many instances shared, where Verilator would copy it."""

import re
from collections import Counter

from dfx_rtl.verilog import parse_modules

__all__ = ["SHARING_FLAGS", "share_modules"]

#: Instances from which on the code of a module is shared.
_INSTANCES = 8
#: What Verilator must leave alone for that: this optimisation names its values over the whole
#: design, and functions that differ in a name are not merged.
SHARING_FLAGS = ("-fno-dfg",)
_INPUT = re.compile(r"(?m)^(  input (?:\[\d+:0\] )?(?!\w*clk\b)(?:\\\S+ |\w+));$")


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
        The Verilog, and whether there are such modules: then :data:`SHARING_FLAGS` are needed.
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
