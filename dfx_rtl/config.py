"""The parameters of a core: one frozen dataclass, and the configurations that have a name."""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONFIGS", "MAX_CORES", "CoreConfig", "load_config"]

#: Cores that a ring can have.
MAX_CORES = 8


def _power_of_two(value):
    return isinstance(value, int) and value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """What a person chooses about a core; everything else follows as properties.

    Parameters
    ----------
    name : str
        The configuration's name, for listings and reports.
    tile : int
        d, the length of the dot product in binary16 values (paper section 5.3); a power of two.
        A *chunk* is this many values: the word of the vector register file.
    lanes : int
        l, the columns that are computed at once; a power of two that divides ``tile``.
    channels : int
        HBM channels, at least 2. A tile of weights is spread evenly over all of them.
    axi_bits : int
        Data width of a channel's AXI3 port in bits. A channel's share of a tile is two beats.
    channel_bytes : int
        Memory behind one channel, in bytes.
    ddr_bits : int
        Data width of the DDR port in bits; a chunk is one or more beats.
    ddr_bytes : int
        Memory behind the DDR port, in bytes.
    vector_chunks : int
        Depth of the vector register file, in chunks.
    scalars : int
        Depth of the scalar register file, in binary32 values.
    weight_tiles : int
        Tiles in flight or stored between HBM and the MPU: how far the DMA runs ahead.
    accumulators : int
        Exact accumulators a lane. A block of column groups uses as many as it has groups.
    vector_lanes : int
        Lanes of the VPU; a power of two that divides ``tile``.
    instructions : int
        Depth of the instruction memory, in instructions.
    queue_depth : int
        Instructions that wait in front of each unit.
    kernel_period, hbm_period : int
        Clock periods in simulation time units: 18 and 8 stand for 200 MHz and 450 MHz.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or two do not fit each other.
    """

    name: str
    tile: int
    lanes: int
    channels: int
    axi_bits: int
    channel_bytes: int
    ddr_bits: int
    ddr_bytes: int
    vector_chunks: int = 1024
    scalars: int = 64
    weight_tiles: int = 512
    accumulators: int = 64
    vector_lanes: int
    instructions: int = 1024
    queue_depth: int = 16
    kernel_period: int = 18
    hbm_period: int = 8

    def __post_init__(self):
        for name in ("tile", "lanes", "channels", "axi_bits", "channel_bytes", "ddr_bits",
                     "ddr_bytes", "vector_chunks", "scalars", "weight_tiles", "accumulators",
                     "vector_lanes", "instructions", "queue_depth"):
            value = getattr(self, name)
            if not _power_of_two(value):
                raise ValueError(f"CoreConfig.{name} must be a power of two, not {value!r}")
        for name in ("kernel_period", "hbm_period"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 2 or value % 2:
                raise ValueError(f"CoreConfig.{name} must be an even number, not {value!r}")
        if self.channels < 2:
            raise ValueError(f"CoreConfig.channels must be at least 2, not {self.channels!r}")
        for name in ("lanes", "vector_lanes"):
            value = getattr(self, name)
            if self.tile % value:
                raise ValueError(f"CoreConfig.{name} must divide tile = {self.tile}, "
                                 f"which {value} does not")
        if self.tile_bits != 2 * self.axi_bits * self.channels:
            raise ValueError(f"CoreConfig.axi_bits must be tile * lanes * 16 / channels / 2 = "
                             f"{self.tile_bits // self.channels // 2}, not {self.axi_bits}: "
                             f"a tile is two beats of every channel")
        if self.accumulators < 2 * self.max_block:
            raise ValueError(f"CoreConfig.accumulators must be at least {2 * self.max_block}, "
                             f"not {self.accumulators}")
        if not 64 <= self.ddr_bits <= 512:
            raise ValueError(f"CoreConfig.ddr_bits must be in 64..512, not {self.ddr_bits}")
        if self.chunk_bits % self.ddr_bits:
            raise ValueError(f"CoreConfig.ddr_bits must divide a chunk of {self.chunk_bits} bits, "
                             f"which {self.ddr_bits} does not")
        for name, limit in (("vector_chunks", 1 << 12), ("scalars", 1 << 8),
                            ("instructions", 1 << 12)):
            if getattr(self, name) > limit:
                raise ValueError(f"CoreConfig.{name} must be at most {limit}, "
                                 f"not {getattr(self, name)}")

    @property
    def max_block(self):
        """Column groups that a zig-zag block can hold."""
        return 32

    @property
    def tile_bits(self):
        """Bits in a tile of d x l weights."""
        return self.tile * self.lanes * 16

    @property
    def chunk_bits(self):
        """Bits in a chunk of d values."""
        return self.tile * 16

    @property
    def word_bits(self):
        """Bits of a tile that come from one channel: two AXI beats."""
        return self.tile_bits // self.channels

    @property
    def word_bytes(self):
        """Bytes of a tile that come from one channel."""
        return self.word_bits // 8

    @property
    def burst_tiles(self):
        """Tiles in a burst of 16 beats; bursts are aligned to as many."""
        return 8

    @property
    def hbm_tiles(self):
        """Tiles that the HBM holds."""
        return self.channel_bytes // self.word_bytes

    @property
    def groups_per_chunk(self):
        """Column groups of l results that fill a chunk of d values."""
        return self.tile // self.lanes

    @property
    def chunk_bytes(self):
        """Bytes in a chunk."""
        return self.chunk_bits // 8

    @property
    def ddr_bytes_per_beat(self):
        """Bytes in a beat of the DDR port."""
        return self.ddr_bits // 8

    def chunks(self, values):
        """The chunks that ``values`` values fill, the last one perhaps in part."""
        return -(-values // self.tile)

    def groups(self, columns):
        """The column groups that ``columns`` columns fill, the last one perhaps in part."""
        return -(-columns // self.lanes)


CONFIGS = {config.name: config for config in (
    CoreConfig(name="nano", tile=8, lanes=2, channels=2, axi_bits=64,
               channel_bytes=1 << 24, ddr_bits=128, ddr_bytes=1 << 24,
               vector_lanes=2),
    CoreConfig(name="small", tile=16, lanes=4, channels=2, axi_bits=256,
               channel_bytes=1 << 26, ddr_bits=256, ddr_bytes=1 << 26,
               vector_lanes=4),
    CoreConfig(name="small8", tile=16, lanes=8, channels=4, axi_bits=256,
               channel_bytes=1 << 26, ddr_bits=256, ddr_bytes=1 << 26,
               vector_lanes=8),
    CoreConfig(name="tall", tile=32, lanes=4, channels=4, axi_bits=256,
               channel_bytes=1 << 26, ddr_bits=512, ddr_bytes=1 << 26,
               vector_lanes=4),
    CoreConfig(name="u280", tile=64, lanes=16, channels=32, axi_bits=256,
               channel_bytes=1 << 28, ddr_bits=512, ddr_bytes=1 << 35,
               vector_lanes=16, queue_depth=64),
)}


def load_config(name_or_path):
    """The configuration of that name, or the one that a TOML file describes.

    A TOML file holds the fields of :class:`CoreConfig`; ``base = "small"`` takes what it leaves
    out from a named one.

    Raises
    ------
    ValueError
        If there is no such configuration, or the file does not describe one.
    """
    if name_or_path in CONFIGS:
        return CONFIGS[name_or_path]
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ValueError(f"configuration {name_or_path!r} is unknown: expected one of "
                         f"{', '.join(CONFIGS)} or a .toml file")
    try:
        fields = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"configuration {path} cannot be read: {error}") from None
    base = fields.pop("base", None)
    if base is not None and base not in CONFIGS:
        raise ValueError(f"configuration {path}: base {base!r} is unknown: expected one of "
                         f"{', '.join(CONFIGS)}")
    known = {field.name for field in dataclasses.fields(CoreConfig)}
    for key in fields:
        if key not in known:
            raise ValueError(f"configuration {path}: field {key!r} is unknown: expected one of "
                             f"base, {', '.join(sorted(known))}")
    values = dataclasses.asdict(CONFIGS[base]) if base else {}
    values.update(name=path.stem)
    values.update(fields)
    try:
        return CoreConfig(**values)
    except TypeError as error:
        raise ValueError(f"configuration {path}: {error}") from None
