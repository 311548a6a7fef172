"""The compiled engine: the system's Verilog, translated to C++ by Verilator.

It needs a C++ compiler beside pip, and once some time to build; then it is hundreds of times as
fast as Amaranth's simulator. The clocks and the bytes of the memories are served in C++, see
``harness.cpp``.
"""

import ctypes
import heapq
import os

import numpy as np
from amaranth.hdl import Elaboratable
from amaranth.lib import data

from dfx_rtl.bus.axi import Response
from dfx_rtl.control.ring import DIRECTIONS
from dfx_rtl.host.driver import Bus

from ..memory.timing import FaultLayout
from ..system import TRACE
from .amaranth import ProtocolError
from .ring import Links
from .savefile import write_save_file
from .verilate import EngineError, Toolchain, build

__all__ = ["CompiledBus", "CompiledEngine", "EngineError"]

#: Kernel cycles between two calls of ``on_wait``.
LOOK = 2048
#: Calls after which a wait ends without an interrupt.
LOOKS = 32
_VIOLATED = 1 << len(TRACE)
#: Bits of a word of ``dfx_profiled`` that hold the value; the cycle stands above them.
_PROFILE_BITS = 24


class _Library:
    """The C interface of a built simulator; see ``harness.cpp``."""

    def __init__(self, path, waves):
        library = ctypes.CDLL(str(path))
        pointer, number, c_int = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint
        for name, result, *arguments in (
                ("new", pointer, number, number),
                ("delete", None, pointer),
                ("port", ctypes.c_char_p, pointer, c_int, ctypes.POINTER(pointer),
                 ctypes.POINTER(number)),
                ("hub", None, pointer, c_int, c_int, c_int),
                ("storage", None, pointer, c_int, c_int, c_int, pointer, number, number),
                ("approach", None, pointer),
                ("link", None, pointer, c_int, c_int, c_int),
                ("event", None, pointer, c_int, c_int),
                ("log", number, pointer, ctypes.POINTER(pointer)),
                ("ring", pointer, ctypes.POINTER(pointer), c_int, number, c_int),
                ("unlink", None, pointer),
                ("cut", None, pointer, c_int, c_int, number),
                ("run", number, pointer, number, c_int, ctypes.c_int),
                ("profile", None, pointer),
                ("profiled", number, pointer, ctypes.POINTER(pointer)),
                *((("waves", None, pointer, ctypes.c_char_p, number, number),) if waves else ())):
            function = getattr(library, f"dfx_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


class _Instance:
    """A simulated system in its initial state, and its ports by name, as integers."""

    def __init__(self, library, config):
        self._library = library
        self.handle = library.new(config.kernel_period, config.hbm_period)
        self._ports = {}
        bytes_, size = ctypes.c_void_p(), ctypes.c_uint64()
        while name := library.port(self.handle, len(self._ports), ctypes.byref(bytes_),
                                   ctypes.byref(size)):
            self._ports[name.decode()] = bytes_.value, size.value
        self._numbers = {port: index for index, port in enumerate(self._ports)}
        for direction in range(DIRECTIONS):
            self.call("link", direction, *(self._numbers[f"system_boundary_{way}_{direction}"]
                                           for way in ("out", "in")))
        self._events = {}
        for index, kind in enumerate(TRACE):
            self._add_event(1 << index, f"trace_{kind}")
        self._add_event(_VIOLATED, "violations")

    def _add_event(self, bit, name):
        name = f"system_{name}"
        self._events[bit] = self._ports[name][1]
        self.call("event", bit, self._numbers[name])

    def serve(self, number, name, hub, storages):
        """Have the ports of a hub read and write the arrays of storages."""
        self.call("hub", number, hub.address_width, hub.data_width // 8)
        for index, storage in enumerate(storages):
            self.call("storage", number, self._numbers[f"{name}_{index}_read_address"],
                      self._numbers[f"{name}_{index}_read_data"], storage.array.ctypes.data,
                      len(storage), storage.beat_bytes)

    def call(self, name, *arguments):
        """A function of the library on this instance."""
        return getattr(self._library, name)(self.handle, *arguments)

    def get(self, name):
        """The value of a port of the system."""
        return int.from_bytes(ctypes.string_at(*self._ports[f"system_{name}"]), "little")

    def profiled(self):
        """The changes of ``System.profile`` since :func:`dfx_profile` was called."""
        words = ctypes.c_void_p()
        size = self.call("profiled", ctypes.byref(words)) * 8
        return np.frombuffer(ctypes.string_at(words, size) if size else b"", "<u8")

    def log(self, core):
        """The events of the last run: cycles behind it, the core's number, its bit, and the value
        that says more."""
        place = ctypes.c_void_p()
        size = self.call("log", ctypes.byref(place))
        content = ctypes.string_at(place, size) if size else b""
        at = 0
        while at < size:
            cycle, bit = (int.from_bytes(content[at + skip:at + skip + 8], "little")
                          for skip in (0, 8))
            behind = at + 16 + self._events[bit]
            yield cycle, core, bit, int.from_bytes(content[at + 16:behind], "little")
            at = behind

    def set(self, name, value):
        """Drive a port of the system."""
        place, size = self._ports[f"system_{name}"]
        ctypes.memmove(place, value.to_bytes(size, "little"), size)

    def close(self):
        """Free the memory, and end a recording."""
        self._library.delete(self.handle)


class CompiledBus(Bus):
    """The host's side of a compiled core: each call runs cycles until its handshake is done.

    A transfer takes the same cycles as in the other engine, so that a run does too.
    """

    def __init__(self, engine, instance, ddr, on_wait):
        self._engine, self._instance = engine, instance
        self._ddr, self._on_wait = ddr, on_wait

    def _tick(self, *names):
        """Run a cycle; returns the values of ports at the edge that ends it."""
        self._instance.call("approach")
        values = [self._instance.get(f"host_{name}") for name in names]
        self._engine.advance(1)
        return values

    def _set(self, **values):
        for name, value in values.items():
            self._instance.set(f"host_{name}", value)

    async def read_register(self, offset):
        self._set(araddr=offset, arvalid=1)
        while self._tick("arready") == [0]:
            pass
        self._set(arvalid=0, rready=1)
        valid = 0
        while not valid:
            valid, word, response = self._tick("rvalid", "rdata", "rresp")
        self._set(rready=0)
        assert response == Response.OKAY.value, f"register {offset:#x} answers {response}"
        return word

    async def write_register(self, offset, word):
        self._set(awaddr=offset, awvalid=1, wdata=word, wstrb=0xF, wvalid=1)
        waiting = {"aw", "w"}
        while waiting:
            for name, ready in zip(("aw", "w"), self._tick("awready", "wready"), strict=True):
                if ready:
                    self._set(**{f"{name}valid": 0})
                    waiting.discard(name)
        self._set(bready=1)
        valid = 0
        while not valid:
            valid, response = self._tick("bvalid", "bresp")
        self._set(bready=0)
        assert response == Response.OKAY.value, f"register {offset:#x} answers {response}"

    async def read_memory(self, address, size):
        return bytes(self._ddr.array[address:address + size])

    async def write_memory(self, address, content):
        self._ddr.array[address:address + len(content)] = np.frombuffer(content, np.uint8)

    def look(self, name):
        """The value of an output of the system, seen from outside."""
        return self._instance.get(name)

    async def wait(self):
        for _ in range(LOOKS):
            raised = self._engine.advance(LOOK, stop_at_interrupt=True)
            if self._on_wait is not None:
                self._on_wait()
            if raised:
                return


class CompiledEngine:
    """Simulates systems as compiled C++.

    The cores of a ring are as many instances of one library, and run in threads.

    Parameters
    ----------
    systems : list of System
        One, which stands for all cores.
    memories : list of (list of Storage, Storage)
        The bytes of HBM and DDR of each core.
    inputs : list of dict
        For each core the values of inputs of the system that are constant during a run, by name:
        timing and more.
    links : Links
        Those of the ring.
    threads : int or None
        That run a ring at most; None is one for each CPU.

    Attributes
    ----------
    system : System
        What each core is.
    cycle : int
        Kernel cycles so far.

    Raises
    ------
    EngineError
        If Verilator or a C++ compiler is missing.
    """

    name = "compiled"

    #: Whether one System stands for all cores.
    shares_system = True

    def __init__(self, systems, memories, inputs, links=None, threads=None):
        Toolchain()
        self.system, = systems
        _mark_used(self.system)
        self.cycle = 0
        self._memories, self._inputs = memories, inputs
        self._links = links or Links()
        self._threads = threads or os.cpu_count() or 1
        self._observers = []
        self._events = _VIOLATED
        self._libraries = {}
        self._library = self._ring = None
        self._instances = []

    def observe(self, observer, kinds=TRACE):
        """Have ``observer(kind, write)`` called for each write of these kinds: its kind and its
        value, a dict of plain integers, with ``cycle`` and ``core`` among them. What nobody
        observes costs nothing. It is called after the cycles of the current call of
        :meth:`advance`, in the order of the cycles."""
        self._observers.append((observer, frozenset(kinds)))
        for kind in kinds:
            self._events |= 1 << TRACE.index(kind)

    def prepare(self, waves=None):
        """Build what :meth:`run` needs, if it has not been built before."""
        with_waves = waves is not None
        if with_waves not in self._libraries:
            path = build(self.system, waves=with_waves)
            self._libraries[with_waves] = _Library(path, with_waves)
        return self._libraries[with_waves]

    def run(self, host, *, on_wait=None, faults=None, waves=None, recording=None):
        """Run ``await host(*buses)`` from a full reset to its end, and return what it returns.

        Parameters
        ----------
        host : coroutine function
            What the host does, given a :class:`CompiledBus` for each core.
        on_wait : callable or None
            Called now and then while the host waits.
        faults : dict
            Faults of the memories: ``{"ddr": fault, 3: fault}``, by channel number, for a core
            alone; in a ring the keys are pairs of the core's number and these.
        waves : Waves or None
            Which cycles of the first core are recorded, and where.
        recording : Recording or None
            Takes ``System.profile`` of the first core.
        """
        self._library = library = self.prepare(waves)
        self._instances = instances = [_Instance(library, self.system.config)
                                       for _ in self._memories]
        handles = (ctypes.c_void_p * len(instances))(*(entry.handle for entry in instances))
        self._ring = library.ring(handles, len(instances), self._links.delay, self._threads)
        try:
            self._set_up(faults or {})
            if waves is not None:
                last = (1 << 64) - 1 if waves.last is None else waves.last
                instances[0].call("waves", str(waves.path).encode(), waves.first, last)
            if recording is not None:
                instances[0].call("profile")
            self.advance(1)
            # The bus has done its work when it returns: the coroutine is never suspended.
            host(*(CompiledBus(self, instance, ddr, on_wait) for instance, (_, ddr)
                   in zip(instances, self._memories, strict=True))).send(None)
        except StopIteration as end:
            return end.value
        finally:
            library.unlink(self._ring)
            self._ring, self._instances = None, []
            if recording is not None:
                words = instances[0].profiled()
                recording.extend(words >> _PROFILE_BITS, words & ((1 << _PROFILE_BITS) - 1))
            for instance in instances:
                instance.close()
            if waves is not None and waves.path.exists():
                write_save_file(waves.path, self.system.core.units)

    def _set_up(self, faults):
        system, width = self.system, FaultLayout.as_shape().size
        for instance, (hbm, ddr), inputs in zip(self._instances, self._memories, self._inputs,
                                                strict=True):
            instance.serve(0, "hbm", system.hbm_hub, hbm)
            instance.serve(1, "ddr", system.ddr_hub, [ddr])
            for name, value in inputs.items():
                instance.set(name, _bits(system.signature.members[name].shape, value))
        hbm = [0] * len(self._instances)
        for place, fault in faults.items():
            core, place = place if isinstance(place, tuple) else (0, place)
            bits = _bits(FaultLayout, fault)
            if place == "ddr":
                self._instances[core].set("ddr_fault", bits)
            else:
                hbm[core] |= bits << place * width
        for instance, bits in zip(self._instances, hbm, strict=True):
            instance.set("hbm_faults", bits)
        if self._links.fault is not None:
            self._library.cut(self._ring, *self._links.fault)

    def advance(self, cycles, *, stop_at_interrupt=False):
        """Run kernel cycles, and report their events; only while :meth:`run` is at work.

        Returns
        -------
        bool
            Whether an interrupt is high, and was waited for.
        """
        self.cycle += self._library.run(self._ring, cycles, self._events, stop_at_interrupt)
        logs = (instance.log(core) for core, instance in enumerate(self._instances))
        for event in heapq.merge(*logs, key=lambda event: event[:2]):
            self._report(*event)
        return stop_at_interrupt and any(entry.get("interrupt") for entry in self._instances)

    def _report(self, cycle, core, bit, value):
        system = self.system
        if bit == _VIOLATED:
            violations = system.violations.shape().from_bits(value)
            raise ProtocolError.first(list(violations), cycle,
                                      core if len(self._instances) > 1 else None)
        kind = TRACE[bit.bit_length() - 1]
        layout = getattr(system.trace, kind).shape()
        value = layout.from_bits(value)
        write = {key: getattr(value, key) for key in layout.members}
        write |= {"cycle": cycle - 1, "core": core}
        for observer, kinds in self._observers:
            if kind in kinds:
                observer(kind, write)


def _mark_used(value):
    """Spare the warning that a component was never elaborated: of a system whose library is in the
    cache only the ports are needed."""
    if isinstance(value, Elaboratable) and not value._MustUse__used:
        value._MustUse__used = True
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            _mark_used(part)


def _bits(layout, value):
    """A value of a layout as an integer."""
    return data.Layout.cast(layout).const(value).as_bits()
