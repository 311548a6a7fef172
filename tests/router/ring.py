"""Routers in a ring with delay lines between them, and what they must do, in Python."""

import random
import struct
from collections import deque
from dataclasses import dataclass, field

from amaranth import *
from amaranth.lib import wiring

from dfx_rtl.isa import Instruction, Opcode
from dfx_rtl.router.layouts import FlitLayout
from dfx_rtl.router.unit import Router


def command(instruction, tag=None):
    """The payload of a router's command."""
    return {"instruction": {"opcode": int(instruction.opcode), **instruction.fields},
            "tag": tag or {"instruction": 0, "layer": 0, "position": 0}, "layer_base": 0}


def key_of(bits):
    """binary32 bits as a number that orders them; None for a NaN."""
    value = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return None if value != value else value


@dataclass
class Sync:
    """A SYNC of all cores: how many chunks each has, and the chunks of the vector."""

    destination: int
    shares: list
    chunks: list

    def own(self, core):
        first = sum(self.shares[:core])
        return range(first, first + self.shares[core])

    def instruction(self, core):
        own = self.own(core)
        return Instruction(Opcode.SYNC, source=self.destination + own.start, chunks=len(own),
                           destination=self.destination, total=len(self.chunks))

    def writes(self, core):
        return {self.destination + index: chunk for index, chunk in enumerate(self.chunks)
                if index not in self.own(core)}


@dataclass
class Best:
    """An ARG_MAX of all cores: (index, binary32 bits, found) of each."""

    tokens: list

    def instruction(self, core):
        return Instruction(Opcode.ARG_MAX)

    def result(self):
        numbers = [(key_of(bits), -index, bits) for index, bits, found in self.tokens
                   if found and key_of(bits) is not None]
        if not numbers:
            return None
        _, index, bits = max(numbers)
        return -index, bits


class Link:
    """A delay line that holds so many flits; nothing is lost or overtakes."""

    def __init__(self, latency, capacity):
        self.latency, self.capacity = latency, capacity
        self.flits = deque()

    def room(self):
        return len(self.flits) < self.capacity

    def put(self, cycle, flit):
        self.flits.append((cycle + self.latency, flit))

    def head(self, cycle):
        return self.flits[0][1] if self.flits and self.flits[0][0] <= cycle else None


class Routers(wiring.Component):
    """The routers by themselves: a bench plays the links."""

    def __init__(self, config, count):
        self.routers = [Router(config) for _ in range(count)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for core, router in enumerate(self.routers):
            m.submodules[f"core{core}"] = router
        return m


@dataclass
class Core:
    """What a core has done, and where it is."""

    writes: list = field(default_factory=list)
    results: list = field(default_factory=list)
    retired: int = 0
    issued: int = 0
    tokens: int = 0
    read: int | None = None
    offered: dict = field(default_factory=dict)


class Ring:
    """Plays everything around the routers; ``stall`` of 256 cycles each thing is withheld."""

    def __init__(self, config, count, operations, *, bidirectional, seed=0, stall=0, latency=(1, 1),
                 capacity=None, run=1, written=0):
        self.dut = Routers(config, count)
        self.flit = FlitLayout(config.tile)
        self.count, self.operations, self.bidirectional = count, operations, bidirectional
        self.rng, self.stall, self.run = random.Random(seed), stall, run
        latencies = [[self.rng.randint(*latency) for _ in range(count)] for _ in range(2)]
        self.links = [[Link(delay, capacity or delay + 2) for delay in way] for way in latencies]
        self.cores = [Core() for _ in range(count)]
        self.cycle = 0
        # When each own chunk is written.
        self.registers = [{} for _ in range(count)]
        for operation in operations:
            if isinstance(operation, Sync):
                for core in range(count):
                    for index in operation.own(core):
                        self.registers[core][operation.destination + index] = (
                            self.rng.randint(0, written), operation.chunks[index])

    def goes(self):
        return self.rng.randrange(256) >= self.stall

    def finished(self):
        return all(core.retired == len(self.operations) for core in self.cores)

    async def testbench(self, ctx):
        for router in self.dut.routers:
            ctx.set(router.core_count, self.count)
            ctx.set(router.bidirectional, self.bidirectional)
            ctx.set(router.run, self.run)
        while not self.finished():
            for number in range(self.count):
                self.drive(ctx, number)
            events = [self.look(ctx, number) for number in range(self.count)]
            await ctx.tick()
            self.cycle += 1
            for number, event in enumerate(events):
                self.move(ctx, number, event)

    def incoming(self, core, way):
        return self.links[way][core - 1 if way == 0 else (core + 1) % self.count]

    def drive(self, ctx, number):
        router, core = self.dut.routers[number], self.cores[number]
        for way in range(2):
            stream = router.receive[way]
            flit = self.incoming(number, way).head(self.cycle)
            # What was offered stays.
            offered = core.offered.get(way) or (flit is not None and self.goes())
            core.offered[way] = offered
            ctx.set(stream.valid, offered)
            if offered:
                ctx.set(stream.payload.as_value(), flit)
            ctx.set(router.send[way].ready,
                    self.links[way][number].room() and self.goes())
        address = ctx.get(router.operand.address)
        time, _ = self.registers[number].get(address, (1 << 30, 0))
        ctx.set(router.operand.ready, time <= self.cycle and self.goes())
        ctx.set(router.vector_write.ready, self.goes())
        ctx.set(router.results.ready, 1)
        if core.issued < len(self.operations):
            offered = core.offered.get("command") or self.goes()
            core.offered["command"] = offered
            ctx.set(router.commands.valid, offered)
            ctx.set(router.commands.payload, command(
                self.operations[core.issued].instruction(number),
                {"instruction": core.issued, "layer": 1, "position": 7}))
        else:
            ctx.set(router.commands.valid, 0)
        tokens = [operation.tokens[number] for operation in self.operations
                  if isinstance(operation, Best)]
        if core.tokens < len(tokens):
            offered = core.offered.get("token") or self.goes()
            core.offered["token"] = offered
            ctx.set(router.tokens.valid, offered)
            index, bits, found = tokens[core.tokens]
            ctx.set(router.tokens.p.id, index)
            ctx.set(router.tokens.p.logit.as_value(), bits)
            ctx.set(router.tokens.p.found, found)
        else:
            ctx.set(router.tokens.valid, 0)

    def look(self, ctx, number):
        """What happens at the next edge; streams must keep what they offer."""
        router, core = self.dut.routers[number], self.cores[number]
        event = {"retired": ctx.get(router.retired)}
        assert not ctx.get(router.fault)
        for way in range(2):
            for name, stream in (("send", router.send[way]), ("receive", router.receive[way])):
                if ctx.get(stream.valid):
                    payload = ctx.get(stream.payload.as_value())
                    event[name, way] = payload if ctx.get(stream.ready) else None
                    if name == "send":
                        self.stable(core, ("send", way), payload, ctx.get(stream.ready))
        if ctx.get(router.operand.valid) and ctx.get(router.operand.ready):
            event["read"] = ctx.get(router.operand.address)
        write = router.vector_write
        if ctx.get(write.valid):
            payload = ctx.get(write.payload.as_value())
            self.stable(core, "write", payload, ctx.get(write.ready))
            if ctx.get(write.ready):
                tag = ctx.get(write.payload.tag)
                core.writes.append((tag.instruction, ctx.get(write.payload.address),
                                    ctx.get(write.payload.data.as_value())))
                assert (tag.layer, tag.position) == (1, 7)
        elif "write" in core.offered:
            raise AssertionError("a write was taken back")
        if ctx.get(router.results.valid):
            result = ctx.get(router.results.payload)
            core.results.append((result.tag.instruction,
                                 (result.id, result.logit.as_bits()) if result.found else None))
        event["token"] = ctx.get(router.tokens.valid) and ctx.get(router.tokens.ready)
        event["command"] = ctx.get(router.commands.valid) and ctx.get(router.commands.ready)
        return event

    def stable(self, core, key, payload, taken):
        assert core.offered.get(key, payload) == payload
        if taken:
            core.offered.pop(key, None)
        else:
            core.offered[key] = payload

    def move(self, ctx, number, event):
        router, core = self.dut.routers[number], self.cores[number]
        for way in range(2):
            if event.get(("send", way)) is not None:
                self.links[way][number].put(self.cycle - 1, event["send", way])
            if event.get(("receive", way)) is not None:
                self.incoming(number, way).flits.popleft()
                core.offered[way] = False
        if "read" in event:
            ctx.set(router.operand.data.as_value(), self.registers[number][event["read"]][1])
        core.retired += event["retired"]
        if event["token"]:
            core.tokens += 1
            core.offered["token"] = False
        if event["command"]:
            core.issued += 1
            core.offered["command"] = False

    def check(self):
        """Every core has written every chunk of the others, and found the same token."""
        for number, core in enumerate(self.cores):
            expected = [(place, address, chunk) for place, operation in enumerate(self.operations)
                        if isinstance(operation, Sync)
                        for address, chunk in operation.writes(number).items()]
            assert sorted(core.writes) == sorted(expected)
            assert [entry[0] for entry in core.writes] == sorted(entry[0] for entry in core.writes)
            assert core.results == [(place, operation.result())
                                    for place, operation in enumerate(self.operations)
                                    if isinstance(operation, Best)]
            assert not any(link.flits for way in self.links for link in way)
