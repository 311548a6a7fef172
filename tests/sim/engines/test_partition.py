import random
import re

import pytest
from amaranth import *
from amaranth.hdl import Assert, DriverConflict
from amaranth.lib import data, fifo, memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from sim.engines.partition import PartitionedEngine

CYCLES = 200
ENGINES = ("pysim", PartitionedEngine)


class Chooser:
    """Random expressions and statements over signals that exist already."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def shape(self):
        return self.random.choice([unsigned, signed])(self.random.randint(1, 12))

    def value(self, signals, depth=2):
        r = self.random
        if depth == 0 or r.random() < 0.2:
            if r.random() < 0.1:
                return Const(r.getrandbits(5) - 16, signed(6))
            return r.choice(signals)
        a, b, c = (self.value(signals, depth - 1) for _ in range(3))
        start = r.randrange(len(a))
        return r.choice([
            lambda: a + b, lambda: a - b, lambda: a[:6] * b[:6], lambda: a & b, lambda: a | b,
            lambda: a ^ b, lambda: ~a, lambda: -a, lambda: a == b, lambda: a < b, lambda: a >= b,
            lambda: Mux(a, b, c), lambda: Cat(a, b), lambda: a[start:], lambda: a << b[:2],
            lambda: a >> b[:2], lambda: a.any(), lambda: a.all(), lambda: a.xor(),
            lambda: a.bit_select(b[:3], 2), lambda: a.as_signed(), lambda: a.as_unsigned(),
            lambda: Array([a, b, c, r.choice(signals)])[c[:2]], lambda: a // b[:3],
            lambda: a % b[:3],
        ])()[:20]

    def assign(self, target, signals):
        r = self.random
        value = self.value(signals)
        start = r.randrange(len(target))
        return r.choice([
            lambda: target.eq(value), lambda: target.eq(value),
            lambda: target[start:].eq(value),
            lambda: target.bit_select(self.value(signals, 1)[:3], 2).eq(value),
            lambda: target.word_select(self.value(signals, 1)[:2], 1).eq(value),
            lambda: Cat(target[start:], target[:start]).eq(value),
        ])()

    def statements(self, m, domain, targets, signals):
        """Statements that drive some targets, among them conditional ones."""
        r = self.random
        for target in targets:
            m.d[domain] += self.assign(target, signals)
        with m.If(self.value(signals, 1).bool()):
            m.d[domain] += self.assign(r.choice(targets), signals)
            with m.Switch(Cat(r.choice(signals), r.choice(signals), r.choice(signals))[:3]):
                for pattern in r.sample(["0--", "1-0", "011", 5, "-1-"], 3):
                    with m.Case(pattern):
                        m.d[domain] += self.assign(r.choice(targets), signals)
                with m.Default():
                    m.d[domain] += self.assign(r.choice(targets), signals)
        with m.Elif(self.value(signals, 1).bool()):
            m.d[domain] += self.assign(r.choice(targets), signals)
        with m.Else():
            m.d[domain] += self.assign(r.choice(targets), signals)


class RandomLogic(wiring.Component):
    """Registers of two domains and layered logic, in three modules, with ports that repeat."""

    def __init__(self, seed):
        self.seed = seed
        super().__init__({"a": In(12), "b": In(signed(7)), "c": In(3), "o": Out(12)})

    def elaborate(self, platform):
        choose = Chooser(self.seed)
        r = choose.random
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.slow = ClockDomain(async_reset=True)
        m.domains.down = ClockDomain(clk_edge="neg", reset_less=True)
        m.d.comb += [ClockSignal("down").eq(ClockSignal("slow")),
                     ResetSignal("slow").eq(self.c == 7), ResetSignal().eq(self.a == 5)]
        modules = [m, Module(), Module()]
        m.submodules.left, m.submodules.right = modules[1], ResetInserter(self.c[0])(
            EnableInserter({"sync": self.c[1]})(modules[2]))

        def signals(count, name, reset_less=0.0):
            return [Signal(shape := choose.shape(), name=f"{name}{index}",
                           init=Const(r.getrandbits(8), shape).value,
                           reset_less=r.random() < reset_less) for index in range(count)]

        registers = [*signals(3, "sync", 0.3), *signals(3, "slow"), *signals(3, "gated", 0.3),
                     *signals(3, "down")]
        known = [self.a, self.b, self.c, *registers]
        settled = known[:]
        for layer in range(8):
            new = signals(3, f"layer{layer}_")
            choose.statements(r.choice(modules), "comb", new, known)
            repeated = r.choice(new)
            again = Signal.like(repeated, name=f"again{layer}")
            r.choice(modules).d.comb += again.eq(repeated)
            # The bits of one signal are driven in two modules.
            shared = Signal(signed(8), name=f"shared{layer}")
            modules[1].d.comb += shared[:3].eq(choose.value(known))
            modules[2].d.comb += shared[3:].eq(choose.value(known))
            known += [*new, again, shared]
        for index, (module, domain) in enumerate([(m, "sync"), (modules[1], "slow"),
                                                  (modules[2], "sync"), (modules[0], "down")]):
            choose.statements(module, domain, registers[3 * index:3 * index + 3],
                              settled if domain == "down" else known)
        store = m.submodules.store = memory.Memory(shape=signed(8), depth=5, init=[1, -2, 3])
        write = store.write_port(granularity=None)
        ports = [store.read_port(transparent_for=[write]), store.read_port(),
                 store.read_port(domain="comb"), store.read_port(domain="down")]
        m.d.comb += [write.addr.eq(known[-1]), write.data.eq(known[-2]), write.en.eq(self.a[2])]
        for port in ports:
            m.d.comb += port.addr.eq(choose.value(known) if port is not ports[3] else self.a)
            if port is not ports[2]:
                m.d.comb += port.en.eq(self.a[1])
        m.d.comb += self.o.eq(Cat(port.data for port in ports).xor() + known[-1])
        return m


class Ports(wiring.Component):
    """A queue of two clock domains (which computes clocks) behind ports, and state machines."""

    i: In(data.StructLayout({"x": 4, "y": signed(4)}))
    push: In(1)
    pop: In(1)
    o: Out(data.StructLayout({"x": 4, "y": signed(4)}))
    entries: Out(data.ArrayLayout(4, 4))

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.slow = ClockDomain()
        m.submodules.queue = queue = fifo.AsyncFIFO(width=8, depth=4, r_domain="slow",
                                                    w_domain="sync")
        m.d.comb += [queue.w_data.eq(self.i), queue.w_en.eq(self.push), queue.r_en.eq(self.pop),
                     self.o.eq(queue.r_data)]
        m.d.sync += Assert(~(self.push & self.i.x.all() & self.i.y.all()), "all ones")
        with m.FSM():
            with m.State("ONE"):
                m.d.sync += self.entries[self.i.x].eq(self.i.y)
                with m.If(self.push):
                    m.next = "TWO"
            with m.State("TWO"):
                m.d.sync += self.entries[self.i.y[:2]][1:3].eq(self.i.x)
                m.next = "ONE"
        return m


class Wrapped(wiring.Component):
    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        connect(m, flipped(self), self.inner)
        return m


def all_signals(simulator):
    found = {}
    for info in simulator._design.fragments.values():
        for signal, name in info.signal_names.items():
            found[".".join((*info.name, name))] = signal
    return found


def simulate(dut, engine, seed, *, vcd=None, twice=False):
    """Random inputs; the values of all signals after each edge."""
    simulator = Simulator(dut, engine=engine)
    simulator.add_clock(1e-6)
    simulator.add_clock(1.7e-6, domain="slow")
    inputs = [Value.cast(getattr(dut, name)) for name, member in dut.signature.members.items()
              if member.flow == In]
    names, signals = zip(*all_signals(simulator).items(), strict=True)
    history = []

    async def testbench(ctx):
        r = random.Random(seed)
        for _ in range(CYCLES):
            for signal in inputs:
                # Seldom does all change: what may be skipped is skipped now and then.
                if r.random() < 0.4:
                    ctx.set(signal, r.getrandbits(len(signal)) & ~(r.random() < 0.9))
                    history.append([ctx.get(other) for other in signals])
            sampled = await ctx.tick().sample(*signals[:20])
            history.append([*sampled, *(ctx.get(signal) for signal in signals)])

    async def watch(ctx):
        async for clock_edge, *values in ctx.tick("slow").sample(*signals):
            # What an asynchronous reset samples is not settled yet with Amaranth's engine.
            if clock_edge:
                history.append(values)

    simulator.add_testbench(testbench)
    simulator.add_testbench(watch, background=True)
    if vcd is None:
        simulator.run()
    else:
        with simulator.write_vcd(str(vcd)):
            simulator.run()
    if twice:
        simulator.reset()
        simulator.run()
    return names, history


def agree(make, seed, **options):
    results = [simulate(make(), engine, seed, **options) for engine in ENGINES]
    (names, expected), (other_names, got) = results
    assert names == other_names
    for step, (left, right) in enumerate(zip(expected, got, strict=True)):
        assert left == right, (step, [name for name, a, b in zip(
            names, left[-len(names):], right[-len(names):], strict=True) if a != b])
    return expected


@pytest.mark.parametrize("seed", range(12))
def test_random_logic(seed):
    agree(lambda: RandomLogic(seed), seed)


def test_behind_ports():
    history = agree(lambda: Wrapped(Wrapped(Wrapped(Ports()))), 3)
    assert len({tuple(step) for step in history}) > CYCLES


def test_reset_of_the_simulator():
    history = agree(lambda: RandomLogic(1), 1, twice=True)
    assert history[:len(history) // 2] == history[len(history) // 2:]


def changes(path):
    """The last value of each variable at each time of a VCD file, by the variable's path."""
    scopes, names, now, values = [], {}, 0, {}
    for line in path.read_text().splitlines():
        words = line.split()
        if line.startswith("$scope"):
            scopes.append(words[2])
        elif line.startswith("$upscope"):
            scopes.pop()
        elif line.startswith("$var"):
            names.setdefault(words[3], []).append(".".join([*scopes, *words[4:-1]]))
        elif line.startswith("#"):
            now = int(line[1:])
        elif match := re.fullmatch(r"(?:[bs](\S+) |([01]))(\S+)", line):
            for name in names[match[3]]:
                values[name, now] = match[1] or match[2]
    return sorted(names.values()), values


def settled(values):
    """Without times at which a variable has the value that it had."""
    last, result = {}, {}
    for (name, now), value in sorted(values.items()):
        if last.get(name) != value:
            result[name, now] = last[name] = value
    return result


@pytest.mark.parametrize("make", [lambda: Wrapped(RandomLogic(4)), lambda: Wrapped(Ports())])
def test_waves(make, tmp_path):
    found = []
    for number, engine in enumerate(ENGINES):
        simulate(make(), engine, 4, vcd=tmp_path / f"{number}.vcd")
        names, values = changes(tmp_path / f"{number}.vcd")
        found.append((names, settled(values)))
    assert found[0] == found[1]


def test_signal_that_repeats_another():
    inner = Ports()
    dut = Wrapped(inner)
    simulator = Simulator(dut, engine=PartitionedEngine)
    engine = simulator._engine
    assert engine.state.get_signal(inner.push) == engine.state.get_signal(dut.push)

    async def testbench(ctx):
        ctx.set(dut.push, 1)
        assert ctx.get(inner.push) == 1
        with pytest.raises(DriverConflict, match=r"^Combinationally driven signals cannot be "
                                                 r"overriden by testbenches$"):
            ctx.set(inner.push, 0)
        assert ctx.get(dut.push) == 1

    simulator.add_clock(1e-6)
    simulator.add_clock(1e-6, domain="slow")
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("engine", ENGINES)
def test_assertion(engine):
    dut = Ports()

    async def testbench(ctx):
        ctx.set(dut.i, {"x": 15, "y": -1})
        await ctx.tick().repeat(3)
        ctx.set(dut.push, 1)
        await ctx.tick()

    simulator = Simulator(dut, engine=engine)
    simulator.add_clock(1e-6)
    simulator.add_clock(1e-6, domain="slow")
    simulator.add_testbench(testbench)
    with pytest.raises(AssertionError, match="^Assertion violated: all ones$"):
        simulator.run()


def test_print_at_every_edge(capsys):
    m = Module()
    m.d.sync += Print("edge")
    simulator = Simulator(m, engine=PartitionedEngine)
    simulator.add_clock(1e-6)

    async def testbench(ctx):
        await ctx.tick().repeat(5)

    simulator.add_testbench(testbench)
    simulator.run()
    assert capsys.readouterr().out == "edge\n" * 5


def test_idle_logic_is_not_computed():
    m = Module()
    a, b, c = Signal(8), Signal(8), Signal(8)
    m.d.sync += [b.eq(a + 1), c.eq(b)]
    m.submodules.store = store = memory.Memory(shape=8, depth=4, init=[])
    store.write_port()
    store.read_port()
    simulator = Simulator(m, engine=PartitionedEngine)
    simulator.add_clock(1e-6)
    runs = []
    for process in simulator._engine._sync:
        process.run = (lambda run: lambda: (runs.append(0), run()))(process.run)

    async def testbench(ctx):
        await ctx.tick().repeat(5)
        settled = len(runs)
        await ctx.tick().repeat(50)
        assert len(runs) == settled
        ctx.set(a, 7)
        await ctx.tick().repeat(50)
        assert ctx.get(c) == 8
        assert settled < len(runs) <= settled + 4

    simulator.add_testbench(testbench)
    simulator.run()


def test_reset_alone():
    m = Module()
    m.domains.sync = domain = ClockDomain()
    a, b = Signal(8), Signal(8)
    m.d.sync += a.eq(7)
    m.d.comb += b.eq(a)
    simulator = Simulator(m, engine=PartitionedEngine)
    simulator.add_clock(1e-6)

    async def testbench(ctx):
        for reset in (0, 1, 0):
            ctx.set(domain.rst, reset)
            for _ in range(5):
                await ctx.tick()
            assert ctx.get(b) == (0 if reset else 7)

    simulator.add_testbench(testbench)
    simulator.run()


def test_copy_with_exceptions():
    """What is a copy only in part, or only at times, is not one."""
    m = Module()
    a, b, c, once, half = Signal(4), Signal(4), Signal(), Signal(4), Signal(4)
    m.d.comb += [once.eq(a), half[2:].eq(a)]
    with m.If(c):
        m.d.comb += once.eq(b)
    simulator = Simulator(m, engine=PartitionedEngine)

    async def testbench(ctx):
        ctx.set(a, 13)
        ctx.set(b, 6)
        for choice in (0, 1, 0):
            ctx.set(c, choice)
            assert (ctx.get(once), ctx.get(half)) == (6 if choice else 13, 4)

    simulator.add_testbench(testbench)
    simulator.run()


def test_register_changes_with_the_clock():
    """A computed clock has its edge when the registers that its domain reads change."""
    dut = Module()
    dut.domains.sync = ClockDomain()
    dut.domains.derived = ClockDomain(reset_less=True)
    dut.d.comb += ClockSignal("derived").eq(ClockSignal())
    number = Signal(6)
    counts, copies = ([Signal(4, name=f"{name}{index}") for index in range(20)]
                      for name in ("count", "copy"))
    dut.d.sync += number.eq(number + 1)
    for count, copied in zip(counts, copies, strict=True):
        # Seldom changes, so that no later change makes up for one that was missed.
        dut.d.sync += count.eq(number[2:])
        dut.d.derived += copied.eq(count)

    async def testbench(ctx):
        for cycle in range(40):
            await ctx.tick()
            assert [ctx.get(copied) for copied in copies] == [cycle // 4] * len(copies)

    for engine in ENGINES:
        simulator = Simulator(dut, engine=engine)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        simulator.run()


def test_loop_of_bits():
    """Bits of two signals that depend on each other, but not in a loop."""
    m = Module()
    a, x, y = Signal(4), Signal(4), Signal(4)
    m.d.comb += [x.eq(Cat(a[0], y[:3])), y.eq(x ^ a)]
    simulator = Simulator(m, engine=PartitionedEngine)

    async def testbench(ctx):
        for value in range(16):
            ctx.set(a, value)
            expected_x = expected_y = 0
            for _ in range(5):
                expected_x = (value & 1) | (expected_y << 1 & 0xF)
                expected_y = expected_x ^ value
            assert (ctx.get(x), ctx.get(y)) == (expected_x, expected_y)

    simulator.add_testbench(testbench)
    simulator.run()
