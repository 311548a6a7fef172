"""A compiled model on simulated cores: memories filled, engine chosen, driver at work."""

import time
from dataclasses import dataclass, field

from dfx_rtl.config import CONFIGS
from dfx_rtl.host.cluster import run_cluster
from dfx_rtl.host.driver import Driver
from dfx_rtl.model.memory import private_copy

from .aurora_system import AuroraSystem
from .engines.amaranth import AmaranthEngine
from .engines.compiled import CompiledEngine
from .engines.ring import Links
from .engines.verilate import EngineError, Toolchain
from .link.aurora_end import LINE_LATENCY
from .link.channel import error_threshold
from .link.endpoint import ENDPOINT_LATENCY
from .memory.storage import Storage
from .memory.timing import Timing
from .system import System

__all__ = ["ENGINES", "LINKS", "CoreResult", "Result", "Simulation", "check_link", "choose_engine"]

#: Cycles beyond two times the watchdog's after which a core of a failed ring is given up.
PATIENCE = 4096

#: What a link between cores is: a delay that loses nothing, or the card's link layer on lines.
LINKS = ("plain", "aurora")

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
class CoreResult:
    """What a core tells at the end of a run.

    Attributes
    ----------
    counters : dict
        The performance counters, in cycles.
    overflow, invalid : bool
        The sticky flags of the arithmetic.
    line_error_count : int or None
        Blocks with an error that came over its links; None if they are plain.
    """

    counters: dict
    overflow: bool
    invalid: bool
    line_error_count: int | None = None


@dataclass
class Result:
    """What a run gave.

    Attributes
    ----------
    tokens : list of int
        Generated ids.
    token_cycles : list of int
        Kernel cycle at which each was known, on the first core.
    counters : dict
        The first core's performance counters, in cycles.
    cores : list of CoreResult
        Of every core.
    overflow, invalid : bool
        The sticky flags of the arithmetic, of all cores together.
    cycles : int
        Cycles from the start of the run to its end, on the first core.
    seconds : float
        Wall time of the simulation.
    """

    tokens: list = field(default_factory=list)
    token_cycles: list = field(default_factory=list)
    counters: dict = field(default_factory=dict)
    cores: list = field(default_factory=list)
    overflow: bool = False
    invalid: bool = False
    cycles: int = 0
    seconds: float = 0.0


class Simulation:
    """Cores with a compiled model in their memories, ready to run.

    Parameters
    ----------
    compiled : CompiledModel or list of CompiledModel
        Program and images; of all cores of a ring, in their order, as of ``compile_cluster``.
    engine : str
        One of :data:`ENGINES`, or ``auto``: that of :func:`choose_engine`.
    stalls : int
        Probability, in 1/256, that a memory withholds a handshake in a cycle.
    seed : int
        Of the stalls.
    hbm_timing, ddr_timing : Timing or None
        Timing of the memories; None is that of the card.
    link : str
        One of :data:`LINKS`. ``aurora`` is only for a ring.
    bit_error_rate : float
        Of the lines, if the link has any.
    hop_latency : int
        Kernel cycles from a core to its neighbour; see :class:`~.engines.ring.Links`.
    link_fault : (int, int, int) or None
        A link that is cut: core, direction and cycle; see :class:`~.engines.ring.Links`.
    threads : int or None
        That the compiled engine uses at most for a ring; None is a thread for each CPU.
    system : System or None
        What is simulated; None is a core of the program's configuration. Only for one core.
    inputs
        Values of more inputs of the system.

    Attributes
    ----------
    models : list of CompiledModel
        Of each core.
    memories : list of (list of Storage, Storage)
        HBM and DDR of each core; ``hbm`` and ``ddr`` are those of the first one.
    engine
        What simulates.

    Raises
    ------
    ValueError
        If the kind, the latency, the error rate or the fault of the links cannot be.
    """

    def __init__(self, compiled, engine="amaranth", *, stalls=0, seed=1, hbm_timing=None,
                 ddr_timing=None, link="plain", bit_error_rate=0, hop_latency=90, link_fault=None,
                 threads=None, system=None, **inputs):
        self.models = models = compiled if isinstance(compiled, list) else [compiled]
        self.compiled = models[0]
        config = models[0].config
        if link_fault is not None and not 0 <= link_fault[0] < len(models) > 1:
            raise ValueError(f"link fault of core {link_fault[0]}: the ring has {len(models)} "
                             f"cores")
        self._lines = check_link(link, len(models), bit_error_rate)
        links = Links(hop_latency=hop_latency, fault=link_fault,
                      inside=LINE_LATENCY if self._lines else ENDPOINT_LATENCY)
        if self._lines:
            inputs["line_error"] = {"threshold": error_threshold(bit_error_rate), "burst": 1,
                                    "unplugged": 0, "noise": 0}
        if engine == "auto":
            engine = choose_engine(config)
        engine = ENGINES[engine]
        self.memories = [_memories(model) for model in models]
        self.hbm, self.ddr = self.memories[0]
        count = 1 if engine.shares_system else len(models)
        make = AuroraSystem if self._lines else System
        systems = [make(config) for _ in range(count)] if system is None else [system]
        self.system = systems[0]
        hbm_timing, ddr_timing = hbm_timing or Timing.hbm(), ddr_timing or Timing.ddr(200)
        self.engine = engine(systems, self.memories, [
            {"hbm_timing": hbm_timing.replace(
                stall_threshold=stalls, seed=seed + 2000 * core).to_const(),
             "ddr_timing": ddr_timing.replace(
                stall_threshold=stalls, seed=seed + 2000 * core + 1000).to_const(),
             **inputs} for core in range(len(models))], links, threads)

    def load_caches(self, machine):
        """Copy K and V of a numpy machine of the same model, as if the core had made them; of a
        :class:`.Cluster`, if there are several."""
        machines = getattr(machine, "machines", [machine])
        size = self.compiled.config.word_bytes
        for model, (hbm, _), machine in zip(self.models, self.memories, machines, strict=True):
            for first, count in model.caches:
                part = slice(first * size, (first + count) * size)
                for storage, channel in zip(hbm, machine.hbm.image, strict=True):
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
            If a core stopped with an error; of a ring it is a :class:`.ClusterError`.
        """
        result = Result()
        parameters = [model.run for model in self.models]

        def observer(kind, write):
            if write["core"] == 0:
                result.token_cycles.append(write["cycle"])

        async def host(*buses):
            drivers = [Driver(bus) for bus in buses]
            for driver, run in zip(drivers, parameters, strict=True):
                await driver.identify()
                await driver.configure(run, watchdog=watchdog)
            if len(drivers) == 1:
                result.tokens = await drivers[0].run(parameters[0], prompt, output_count, on_token,
                                                     first_position=first_position)
            else:
                result.tokens = await run_cluster(
                    buses[0], drivers, parameters, prompt, output_count, on_token,
                    first_position=first_position, now=lambda: self.engine.cycle,
                    patience=2 * watchdog + PATIENCE)
            for driver, bus in zip(drivers, buses, strict=True):
                status = await driver.status()
                result.cores.append(CoreResult(
                    await driver.counters(), status.overflow, status.invalid,
                    bus.look("line_error_count") if self._lines else None))
            result.overflow = any(core.overflow for core in result.cores)
            result.invalid = any(core.invalid for core in result.cores)
            result.counters = result.cores[0].counters
            result.cycles = result.counters["CYCLES"]

        self.engine.observe(observer, kinds=("token",))
        self.engine.prepare(engine_options.get("waves"))
        started = time.perf_counter()
        self.engine.run(host, on_wait=on_wait, faults=faults, **engine_options)
        result.seconds = time.perf_counter() - started
        return result


def check_link(link, cores, bit_error_rate):
    """Whether a link has lines; a ValueError if there is no such link."""
    if link not in LINKS:
        raise ValueError(f"link must be one of {', '.join(LINKS)}, not {link!r}")
    lines = link == "aurora"
    if lines and cores == 1:
        raise ValueError("link aurora is for at least 2 cores: one core has no links")
    if not 0 <= bit_error_rate <= 1e-2:
        raise ValueError(f"bit error rate must be in 0..0.01, not {bit_error_rate!r}")
    if bit_error_rate and not lines:
        raise ValueError(f"link {link} has no bits: a bit error rate needs link aurora")
    return lines


def _memories(compiled):
    """HBM and DDR of a core, with what the model needs in them."""
    config = compiled.config
    beat_bytes = config.axi_bits // 8
    # Only as much of a memory as the program uses: a card's would not fit everywhere.
    image = private_copy(compiled.hbm)
    hbm = [Storage(channel.size, beat_bytes, channel) for channel in image]
    # What no run has written must not be mistaken for a value.
    for first, count in compiled.caches:
        for storage in hbm:
            storage.fill(first * config.word_bytes, (first + count) * config.word_bytes)
    beats = -(-compiled.ddr_bytes // config.ddr_bytes_per_beat)
    return hbm, Storage(beats * config.ddr_bytes_per_beat, config.ddr_bytes_per_beat, compiled.ddr)
