"""The sizes of a model on a core: chunks, groups and tiles of everything that it computes."""

from dataclasses import dataclass

from .errors import CompileError
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
    """A matrix product with weights: the name of its tiles in HBM, and its size."""

    name: str
    rows: int
    columns: int
    block: int
    tiles: int


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
    """A GPT-2's sizes in the units of a core.

    Parameters
    ----------
    config : CoreConfig
    model : Gpt2Config
    positions : int
        Longest text, prompt and answer, in tokens; sizes the K and V caches.
    layernorm : str
        One of :data:`LAYERNORMS`.

    Raises
    ------
    CompileError
        If a size is beyond what the instruction set can say, or ``layernorm`` is unknown.
    """

    config: object
    model: object
    positions: int
    layernorm: str = "explicit"

    def __post_init__(self):
        model = self.model
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
        """Heads whose Q is one product: (first head, heads)."""
        heads = self.model.heads
        return [(first, min(2, heads - first)) for first in range(0, heads, 2)]

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

    @property
    def layer_products(self):
        """The products of a layer, in the order of their tiles in HBM."""
        model, heads = self.model, self.model.heads
        return [
            self._product("attn.key", model.emb, heads * self.head_columns),
            self._product("attn.value", model.emb, heads * self.head_columns),
            *(self._product(query_name(first, count), model.emb, count * self.head_columns)
              for first, count in self.pairs),
            self._product("attn.projection", heads * self.head_columns, model.emb),
            self._product("mlp.fc", model.emb, model.inner),
            self._product("mlp.projection", model.inner, model.emb),
        ]

    @property
    def head_product(self):
        """The LM head: the transposed token embedding."""
        return self._product("lm_head", self.model.emb, self.model.vocabulary)

    def useful_tiles(self, position, *, head=True):
        """Tiles that hold an operand that a valid result of this position needs: the roof.

        Parameters
        ----------
        position : int
            Counted from 0.
        head : bool
            Whether the LM head is executed, as it is for every generated token.
        """
        config, model = self.config, self.model
        emb_groups, chunks, length = config.groups(model.emb), self.emb_chunks, position + 1
        layer = (3 * chunks * model.heads * self.head_groups
                 + self.heads_chunks * emb_groups
                 + chunks * config.groups(model.inner) + self.inner_chunks * emb_groups
                 + model.heads * (config.groups(length) * self.head_chunks
                                  + config.chunks(length) * self.head_groups))
        return model.layers * layer + (self.head_product.tiles if head else 0)

    def _product(self, name, rows, columns):
        return Product(name, rows, columns, block_of(columns, self.config),
                       product_tiles(rows, columns, self.config))

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
