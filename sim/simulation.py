"""A compiled model on a simulated core: memories filled, engine chosen, driver at work."""

import time
from dataclasses import dataclass, field

from dfx_rtl.config import CONFIGS
from dfx_rtl.host.driver import Driver
from dfx_rtl.model.memory import private_copy

from .engines.amaranth import AmaranthEngine
from .engines.compiled import CompiledEngine
from .engines.verilate import EngineError, Toolchain
from .memory.storage import Storage
from .memory.timing import Timing
from .system import System

__all__ = ["ENGINES", "Result", "Simulation", "choose_engine"]

ENGINES = {"amaranth": AmaranthEngine, "compiled": CompiledEngine}


def choose_engine(config):
    """The engine that suits a configuration on this machine: the compiled one for what is larger
    than ``nano``, if it can be built."""
    if config.tile_bits <= CONFIGS["nano"].tile_bits:
        return "amaranth"
    try:
        Toolchain()
    except EngineError:
        return "amaranth"
    return "compiled"


@dataclass
class Result:
    """What a run gave.

    Attributes
    ----------
    tokens : list of int
        Generated ids.
    token_cycles : list of int
        Kernel cycle at which each was known.
    counters : dict
        The core's performance counters, in cycles.
    overflow, invalid : bool
        The sticky flags of the arithmetic.
    cycles : int
        Cycles from the start of the run to its end.
    seconds : float
        Wall time of the simulation.
    """

    tokens: list = field(default_factory=list)
    token_cycles: list = field(default_factory=list)
    counters: dict = field(default_factory=dict)
    overflow: bool = False
    invalid: bool = False
    cycles: int = 0
    seconds: float = 0.0


class Simulation:
    """A core with a compiled model in its memories, ready to run.

    Parameters
    ----------
    compiled : CompiledModel
        Program and images.
    engine : str
        One of :data:`ENGINES`, or ``auto``: that of :func:`choose_engine`.
    stalls : int
        Probability, in 1/256, that a memory withholds a handshake in a cycle.
    seed : int
        Of the stalls.
    hbm_timing, ddr_timing : Timing or None
        Timing of the memories; None is that of the card.
    system : System or None
        What is simulated; None is a core of the program's configuration.
    inputs
        Values of more inputs of the system.
    """

    def __init__(self, compiled, engine="amaranth", *, stalls=0, seed=1, hbm_timing=None,
                 ddr_timing=None, system=None, **inputs):
        self.compiled = compiled
        config = compiled.config
        self.system = System(config) if system is None else system
        hbm_timing = (hbm_timing or Timing.hbm()).replace(stall_threshold=stalls, seed=seed)
        ddr_timing = (ddr_timing or Timing.ddr(200)).replace(stall_threshold=stalls,
                                                             seed=seed + 1000)
        beat_bytes = config.axi_bits // 8
        # Only as much of a memory as the program uses: a card's would not fit everywhere.
        image = private_copy(compiled.hbm)
        self.hbm = [Storage(channel.size, beat_bytes, channel) for channel in image]
        # What no run has written must not be mistaken for a value.
        for first, count in compiled.caches:
            for storage in self.hbm:
                storage.fill(first * config.word_bytes, (first + count) * config.word_bytes)
        beats = -(-compiled.ddr_bytes // config.ddr_bytes_per_beat)
        self.ddr = Storage(beats * config.ddr_bytes_per_beat, config.ddr_bytes_per_beat,
                           compiled.ddr)
        if engine == "auto":
            engine = choose_engine(config)
        self.engine = ENGINES[engine](
            self.system, self.hbm, self.ddr,
            {"hbm_timing": hbm_timing.to_const(), "ddr_timing": ddr_timing.to_const(), **inputs})

    def load_caches(self, machine):
        """Copy K and V of a numpy machine of the same model, as if the core had made them."""
        size = self.compiled.config.word_bytes
        for first, count in self.compiled.caches:
            part = slice(first * size, (first + count) * size)
            for storage, channel in zip(self.hbm, machine.hbm.image, strict=True):
                storage.array[part] = channel[part]

    def generate(self, prompt, output_count, *, first_position=0, on_token=None, on_wait=None,
                 watchdog=1 << 16, faults=None, **engine_options):
        """Run a prompt to its end.

        Parameters
        ----------
        prompt : list of int
            Token ids.
        output_count : int
            Tokens to generate.
        first_position : int
            Tokens of the prompt whose K and V the caches hold already, from an earlier run or from
            :meth:`load_caches`.
        on_token : callable or None
            Called with each generated id.
        on_wait : callable or None
            Called now and then with the number of cycles so far.
        watchdog : int
            Cycles without progress that are an error.
        faults, engine_options
            As of the engine's ``run``.

        Returns
        -------
        Result

        Raises
        ------
        CoreError
            If the core stopped with an error.
        """
        result = Result()
        parameters = self.compiled.run

        def observer(kind, write):
            result.token_cycles.append(write["cycle"])

        async def host(bus):
            driver = Driver(bus)
            await driver.identify()
            await driver.configure(parameters, watchdog=watchdog)
            result.tokens = await driver.run(parameters, prompt, output_count, on_token,
                                             first_position=first_position)
            status = await driver.status()
            result.overflow, result.invalid = status.overflow, status.invalid
            result.counters = await driver.counters()
            result.cycles = result.counters["CYCLES"]

        self.engine.observe(observer, kinds=("token",))
        self.engine.prepare(engine_options.get("waves"))
        started = time.perf_counter()
        self.engine.run(host, on_wait=on_wait, faults=faults, **engine_options)
        result.seconds = time.perf_counter() - started
        return result
