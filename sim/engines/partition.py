"""A faster engine for Amaranth's simulator: the same design, cut in small processes.

``Simulator(design, engine=PartitionedEngine)`` behaves like ``Simulator(design)``: each signal has
the same value whenever a testbench or a process looks. What differs is how much is computed.

Amaranth compiles all combinational statements of a module into one process, and all synchronous
ones of a clock domain into another. The first runs whenever any input changes, the second at every
edge, and each looks at every signal that it drives. Here

* statements that drive a signal in common are one *group*, and groups with the same inputs are one
  process;
* combinational processes run in the order of their dependencies, so that one run a change is
  enough, and their results are seen at once;
* a synchronous process runs at an edge only if something that it reads or drives has changed since
  its last run: otherwise it would only repeat what it did;
* a signal that is only ever another signal (what ``connect()`` makes) has no process at all: both
  names share one state.

Two things are not the same. Within one moment of time, signals take no intermediate values. And a
register whose clock is itself computed (a gated clock) sees combinational logic of the moment after
the edge of the source clock, where Amaranth's engine shows it something in between.

This uses inner parts of Amaranth 0.5, which promises nothing about them: the compilers of
statements and memories in ``amaranth.sim._pyrtl``, with ``slots[n].curr`` as what they write for
signal n and ``next_n`` for its next value, and the states and the loop of ``amaranth.sim.pysim``.
"""

import itertools
import re
from collections import defaultdict
from contextlib import contextmanager

from amaranth.hdl import Signal, Value
from amaranth.hdl._ast import Assign, SignalDict, SignalSet
from amaranth.hdl._ir import DriverConflict
from amaranth.hdl._mem import MemoryInstance
from amaranth.hdl._xfrm import LHSMaskCollector
from amaranth.sim import _pyrtl, pysim
from amaranth.sim._pyeval import eval_assign

__all__ = ["PartitionedEngine"]


class _Process:
    """A function to run once something that it reads has changed, and the queue it waits in."""

    __slots__ = ("run", "queue", "idle", "inputs", "outputs")

    def __init__(self, run, inputs, outputs, queue=None):
        self.run, self.inputs, self.outputs, self.queue = run, inputs, outputs, queue
        self.idle = True

    def wake(self):
        if self.idle:
            self.idle = False
            self.queue.append(self)
        return True


class _SignalState(pysim._PySignalState):
    """The state of a signal and of all that only repeat it."""

    __slots__ = ("readers", "signals")

    def __init__(self, signal, pending):
        super().__init__(signal, pending)
        self.readers = []
        self.signals = [signal]

    def change(self, value):
        before = self.curr
        self.curr = self.next = value
        for process in self.readers:
            if process.idle:
                process.idle = False
                process.queue.append(process)
        if self.wakers:
            pysim._run_wakers(self.wakers, before, value)

    def commit(self):
        if self.curr != self.next:
            self.change(self.next)


class _EngineState(pysim._PyEngineState):
    def get_signal(self, signal):
        index = self.signals.get(signal)
        if index is None:
            index = self.signals[signal] = len(self.slots)
            self.slots.append(_SignalState(signal, self.pending))
        return index

    def share(self, signal, root):
        index = self.signals[signal] = self.get_signal(root)
        self.slots[index].signals.append(signal)


class _Writer:
    """The state as a testbench writes it: without the signals that repeat others."""

    def __init__(self, state, aliases):
        self._state, self._aliases = state, aliases
        self.slots, self.get_memory = state.slots, state.get_memory

    def get_signal(self, signal):
        if signal in self._aliases:
            raise DriverConflict(
                "Combinationally driven signals cannot be overriden by testbenches")
        return self._state.get_signal(signal)


class _MemoryWakers:
    """The state as Amaranth compiles a memory: its wakers are kept, not installed."""

    def __init__(self, state):
        self.slots, self.get_signal, self.get_memory = (
            state.slots, state.get_signal, state.get_memory)
        self.signal_wakers = []

    def add_signal_waker(self, signal, waker):
        self.signal_wakers.append((signal, waker))

    def add_memory_waker(self, memory, waker):
        pass


class _StatementCompiler(_pyrtl._StatementCompiler):
    """Notes whether there is a statement that does more than to assign."""

    effects = False

    def on_Print(self, stmt):
        self.effects = True
        super().on_Print(stmt)

    def on_Property(self, stmt):
        self.effects = True
        super().on_Property(stmt)


def _fragments(fragment):
    yield fragment
    for subfragment, _, _ in fragment.subfragments:
        yield from _fragments(subfragment)


def _groups(statements):
    """Cut a list of statements into lists that drive no signal in common."""
    owner = SignalDict()
    groups = {}
    for index, statement in enumerate(statements):
        group = [(index, statement)]
        signals = SignalSet(statement._lhs_signals())
        for number in {owner[signal] for signal in signals if signal in owner}:
            members = groups.pop(number)
            group += members[0]
            signals |= members[1]
        groups[index] = group, signals
        for signal in signals:
            owner[signal] = index
    for group, _ in groups.values():
        yield [statement for _, statement in sorted(group, key=lambda member: member[0])]


class _Compiler:
    """Turns a design into processes."""

    def __init__(self, state, design, ready, dirty):
        self._state, self._ready, self._dirty = state, ready, dirty
        self.aliases = SignalDict()
        #: Combinational processes; synchronous ones that wait; those that run at every edge.
        self.comb, self.sync, self.always = [], [], defaultdict(list)
        self._bodies = defaultdict(list)
        fragments = list(_fragments(design.fragment))
        self._clocks = SignalSet(domain.clk for fragment in fragments
                                 for domain in fragment.domains.values())
        self._resets = SignalSet(domain.rst for fragment in fragments
                                 for domain in fragment.domains.values() if domain.rst is not None)
        self._find_aliases(fragments)
        for fragment in fragments:
            for name, statements in fragment.statements.items():
                domain = None if name == "comb" else fragment.domains[name]
                for group in _groups(statements):
                    self._compile_group(domain, group)
            if isinstance(fragment, MemoryInstance):
                self._compile_memory(fragment)
        self._make_processes()

    def _find_aliases(self, fragments):
        drivers = SignalDict()
        candidates = []
        for fragment in fragments:
            if isinstance(fragment, MemoryInstance):
                for port in fragment._read_ports:
                    for signal in port._data._lhs_signals():
                        drivers[signal] = 2
            for name, statements in fragment.statements.items():
                for statement in statements:
                    for signal in statement._lhs_signals():
                        drivers[signal] = drivers.get(signal, 0) + 1
                    if (name == "comb" and type(statement) is Assign
                            and type(statement.lhs) is Signal and type(statement.rhs) is Signal
                            and statement.lhs.shape() == statement.rhs.shape()):
                        candidates.append(statement)

        def root(signal):
            while signal in self.aliases:
                signal = self.aliases[signal]
            return signal

        for statement in candidates:
            signal, source = statement.lhs, root(statement.rhs)
            if drivers[signal] == 1 and signal is not source and not any(
                    s in self._clocks or s in self._resets for s in (signal, source)):
                self.aliases[signal] = source
        for signal in self.aliases:
            self._state.share(signal, root(signal))

    def _compile_group(self, domain, statements):
        state = self._state
        if len(statements) == 1 and type(statements[0]) is Assign \
                and type(statements[0].lhs) is Signal and statements[0].lhs in self.aliases:
            return
        collector = LHSMaskCollector()
        collector.visit_stmt(statements)
        masks = [(state.get_signal(signal), signal, mask) for signal, mask in collector.masks()]
        inputs = SignalSet()
        emitter = _pyrtl._PythonEmitter()
        emitter._level = 1
        clock = any(signal in self._clocks for _, signal, _ in masks)
        for index, signal, _ in masks:
            if domain is None:
                state.slots[index].is_comb = True
            emitter.append(f"next_{index} = " + (
                f"{signal.init}" if domain is None else f"slots[{index}].next"))
        compiler = _StatementCompiler(state, emitter, inputs=inputs)
        compiler(statements)
        if domain is not None and domain.rst is not None:
            emitter.append(f"if slots[{state.get_signal(domain.rst)}].curr:")
            with emitter.indent():
                emitter.append("pass")
                for index, signal, _ in masks:
                    if not signal.reset_less:
                        emitter.append(f"next_{index} = {signal.init}")
        for index, signal, mask in masks:
            value, full = f"next_{index}", mask == (1 << len(signal)) - 1
            if domain is None and not clock:
                if not full:
                    if signal.shape().signed and mask >> len(signal) - 1:
                        mask |= -1 << len(signal)
                    emitter.append(f"{value} = slots[{index}].curr & {~mask} | {value} & {mask}")
                emitter.append(f"if {value} != slots[{index}].curr:")
                with emitter.indent():
                    emitter.append(f"slots[{index}].change({value})")
            elif full:
                emitter.append(f"if {value} != slots[{index}].next:")
                with emitter.indent():
                    emitter.append(f"slots[{index}].next = {value}")
                    emitter.append(f"pending.add(slots[{index}])")
            else:
                if signal.shape().signed and mask >> len(signal) - 1:
                    mask |= -1 << len(signal)
                emitter.append(f"slots[{index}].update({value}, {mask})")
        outputs = frozenset(index for index, _, _ in masks)
        inputs = frozenset(map(state.get_signal, inputs))
        if domain is not None:
            inputs -= outputs
        self._bodies[domain, clock, compiler.effects, inputs].append((emitter.flush(), outputs))

    def _make_processes(self):
        slots = self._state.slots
        source = []

        def plain(match):
            # A state never holds more than its width.
            signal = slots[int(match[2])].signal
            whole = not signal.shape().signed and int(match[1], 16) == (1 << len(signal)) - 1
            return f"slots[{match[2]}].curr" if whole else match[0]

        for number, bodies in enumerate(self._bodies.values()):
            source.append(f"def run_{number}():\n" + "".join(body for body, _ in bodies))
        source = re.sub(r"(0x[0-9a-f]+) & slots\[(\d+)\]\.curr", plain, "".join(source))
        source = re.sub(r"slots\[(\d+)\]", r"s\1", source)
        names = {f"s{index}": slot for index, slot in enumerate(slots)}
        names.update(pending=self._state.pending, **_pyrtl._ValueCompiler.helpers,
                     **_pyrtl._StatementCompiler.helpers)
        exec(compile(source, "<simulation>", "exec"), names)
        for number, ((domain, clock, effects, inputs), bodies) in enumerate(self._bodies.items()):
            outputs = frozenset().union(*(outputs for _, outputs in bodies))
            process = _Process(names[f"run_{number}"], inputs, outputs)
            if domain is not None:
                self._add_sync(process, domain, effects)
            elif clock:
                # In turn with the synchronous processes, so that its edge follows theirs.
                self._watch(process, inputs, self._ready)
            else:
                self.comb.append(process)
        self._rank()

    def _watch(self, process, inputs, queue):
        process.queue = queue
        self.sync.append(process)
        for index in inputs:
            self._state.slots[index].readers.append(process)

    def _add_sync(self, process, domain, effects=False):
        if effects:
            process.queue = self._ready
            self.always[domain].append(process)
            return
        inputs = process.inputs | process.outputs
        if domain.rst is not None:
            inputs |= {self._state.get_signal(domain.rst)}
        self._watch(process, inputs, self._dirty[domain])

    def _compile_memory(self, memory):
        state = self._state
        recorder = _MemoryWakers(state)
        compiled = _pyrtl._FragmentCompiler(recorder)(memory)
        ports = [*memory._read_ports, *memory._write_ports]
        for name in sorted({port._domain for port in ports}):
            inputs, outputs = SignalSet(), SignalSet()
            for port in ports:
                if port._domain == name:
                    inputs |= port._addr._rhs_signals() | port._en._rhs_signals()
                    if port in memory._read_ports:
                        outputs |= port._data._lhs_signals()
                    else:
                        inputs |= port._data._rhs_signals()
            inputs, outputs = (frozenset(map(state.get_signal, signals))
                               for signals in (inputs, outputs))
            if name == "comb":
                inner, = (process for process in compiled if process.is_comb)
                process = _Process(self._run_and_commit(inner.run), inputs, outputs)
                self.comb.append(process)
            else:
                domain = memory.domains[name]
                # The process of this domain is the one that an edge of its clock wakes.
                for signal, waker in recorder.signal_wakers:
                    if signal is domain.clk:
                        waker(None, 1 if domain.clk_edge == "pos" else 0)
                inner, = (process for process in compiled
                          if process.runnable and not process.is_comb)
                inner.runnable = False
                process = _Process(inner.run, inputs, outputs)
                self._add_sync(process, domain)
            state.add_memory_waker(memory._data, process.wake)

    def _run_and_commit(self, run):
        pending = self._state.pending

        def run_and_commit():
            run()
            for state in pending:
                state.commit()
            pending.clear()
        return run_and_commit

    def _rank(self):
        """Give each combinational process the queue of its rank: after all that it reads from."""
        writers = defaultdict(list)
        for process in self.comb:
            for index in process.outputs:
                writers[index].append(process)
        followers, missing, rank = defaultdict(list), {}, {}
        for process in self.comb:
            before = {id(writer): writer for index in process.inputs for writer in writers[index]
                      if writer is not process}
            missing[process] = len(before)
            for writer in before.values():
                followers[writer].append(process)
            for index in process.inputs:
                self._state.slots[index].readers.append(process)
        ready = [process for process in self.comb if not missing[process]]
        self.ranks = []
        while missing:
            # In a loop (often of different bits of one signal) any order will do.
            ready = ready or [next(iter(missing))]
            for process in ready:
                missing.pop(process, None)
            queue, following = [], []
            self.ranks.append(queue)
            for process in ready:
                process.queue = queue
                for follower in followers[process]:
                    if follower in missing:
                        missing[follower] -= 1
                        if not missing[follower]:
                            following.append(follower)
            ready = following


class PartitionedEngine(pysim.PySimEngine):
    """An engine for :class:`amaranth.sim.Simulator` that skips what cannot have changed.

    Parameters
    ----------
    design : Design
        What the simulator hands over.
    """

    def __init__(self, design):
        self._design = design
        self._state = _EngineState()
        #: What takes part in each pass by itself: clocks, and processes of the user.
        self._processes = set()
        self._testbenches = []
        self._delta_cycles = 0
        self._vcd_writers = []
        self._changed = {}
        self._active_triggers = set()
        self._ready = []
        self._dirty = defaultdict(list)
        compiled = _Compiler(self._state, design, self._ready, self._dirty)
        self._comb, self._sync, self._always = compiled.comb, compiled.sync, compiled.always
        self._ranks = compiled.ranks
        self._writer = _Writer(self._state, compiled.aliases)
        for domain in {**self._dirty, **self._always}:
            self._add_edge(domain)
        self._arm()

    def _add_edge(self, domain):
        ready, dirty, always = self._ready, self._dirty[domain], self._always[domain]
        polarity = 1 if domain.clk_edge == "pos" else 0

        def start():
            ready.extend(dirty)
            dirty.clear()
            for process in always:
                process.wake()

        def waker_of(level):
            def waker(_, value):
                if value == level:
                    start()
                return True
            return waker

        self._state.add_signal_waker(domain.clk, waker_of(1 if domain.clk_edge == "pos" else 0))
        if domain.async_reset and domain.rst is not None:
            self._state.add_signal_waker(domain.rst, waker_of(1))

    def _arm(self):
        """Have everything run once, as nothing has been computed yet."""
        for queue in (self._ready, *self._dirty.values(), *self._ranks):
            queue.clear()
        for process in (*self._comb, *self._sync, *itertools.chain(*self._always.values())):
            process.idle = True
        for process in (*self._comb, *self._sync):
            process.wake()

    def reset(self):
        super().reset()
        self._arm()

    def set_value(self, expr, value):
        return eval_assign(self._writer, Value.cast(expr), value)

    def step_design(self):
        state, ready, pending = self._state, self._ready, self._state.pending
        triggers, processes, ranks = self._active_triggers, self._processes, self._ranks
        while True:
            for trigger in triggers:
                trigger.run()
            triggers.clear()
            for process in processes:
                if process.runnable:
                    process.runnable = False
                    process.run()
            for process in ready:
                process.idle = True
                process.run()
            ready.clear()
            rows = self._written_rows() if self._vcd_writers else ()
            for slot in pending:
                slot.commit()
            pending.clear()
            # A pass settles all but loops.
            while any(ranks):
                for queue in ranks:
                    if queue:
                        for process in queue:
                            process.idle = True
                            process.run()
                        queue.clear()
            if self._vcd_writers:
                self._record(rows)
            self._delta_cycles += 1
            if not (ready or triggers):
                break

    def _written_rows(self):
        return [(slot.memory, row) for slot in self._state.pending
                if isinstance(slot, pysim._PyMemoryState) for row in slot.write_queue]

    def _record(self, rows):
        for writer in self._vcd_writers:
            now = self._now_plus_deltas(writer.fs_per_delta)
            for slot in self._changed:
                for signal in slot.signals:
                    writer.update_signal(now, signal)
            for memory, row in rows:
                writer.update_memory(now, memory, row)
        self._changed.clear()

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
