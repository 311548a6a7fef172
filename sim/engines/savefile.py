"""A GTKWave save file for a VCD that Verilator wrote: the units of the block diagram as groups."""

import re

from vcd.gtkw import GTKWSave

__all__ = ["write_save_file"]

_SCOPE = re.compile(r"\s*\$scope \w+ (\S+) \$end")
_VARIABLE = re.compile(r"\s*\$var \w+\s+\d+ \S+ (\S+)\s*(\[\S+\])? \$end")


def _variables(path):
    """Scope and name of each variable of a VCD."""
    scope = []
    with path.open() as file:
        for line in file:
            if found := _SCOPE.match(line):
                scope.append(found[1])
            elif found := _VARIABLE.match(line):
                yield tuple(scope), found[1] + (found[2] or "")
            elif "$upscope" in line:
                scope.pop()
            elif "$enddefinitions" in line:
                return


def write_save_file(path, units):
    """Write a save file beside a VCD, with the suffix ``.gtkw``.

    Parameters
    ----------
    path : pathlib.Path
        The VCD.
    units : iterable of str
        Scopes inside ``core``; the signals of each become a group.
    """
    groups = {unit: [] for unit in units}
    for scope, name in _variables(path):
        if scope[-2:-1] == ("core",) and scope[-1] in groups:
            groups[scope[-1]].append(".".join([*scope, name]))
    with path.with_suffix(".gtkw").open("w") as file:
        save = GTKWSave(file)
        save.dumpfile(str(path))
        for unit, names in groups.items():
            with save.group(unit, closed=True):
                for name in sorted(set(names)):
                    save.trace(name)
