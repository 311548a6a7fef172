"""The comparison of the RTL with the numpy machine, write by write, as they happen."""

from functools import partial

import numpy as np

from dfx_rtl.model.cluster import Cluster
from dfx_rtl.model.machine import Machine
from dfx_rtl.model.trace import CacheWrite, LogitsWrite, ScalarWrite, TokenWrite, VectorWrite

__all__ = ["Check", "Difference"]


class Difference(AssertionError):
    """The RTL wrote something else than the numpy machine."""


class Check:
    """Compares every write of a core, or of a ring's, with what the numpy machine writes.

    A write is found by its key: core, position, layer, instruction and register or memory element.
    The order of the units is free, so the machine runs as far ahead as the cores' writes ask for.

    Parameters
    ----------
    compiled : CompiledModel or list of CompiledModel
        What both execute; the models of all cores of a ring, in their order.
    prompt : list of int
        Token ids.
    output_count : int
        Tokens to generate.
    first_position : int
        Where the core begins; the machine begins at 0.

    Attributes
    ----------
    machine : Machine or Cluster
        The numpy machine, a Cluster for a ring; until the first :meth:`observe` it stands before
        ``first_position``.
    count : int
        Writes that were compared and found equal.

    Raises
    ------
    Difference
        From :meth:`observe` and :meth:`finish`.
    """

    def __init__(self, compiled, prompt, output_count, *, first_position=0):
        self.count = 0
        self._models = compiled if isinstance(compiled, list) else [compiled]
        self._config = self._models[0].config
        self._expected = {}
        self._last_position = 0
        self._ended = False
        self._first_position = first_position
        if len(self._models) > 1:
            self.machine = Cluster(self._models, on_write=self._expect)
        else:
            self.machine = Machine(self._models[0], on_write=partial(self._expect, 0))
        if first_position:
            self.machine.run(prompt[:first_position], 0)
        self._tokens = self.machine.generate(prompt, output_count, first_position=first_position)

    def _expect(self, core, write):
        tag = core, *write.tag
        position = write.tag.position
        if position < self._first_position:
            return
        self._last_position = max(self._last_position, position)
        match write:
            case VectorWrite():
                self._expected[tag, "chunk", write.chunk] = _bits(write.values, 16)
            case ScalarWrite():
                self._expected[tag, "scalar", write.scalar] = write.bits
            case CacheWrite():
                for offset, value in enumerate(write.values.tolist()):
                    self._expected[tag, "tile", (write.tile, write.element + offset)] = value
            case LogitsWrite():
                lanes = self._config.lanes
                values = np.zeros(-(-len(write.bits) // lanes) * lanes, np.uint32)
                values[:len(write.bits)] = write.bits
                for group, part in enumerate(values.reshape(-1, lanes)):
                    self._expected[tag, "logits of group", group] = _bits(part, 32)
            case TokenWrite():
                self._expected[tag, "token", 0] = write.token

    def observe(self, kind, write):
        """Compare one write; the observer of an engine."""
        tag = write["tag"]
        tag = (write["core"], tag.position, tag.layer, tag.instruction)
        match kind:
            case "vector":
                self._compare(tag, "chunk", write["address"], write["data"].as_bits())
            case "scalar":
                self._compare(tag, "scalar", write["address"], write["data"].as_bits())
            case "store":
                self._compare_store(tag, write["write"])
            case "logits":
                self._compare(tag, "logits of group", write["group"], write["values"].as_bits())
            case "token":
                self._compare(tag, "token", 0, write["id"])

    def _compare_store(self, tag, write):
        word_elements = self._config.word_bits // 16
        strobe, data = write.strobe, write.data
        for index in range(word_elements):
            if strobe >> 2 * index & 3:
                element = write.channel * word_elements + index
                self._compare(tag, "tile", (write.tile, element), data >> 16 * index & 0xFFFF)

    def _compare(self, tag, what, where, found):
        key = tag, what, where
        while key not in self._expected and not self._ended:
            self._ended = next(self._tokens, None) is None
        if key not in self._expected:
            # After an early end the units may have begun the next token.
            if self._ended and tag[1] > self._last_position:
                return
            raise Difference(f"{self._name(tag)}: {what} {where} is written, "
                             f"which the numpy machine does not do")
        expected = self._expected.pop(key)
        if expected != found:
            raise Difference(f"{self._name(tag)}: {what} {where}: expected {expected:#x}, "
                             f"found {found:#x}")
        self.count += 1

    def _name(self, tag):
        core, position, layer, address = tag
        of_core = f"core {core}, " if len(self._models) > 1 else ""
        return (f"{of_core}position {position}, layer {layer}, instruction {address} "
                f"({self._models[core].instructions[address]})")

    def finish(self, result):
        """At the end of the run: every write of the machine has happened, its flags are the same.

        Parameters
        ----------
        result : Result
            Of the simulation.
        """
        for _ in self._tokens:
            pass
        if self._expected:
            tag, what, where = next(iter(self._expected))
            raise Difference(f"{self._name(tag)}: {what} {where} was not written "
                             f"({len(self._expected)} writes are missing)")
        machines = getattr(self.machine, "machines", [self.machine])
        for core, (machine, outcome) in enumerate(zip(machines, result.cores, strict=True)):
            for name in ("overflow", "invalid"):
                expected, found = getattr(machine.flags, name), getattr(outcome, name)
                if expected != found:
                    of_core = f"core {core}, " if len(machines) > 1 else ""
                    raise Difference(f"{of_core}flag {name}: expected {expected}, found {found}")


def _bits(values, width):
    """Values as one integer, the first in the lowest bits."""
    return int.from_bytes(np.ascontiguousarray(values, f"<u{width // 8}").tobytes(), "little")
