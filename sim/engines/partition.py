"""A faster engine for Amaranth's simulator: the same design, cut into small processes.

Amaranth compiles all combinational statements of a module into one process, and its synchronous
ones into one a clock domain. The former runs whenever any of its inputs changes, the latter at
every edge, and each looks at every signal that it drives. Here

* statements that drive a signal in common are one group, and groups with the same inputs are one
  process;
* a synchronous process runs at an edge only if something that it reads or drives has changed since
  it last ran: otherwise it would do again what it did;
* combinational processes run in the order of their dependencies, and their results are seen at
  once, so that one run a change is enough;
* a signal that only ever repeats another one (most ports are such) needs no process: both names
  share one state.

Registers, memories, and what testbenches see after each edge are as with Amaranth's engine. Two
things are not. Within one moment of time, combinational signals take no intermediate values; only
an asynchronous reset, a process woken by a change, or a ``Print`` in ``comb`` could tell. And where
logic computes a clock, its registers see the source domain as it is after the source's edge, while
with Amaranth's engine this is so for registers, but not yet for logic behind them.

Amaranth 0.5 promises nothing about what is used here: the compilers of statements and memories in
``amaranth.sim._pyrtl``, which write ``slots[n].curr`` for signal n and ``next_n`` for what it
becomes, and the states and the loop of ``amaranth.sim.pysim``.
"""

import re
from collections import defaultdict
from contextlib import contextmanager
from itertools import chain

from amaranth.hdl import Signal, Value
from amaranth.hdl._ast import Assign, SignalDict, SignalSet
from amaranth.hdl._ir import DriverConflict
from amaranth.hdl._mem import MemoryInstance
from amaranth.hdl._xfrm import LHSMaskCollector
from amaranth.sim import _pyrtl, pysim
from amaranth.sim._pyeval import eval_assign

__all__ = ["PartitionedEngine"]

#: The last rank: of loops (often of different bits of a signal), and of what reads from them.
RANKS = 100


class _Process:
    """A function, and the queue in which it waits once something that it reads has changed."""

    __slots__ = ("run", "inputs", "outputs", "queue", "idle")

    def __init__(self, run, inputs, outputs):
        self.run, self.inputs, self.outputs = run, inputs, outputs
        self.queue, self.idle = None, True

    def wake(self):
        if self.idle:
            self.idle = False
            self.queue.append(self)
        return True


class _SignalState(pysim._PySignalState):
    """The state of a signal, and of those that repeat it."""

    __slots__ = ("readers", "signals")

    def __init__(self, signal, pending):
        super().__init__(signal, pending)
        self.readers, self.signals = [], [signal]

    def change(self, value):
        """Take a value at once."""
        before = self.curr
        self.curr = self.next = value
        for process in self.readers:
            if process.idle:
                process.idle = False
                process.queue.append(process)
        if self.wakers:
            pysim._run_wakers(self.wakers, before, value)

    def schedule(self, value):
        """Take a value when all processes of this step have run."""
        self.next = value
        self.pending.add(self)

    def commit(self):
        if self.curr != self.next:
            self.change(self.next)


class _MemoryState(pysim._PyMemoryState):
    __slots__ = ()

    def write(self, addr, value, mask=None):
        # A write of nothing would wake the memory's readers all the same.
        if mask != 0:
            super().write(addr, value, mask)


class _EngineState(pysim._PyEngineState):
    def __init__(self):
        super().__init__()
        self.signals = {}

    def get_signal(self, signal):
        index = self.signals.get(signal.duid)
        if index is None:
            index = self.signals[signal.duid] = len(self.slots)
            self.slots.append(_SignalState(signal, self.pending))
        return index

    def get_memory(self, memory):
        if memory not in self.memories:
            self.memories[memory] = len(self.slots)
            self.slots.append(_MemoryState(memory, self.pending))
        return self.memories[memory]

    def indices(self, signals):
        return frozenset(map(self.get_signal, signals))


class _View:
    """The state for one use: with methods of its own."""

    def __init__(self, state, **methods):
        self.slots, self.get_memory, self.get_signal = (
            state.slots, state.get_memory, state.get_signal)
        self.__dict__.update(methods)


def _fragments(fragment):
    yield fragment
    for subfragment, _, _ in fragment.subfragments:
        yield from _fragments(subfragment)


def _find_aliases(fragments, clocks):
    """Map each signal that only repeats another one to the one at the root."""
    drivers, copies, aliases = SignalDict(), [], SignalDict()
    for fragment in fragments:
        driven = [port._data for port in getattr(fragment, "_read_ports", ())]
        for domain, statements in fragment.statements.items():
            driven += statements
            copies += (statement for statement in statements if domain == "comb"
                       and type(statement) is Assign and type(statement.lhs) is Signal
                       and type(statement.rhs) is Signal
                       and statement.lhs.shape() == statement.rhs.shape())
        for signal in chain.from_iterable(driver._lhs_signals() for driver in driven):
            drivers[signal] = drivers.get(signal, 0) + 1

    def root(signal):
        while signal in aliases:
            signal = aliases[signal]
        return signal

    for copy in copies:
        source = root(copy.rhs)
        if (drivers[copy.lhs] == 1 and copy.lhs is not source
                and copy.lhs not in clocks and source not in clocks):
            aliases[copy.lhs] = source
    return SignalDict((signal, root(signal)) for signal in aliases)


def _groups(statements):
    """Cut a list of statements into lists that drive no signal in common."""
    owners, groups = SignalDict(), {}
    for index, statement in enumerate(statements):
        members, signals = [(index, statement)], SignalSet(statement._lhs_signals())
        for owner in {owners[signal] for signal in signals if signal in owners}:
            other_members, other_signals = groups.pop(owner)
            members += other_members
            signals |= other_signals
        groups[index] = members, signals
        for signal in signals:
            owners[signal] = index
    for members, _ in groups.values():
        yield [statement for _, statement in sorted(members, key=lambda member: member[0])]


class PartitionedEngine(pysim.PySimEngine):
    """An engine that computes only what may have changed.

    ``Simulator(design, engine=PartitionedEngine)`` uses it.

    Parameters
    ----------
    design : Design
        What the simulator hands over.
    """

    def __init__(self, design):
        self._design = design
        self._state = state = _EngineState()
        #: Clocks, and processes that the user adds.
        self._processes = set()
        self._testbenches, self._vcd_writers = [], []
        self._delta_cycles = 0
        self._active_triggers = set()
        self._changed = {}
        #: By domain: processes to run at the next edge, and those to run at every edge.
        self._waiting, self._always = defaultdict(list), defaultdict(list)
        #: These two, for each domain that just had an edge; and what runs in the next step.
        self._edges, self._ready = [], []
        self._comb, self._sync = [], []

        fragments = list(_fragments(design.fragment))
        clocks = SignalSet(signal for fragment in fragments
                           for domain in fragment.domains.values()
                           for signal in (domain.clk, domain.rst) if signal is not None)
        aliases = _find_aliases(fragments, clocks)
        for signal, root in aliases.items():
            index = state.signals[signal.duid] = state.get_signal(root)
            state.slots[index].signals.append(signal)
        self._compile(fragments, clocks, aliases)
        self._rank()
        for domain in {**self._waiting, **self._always}:
            self._add_edges(domain)

        def get_driven(signal):
            if signal in aliases:
                raise DriverConflict(
                    "Combinationally driven signals cannot be overriden by testbenches")
            return state.get_signal(signal)

        self._driven = _View(state, get_signal=get_driven)
        self._arm()

    def _compile(self, fragments, clocks, aliases):
        slots = self._state.slots
        functions = defaultdict(list)
        for fragment in fragments:
            for name, statements in fragment.statements.items():
                domain = None if name == "comb" else fragment.domains[name]
                for group in _groups(statements):
                    if not any(signal in aliases for signal in group[0]._lhs_signals()):
                        body, outputs, *key = self._compile_group(domain, group, clocks)
                        functions[tuple(key)].append((body, outputs))
            if isinstance(fragment, MemoryInstance):
                self._compile_memory(fragment)

        def without_mask(match):
            # A state never holds more than the width of its signal.
            signal = slots[int(match[2])].signal
            fits = not signal.shape().signed and int(match[1], 16) == (1 << len(signal)) - 1
            return f"slots[{match[2]}].curr" if fits else match[0]

        source = "".join(f"def run_{number}():\n" + "".join(body for body, _ in bodies)
                         for number, bodies in enumerate(functions.values()))
        source = re.sub(r"(0x[0-9a-f]+) & slots\[(\d+)\]\.curr", without_mask, source)
        source = re.sub(r"slots\[(\d+)\]", r"s\1", source)
        names = {**_pyrtl._ValueCompiler.helpers, **_pyrtl._StatementCompiler.helpers,
                 **{f"s{index}": slot for index, slot in enumerate(slots)}}
        exec(compile(source, "<simulation>", "exec"), names)
        for number, ((domain, inputs, kind), bodies) in enumerate(functions.items()):
            outputs = frozenset().union(*(outputs for _, outputs in bodies))
            self._add(_Process(names[f"run_{number}"], inputs, outputs), domain, kind)

    def _compile_group(self, domain, statements, clocks):
        """The body of a function, what it drives, and a key: equal keys may share a function."""
        state = self._state
        collector, inputs = LHSMaskCollector(), SignalSet()
        collector.visit_stmt(statements)
        driven = {state.get_signal(signal): (signal, mask) for signal, mask in collector.masks()}
        kind = "clock" if domain is None and any(signal in clocks for signal, _ in
                                                 driven.values()) else None
        now = domain is None and kind is None
        emitter = _pyrtl._PythonEmitter()
        emitter._level = 1
        for index, (signal, _) in driven.items():
            if domain is None:
                state.slots[index].is_comb = True
            start = signal.init if domain is None else f"slots[{index}].next"
            emitter.append(f"next_{index} = {start}")
        _pyrtl._StatementCompiler(state, emitter, inputs=inputs)(statements)
        if domain is not None and domain.rst is not None:
            emitter.append(f"if slots[{state.get_signal(domain.rst)}].curr:")
            with emitter.indent():
                emitter.append("pass")
                for index, (signal, _) in driven.items():
                    if not signal.reset_less:
                        emitter.append(f"next_{index} = {signal.init}")
        for index, (signal, mask) in driven.items():
            old = f"slots[{index}].{'curr' if now else 'next'}"
            if mask != (1 << len(signal)) - 1:
                # Others drive the other bits.
                if signal.shape().signed and mask >> len(signal) - 1:
                    mask |= -1 << len(signal)
                emitter.append(f"next_{index} = {old} & {~mask} | next_{index} & {mask}")
            emitter.append(f"if next_{index} != {old}: "
                           f"slots[{index}].{'change' if now else 'schedule'}(next_{index})")
        body = emitter.flush()
        if "print(" in body or "pin_blame(" in body:
            kind = kind or "effect"
        inputs, outputs = state.indices(inputs), frozenset(driven)
        return body, outputs, domain, inputs if now else inputs - outputs, kind

    def _compile_memory(self, memory):
        """Have Amaranth compile it, and take over the functions that this makes."""
        state, wakers = self._state, []
        processes = _pyrtl._FragmentCompiler(_View(
            state, add_signal_waker=lambda *waker: wakers.append(waker),
            add_memory_waker=lambda *waker: None))(memory)
        for domain_name in {port._domain for port in memory._read_ports + memory._write_ports}:
            inputs, outputs = SignalSet(), SignalSet()
            for port in memory._read_ports + memory._write_ports:
                if port._domain == domain_name:
                    inputs |= port._addr._rhs_signals() | port._en._rhs_signals()
                    if port in memory._write_ports:
                        inputs |= port._data._rhs_signals()
                    else:
                        outputs |= port._data._lhs_signals()
            if domain_name == "comb":
                domain, (found,) = None, [process for process in processes if process.is_comb]
                run = self._committing(found.run)
            else:
                # Which of them belongs to this domain shows by an edge of the clock.
                domain = memory.domains[domain_name]
                for signal, waker in wakers:
                    if signal is domain.clk:
                        waker(None, 1 if domain.clk_edge == "pos" else 0)
                found, = (process for process in processes
                          if process.runnable and not process.is_comb)
                found.runnable = False
                run = found.run
            process = _Process(run, state.indices(inputs), state.indices(outputs))
            self._add(process, domain)
            state.add_memory_waker(memory._data, process.wake)

    def _committing(self, run):
        pending = self._state.pending

        def run_and_commit():
            run()
            for slot in pending:
                slot.commit()
            pending.clear()
        return run_and_commit

    def _add(self, process, domain, kind=None):
        """Have a process wait in its queue for what it reads."""
        inputs = process.inputs
        if domain is None:
            # A computed clock takes a step of its own, so that its edge follows the source's.
            (self._comb if kind is None or kind == "effect" else self._sync).append(process)
            process.queue = self._ready
        elif kind == "effect":
            process.queue = self._ready
            self._always[domain].append(process)
            return
        else:
            self._sync.append(process)
            process.queue = self._waiting[domain]
            inputs = inputs | process.outputs
            if domain.rst is not None:
                inputs = inputs | {self._state.get_signal(domain.rst)}
        for index in inputs:
            self._state.slots[index].readers.append(process)

    def _rank(self):
        """Give combinational processes a queue a rank: each after all that it reads from."""
        drivers = defaultdict(list)
        for process in self._comb:
            for index in process.outputs:
                drivers[index].append(process)
        before = {process: {driver for index in process.inputs for driver in drivers[index]}
                  - {process} for process in self._comb}
        rank, settled = dict.fromkeys(self._comb, 0), False
        while not settled:
            settled = True
            for process, earlier in before.items():
                new = min(max((rank[driver] + 1 for driver in earlier), default=0), RANKS)
                if rank[process] != new:
                    rank[process], settled = new, False
        self._ranks = [[] for _ in range(max(rank.values(), default=0) + 1)]
        for process in self._comb:
            process.queue = self._ranks[rank[process]]

    def _add_edges(self, domain):
        edge = self._waiting[domain], self._always[domain]

        def waker_of(level):
            def waker(_, value):
                if value == level:
                    self._edges.append(edge)
                return True
            return waker

        self._state.add_signal_waker(domain.clk, waker_of(1 if domain.clk_edge == "pos" else 0))
        if domain.async_reset and domain.rst is not None:
            self._state.add_signal_waker(domain.rst, waker_of(1))

    def _arm(self):
        """Have everything wait, as nothing has been computed yet."""
        always = chain.from_iterable(self._always.values())
        for process in chain(self._comb, self._sync, always):
            process.queue.clear()
            process.idle = True
        for process in chain(self._comb, self._sync):
            process.wake()

    def reset(self):
        super().reset()
        self._arm()

    def get_value(self, expr):
        if type(expr) is Signal:
            return self._state.slots[self._state.get_signal(expr)].curr
        return super().get_value(expr)

    def set_value(self, expr, value):
        return eval_assign(self._driven, Value.cast(expr), value)

    def step_design(self):
        ready, pending, ranks = self._ready, self._state.pending, self._ranks
        triggers, writers, edges = self._active_triggers, self._vcd_writers, self._edges
        while True:
            for trigger in triggers:
                trigger.run()
            triggers.clear()
            for process in self._processes:
                if process.runnable:
                    process.runnable = False
                    process.run()
            for process in ready:
                process.idle = True
                process.run()
            ready.clear()
            rows = [(slot.memory, row) for slot in pending if isinstance(slot, _MemoryState)
                    for row in slot.write_queue] if writers else ()
            for slot in pending:
                slot.commit()
            pending.clear()
            for queue in ranks:
                if queue:
                    # It grows on the way only at the last rank, if there are loops.
                    for process in queue:
                        process.idle = True
                        process.run()
                    queue.clear()
            # Not before all has changed that changes together with the clock.
            for waiting, always in edges:
                ready += waiting
                waiting.clear()
                for process in always:
                    process.wake()
            edges.clear()
            for writer in writers:
                now = self._now_plus_deltas(writer.fs_per_delta)
                for signal in chain.from_iterable(slot.signals for slot in self._changed):
                    writer.update_signal(now, signal)
                for memory, row in rows:
                    writer.update_memory(now, memory, row)
            self._changed.clear()
            self._delta_cycles += 1
            if not (ready or triggers):
                break

    @contextmanager
    def write_vcd(self, **options):
        recording = True

        def waker_of(slot):
            def waker(_, value):
                self._changed[slot] = None
                return recording
            return waker

        with super().write_vcd(**options):
            for slot in self._state.slots:
                if isinstance(slot, _SignalState):
                    slot.add_waker(waker_of(slot))
            try:
                yield
            finally:
                recording = False
