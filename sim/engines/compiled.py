"""The compiled engine: the system's Verilog, translated to C++ by Verilator.

It needs a C++ compiler beside pip, and once some time to build; then it is hundreds of times as
fast as Amaranth's simulator. The clocks and the bytes of the memories are served in C++, see
``harness.cpp``.
"""

import ctypes

import numpy as np
from amaranth.hdl import Elaboratable
from amaranth.lib import data

from dfx_rtl.bus.axi import Response
from dfx_rtl.host.driver import Bus

from ..memory.timing import FaultLayout
from ..system import TRACE
from .amaranth import ProtocolError
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
        self._handle = library.new(config.kernel_period, config.hbm_period)
        self._ports = {}
        bytes_, size = ctypes.c_void_p(), ctypes.c_uint64()
        while name := library.port(self._handle, len(self._ports), ctypes.byref(bytes_),
                                   ctypes.byref(size)):
            self._ports[name.decode()] = bytes_.value, size.value

    def serve(self, number, name, hub, storages):
        """Have the ports of a hub read and write the arrays of storages."""
        self.call("hub", number, hub.address_width, hub.data_width // 8)
        numbers = {port: index for index, port in enumerate(self._ports)}
        for index, storage in enumerate(storages):
            self.call("storage", number, numbers[f"{name}_{index}_read_address"],
                      numbers[f"{name}_{index}_read_data"], storage.array.ctypes.data,
                      len(storage), storage.beat_bytes)

    def call(self, name, *arguments):
        """A function of the library on this instance."""
        return getattr(self._library, name)(self._handle, *arguments)

    def get(self, name):
        """The value of a port of the system."""
        return int.from_bytes(ctypes.string_at(*self._ports[f"system_{name}"]), "little")

    def profiled(self):
        """The changes of ``System.profile`` since :func:`dfx_profile` was called."""
        words = ctypes.c_void_p()
        size = self.call("profiled", ctypes.byref(words)) * 8
        return np.frombuffer(ctypes.string_at(words, size) if size else b"", "<u8")

    def set(self, name, value):
        """Drive a port of the system."""
        place, size = self._ports[f"system_{name}"]
        ctypes.memmove(place, value.to_bytes(size, "little"), size)

    def close(self):
        """Free the memory, and end a recording."""
        self._library.delete(self._handle)


class CompiledBus(Bus):
    """The host's side of a compiled core: each call runs cycles until its handshake is done.

    A transfer takes the same cycles as in the other engine, so that a run does too.
    """

    def __init__(self, engine, instance, on_wait):
        self._engine, self._instance, self._on_wait = engine, instance, on_wait

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
        return bytes(self._engine.ddr.array[address:address + size])

    async def write_memory(self, address, content):
        self._engine.ddr.array[address:address + len(content)] = np.frombuffer(content, np.uint8)

    async def wait(self):
        for _ in range(LOOKS):
            raised = self._engine.advance(LOOK, stop_at_interrupt=True)
            if self._on_wait is not None:
                self._on_wait()
            if raised:
                return


class CompiledEngine:
    """Simulates a system as compiled C++.

    Parameters
    ----------
    system : System
        What is simulated.
    hbm, ddr : list of Storage, Storage
        The bytes of the memories.
    inputs : dict
        The values of inputs of the system that are constant during a run, by name: timing and more.

    Attributes
    ----------
    system : System
        What is simulated.
    cycle : int
        Kernel cycles so far.

    Raises
    ------
    EngineError
        If Verilator or a C++ compiler is missing.
    """

    name = "compiled"

    def __init__(self, system, hbm, ddr, inputs):
        Toolchain()
        _mark_used(system)
        self.cycle = 0
        self.system = system
        self.hbm, self.ddr = hbm, ddr
        self._inputs = inputs
        self._observers = []
        self._events = _VIOLATED
        self._libraries = {}
        self._instance = None

    def observe(self, observer, kinds=TRACE):
        """Have ``observer(kind, write)`` called for each write of these kinds: its kind and its
        value, a dict of plain integers, with ``cycle`` among them. What nobody observes costs
        nothing."""
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
        """Run ``await host(bus)`` from a full reset to its end, and return what it returns.

        Parameters
        ----------
        host : coroutine function
            What the host does, given a :class:`CompiledBus`.
        on_wait : callable or None
            Called now and then while the host waits.
        faults : dict
            Faults of the memories: ``{"ddr": fault, 3: fault}``, by channel number.
        waves : Waves or None
            Which cycles are recorded, and where.
        recording : Recording or None
            Takes ``System.profile``.
        """
        self._instance = instance = _Instance(self.prepare(waves), self.system.config)
        try:
            instance.serve(0, "hbm", self.system.hbm_hub, self.hbm)
            instance.serve(1, "ddr", self.system.ddr_hub, [self.ddr])
            for name, value in self._inputs.items():
                instance.set(name, _bits(self.system.signature.members[name].shape, value))
            self._set_faults(faults or {})
            if waves is not None:
                last = (1 << 64) - 1 if waves.last is None else waves.last
                instance.call("waves", str(waves.path).encode(), waves.first, last)
            if recording is not None:
                instance.call("profile")
            self.advance(1)
            # The bus has done its work when it returns: the coroutine is never suspended.
            host(CompiledBus(self, instance, on_wait)).send(None)
        except StopIteration as end:
            return end.value
        finally:
            self._instance = None
            if recording is not None:
                words = instance.profiled()
                recording.extend(words >> _PROFILE_BITS, words & ((1 << _PROFILE_BITS) - 1))
            instance.close()
            if waves is not None and waves.path.exists():
                write_save_file(waves.path, self.system.core.units)

    def _set_faults(self, faults):
        width = FaultLayout.as_shape().size
        hbm = 0
        for place, fault in faults.items():
            bits = _bits(FaultLayout, fault)
            if place == "ddr":
                self._instance.set("ddr_fault", bits)
            else:
                hbm |= bits << place * width
        self._instance.set("hbm_faults", hbm)

    def advance(self, cycles, *, stop_at_interrupt=False):
        """Run kernel cycles, and report their events; only while :meth:`run` is at work.

        Returns
        -------
        bool
            Whether it ended early, since the interrupt was high.
        """
        instance = self._instance
        while cycles:
            count = instance.call("run", cycles, self._events, stop_at_interrupt)
            cycles -= count
            self.cycle += count
            events = instance.get("events") & self._events
            if events:
                self._report(events)
            if stop_at_interrupt and instance.get("interrupt"):
                return True
        return False

    def _report(self, events):
        system, instance = self.system, self._instance
        if events & _VIOLATED:
            violations = system.violations.shape().from_bits(instance.get("violations"))
            raise ProtocolError.first(list(violations), self.cycle)
        for index, kind in enumerate(TRACE):
            if events >> index & 1:
                layout = getattr(system.trace, kind).shape()
                value = layout.from_bits(instance.get(f"trace_{kind}"))
                write = {key: getattr(value, key) for key in layout.members}
                write["cycle"] = self.cycle - 1
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
