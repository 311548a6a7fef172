"""The sizes of a model on a core: chunks, groups and tiles of everything that it computes."""

from dataclasses import dataclass
from functools import cached_property

from .errors import CompileError
from .sharding import arrival_order, check_ring, plan_sharding
from .tiles import block_of, product_tiles

__all__ = ["LAYERNORMS", "Product", "Shape", "ValueSplit", "in_bursts", "query_name"]

#: What becomes of the LayerNorm in front of Q, K, V and the feed-forward layer: an instruction of
#: its own, or a part of the weights behind it.
LAYERNORMS = ("explicit", "folded")

# What the fields of the instructions, the tag and the exact sums have room for.
MAX_VALUES = 1 << 16
MAX_VOCABULARY = (1 << 17) - 1
MAX_POSITIONS = (1 << 16) - 1
MAX_COUNT = (1 << 8) - 1


@dataclass(frozen=True)
class Product:
    """A matrix product with weights: the name of its tiles in HBM, and its size.

    Members
    -------
    name : str
    rows, columns, block, tiles : int
    segments : tuple of Share
        The row chunks of the first block in the order in which they are read, an instruction each;
        none if all are read in one, from the first to the last.
    """

    name: str
    rows: int
    columns: int
    block: int
    tiles: int
    segments: tuple = ()

    @property
    def row_order(self):
        """The row chunks of the first block as they are read, or None in their natural order."""
        if not self.segments:
            return None
        return [chunk for share in self.segments for chunk in range(share.first, share.end)]


@dataclass(frozen=True)
class ValueSplit:
    """A part of each head's V whose columns fit one zig-zag block.

    Members
    -------
    column : int
        First column of the head.
    columns : int
        Valid columns.
    groups : int
        Column groups.
    tile : int
        First tile in a head's region of V.
    """

    column: int
    columns: int
    groups: int
    tile: int


def in_bursts(tiles, config):
    """``tiles`` rounded up to whole HBM bursts."""
    return -(-tiles // config.burst_tiles) * config.burst_tiles


def query_name(first, count):
    """The name of the product that makes Q of ``count`` heads from ``first`` on."""
    return f"attn.query.{first}" if count == 1 else f"attn.query.{first}-{first + count - 1}"


@dataclass(frozen=True)
class Shape:
    """A GPT-2's sizes in the units of a core, and the core's share of it.

    Registers and DDR hold whole vectors, and are the same on every core of a ring.

    Parameters
    ----------
    config : CoreConfig
    model : Gpt2Config
    positions : int
        Longest text, prompt and answer, in tokens; sizes the K and V caches.
    layernorm : str
        One of :data:`LAYERNORMS`.
    core_id, core_count : int
        The core's place in the ring.
    ring : str
        One of :data:`.RINGS`.

    Raises
    ------
    CompileError
        If a size is beyond what the instruction set can say, ``layernorm`` or ``ring`` is unknown,
        or there is no such core.
    """

    config: object
    model: object
    positions: int
    layernorm: str = "explicit"
    core_id: int = 0
    core_count: int = 1
    ring: str = "bidirectional"

    def __post_init__(self):
        model = self.model
        check_ring(self.core_id, self.core_count, self.ring)
        if self.layernorm not in LAYERNORMS:
            raise CompileError(f"layernorm must be {' or '.join(map(repr, LAYERNORMS))}, "
                               f"not {self.layernorm!r}")
        if not 1 <= self.positions <= model.positions:
            raise CompileError(f"positions must be in 1..{model.positions}, the model's, "
                               f"not {self.positions!r}")
        for name, value, limit in (
                ("positions", self.positions, MAX_POSITIONS),
                ("vocabulary", model.vocabulary, MAX_VOCABULARY),
                ("emb", model.emb, MAX_VALUES),
                ("inner", model.inner, MAX_VALUES),
                ("heads * padded head size", model.heads * self.head_columns, MAX_VALUES),
                ("layers", model.layers, MAX_COUNT),
                ("heads", model.heads, MAX_COUNT)):
            if value > limit:
                raise CompileError(f"{name} must be at most {limit}, not {value}")
        if (self.config.groups(model.head_dim) > self.config.max_block
                and self.config.max_block % self.config.groups_per_chunk):
            raise CompileError(
                f"head_dim must be at most {self.config.max_block * self.config.lanes}, "
                f"not {model.head_dim}: a block of {self.config.max_block} groups is not whole "
                f"chunks with tile {self.config.tile} and lanes {self.config.lanes}")
        # Here, so that too many cores are refused with everything else.
        assert self.sharding.heads[-1].end == model.heads

    @cached_property
    def sharding(self):
        """The shares of all cores: a :class:`.Sharding`."""
        config, model = self.config, self.model
        groups = config.groups_per_chunk
        return plan_sharding(
            self.core_count, heads=model.heads,
            head_tiles=3 * self.emb_chunks * config.groups(self.head_columns),
            projection=(self.emb_chunks, self.heads_chunks * groups),
            inner=(self.inner_chunks, self.emb_chunks * groups),
            output=(self.emb_chunks, self.inner_chunks * groups),
            vocabulary=config.chunks(model.vocabulary))

    @property
    def own_heads(self):
        """The core's heads: a :class:`.Share`."""
        return self.sharding.heads[self.core_id]

    @property
    def most_heads(self):
        """The heads of the core that has the most."""
        return max(share.count for share in self.sharding.heads)

    @property
    def first_token(self):
        """The token id that the first column of the core's LM head stands for."""
        return self.sharding.vocabulary[self.core_id].first * self.config.tile

    def own_columns(self, share, columns):
        """How many of ``columns`` columns a share, in chunks, holds."""
        tile = self.config.tile
        return max(0, min(share.end * tile, columns) - share.first * tile)

    @property
    def folded(self):
        """ln_1 and ln_2 are in the weights behind them."""
        return self.layernorm == "folded"

    @property
    def emb_chunks(self):
        """Chunks of the residual."""
        return self.config.chunks(self.model.emb)

    @property
    def inner_chunks(self):
        """Chunks of the feed-forward layer."""
        return self.config.chunks(self.model.inner)

    @property
    def position_chunks(self):
        """Chunks of a row of scores."""
        return self.config.chunks(self.positions)

    @property
    def head_chunks(self):
        """Chunks of one head; every head starts on a chunk of its own."""
        return self.config.chunks(self.model.head_dim)

    @property
    def head_columns(self):
        """Columns of one head in the products for Q, K and V, padding included."""
        return self.head_chunks * self.config.tile

    @property
    def head_groups(self):
        """Column groups of one head's context."""
        return self.config.groups(self.model.head_dim)

    @property
    def heads_chunks(self):
        """Chunks of all heads."""
        return self.model.heads * self.head_chunks

    @property
    def pairs(self):
        """The core's heads whose Q is one product: (first head, heads)."""
        own = self.own_heads
        return [(first, min(2, own.end - first)) for first in range(own.first, own.end, 2)]

    @property
    def key_tiles(self):
        """Tiles from one head's K to the next's."""
        return in_bursts(self.config.groups(self.positions) * self.head_chunks, self.config)

    @property
    def value_splits(self):
        """How a head's V is cut so that its columns fit one block; mostly one part."""
        config, splits, tile = self.config, [], 0
        width = config.max_block * config.lanes
        for column in range(0, self.model.head_dim, width):
            columns = min(width, self.model.head_dim - column)
            splits.append(ValueSplit(column, columns, config.groups(columns), tile))
            tile += in_bursts(self.position_chunks * config.groups(columns), config)
        return splits

    @property
    def value_tiles(self):
        """Tiles from one head's V to the next's."""
        last = self.value_splits[-1]
        return last.tile + in_bursts(self.position_chunks * last.groups, self.config)

    @cached_property
    def layer_products(self):
        """The core's products of a layer, in the order of their tiles in HBM.

        The first one behind a SYNC reads its rows in the order in which the ring brings them. Once
        its first block is done, they are all there.
        """
        model, sharding, own = self.model, self.sharding, self.core_id
        projection, inner, output = sharding.projection, sharding.inner, sharding.output
        head_columns = self.own_heads.count * self.head_columns
        products = [
            self._product("attn.key", model.emb, head_columns, output if self.folded else ()),
            self._product("attn.value", model.emb, head_columns),
            *(self._product(query_name(first, count), model.emb, count * self.head_columns)
              for first, count in self.pairs),
            self._product("attn.projection", model.heads * self.head_columns,
                          self.own_columns(projection[own], model.emb),
                          [share.scaled(self.head_chunks) for share in sharding.heads]),
            self._product("mlp.fc", model.emb, self.own_columns(inner[own], model.inner),
                          projection if self.folded else ()),
            self._product("mlp.projection", model.inner,
                          self.own_columns(output[own], model.emb), inner),
        ]
        return [product for product in products if product.columns]

    @property
    def head_product(self):
        """The LM head: the transposed token embedding, or the core's share of it."""
        share = self.sharding.vocabulary[self.core_id]
        return self._product("lm_head", self.model.emb,
                             self.own_columns(share, self.model.vocabulary))

    def useful_tiles(self, position, *, head=True):
        """Tiles of this core that hold an operand that a valid result of this position needs.

        With one core it is the roof. The roof of a ring is :func:`.cluster_roof`.

        Parameters
        ----------
        position : int
            Counted from 0.
        head : bool
            Whether the LM head is executed, as it is for every generated token.
        """
        config, model, heads, length = self.config, self.model, self.own_heads.count, position + 1
        emb_chunks, sharding, own = self.emb_chunks, self.sharding, self.core_id

        def groups(shares, columns):
            return config.groups(self.own_columns(shares[own], columns))

        layer = (3 * emb_chunks * heads * self.head_groups
                 + self.heads_chunks * groups(sharding.projection, model.emb)
                 + emb_chunks * groups(sharding.inner, model.inner)
                 + self.inner_chunks * groups(sharding.output, model.emb)
                 + heads * (config.groups(length) * self.head_chunks
                            + config.chunks(length) * self.head_groups))
        return model.layers * layer + (self.head_product.tiles if head else 0)

    def _product(self, name, rows, columns, origins=()):
        """A product; ``origins`` are the cores' shares of its row chunks, if they come by ring."""
        config, segments = self.config, ()
        if not columns:
            return Product(name, rows, 0, 0, 0)
        block = block_of(columns, config)
        # What stands behind the first block is an instruction of its own, and begins on a chunk.
        if origins and (config.groups(columns) <= block or block % config.groups_per_chunk == 0):
            order = arrival_order(self.core_id, self.core_count, self.ring)
            segments = tuple(origins[core] for core in order if origins[core].count)
        return Product(name, rows, columns, block, product_tiles(rows, columns, config),
                       segments if len(segments) > 1 else ())

    @property
    def layer_vectors(self):
        """The vectors of a layer in DDR, as (name, chunks), in their order."""
        emb, heads = self.emb_chunks, self.heads_chunks
        norm_1, norm_2 = ([] if self.folded else [(f"{norm}.weight", emb), (f"{norm}.bias", emb)]
                          for norm in ("ln_1", "ln_2"))
        return [
            *norm_1,
            ("attn.key.bias", heads), ("attn.value.bias", heads), ("attn.query.bias", heads),
            ("attn.projection.bias", emb),
            *norm_2,
            ("mlp.fc.bias", self.inner_chunks),
            ("mlp.projection.bias", emb),
        ]
