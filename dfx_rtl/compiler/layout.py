"""The memory map: what stands where in HBM and in DDR, every object by name.

HBM, in tiles: a block for each layer (weights, K of each head, V of each head), all blocks alike;
then the LM head. DDR, in bytes: program, vectors of the layers, token and position embeddings,
prompt, generated tokens, logits. In a ring HBM holds the core's share of the model; DDR is the same
on every core, but for the program.
"""

from dataclasses import dataclass

from ..isa import INSTRUCTION_BITS
from .errors import CompileError

__all__ = ["INSTRUCTION_BYTES", "LOGIT_BYTES", "MemoryLayout", "Region", "TOKEN_BYTES",
           "logits_stride", "plan_layout"]

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
TOKEN_BYTES = 4
LOGIT_BYTES = 4


@dataclass(frozen=True)
class Region:
    """An object in memory.

    Members
    -------
    name : str
    start, size : int
        In tiles (HBM) or bytes (DDR). In a layer's block, ``start`` counts from its base.
    kind : str
        ``weights``, ``cache``, ``constant``, ``program`` or ``buffer``.
    """

    name: str
    start: int
    size: int
    kind: str

    @property
    def end(self):
        """The first tile or byte behind."""
        return self.start + self.size


@dataclass(frozen=True)
class MemoryLayout:
    """The map of both memories.

    Members
    -------
    layer : tuple of Region
        A layer's block of HBM, in tiles from its base.
    fixed : tuple of Region
        The rest of HBM, in tiles from 0.
    ddr : tuple of Region
        DDR, in bytes.
    layers : int
        Layer blocks; that of layer n starts at tile ``n * layer_stride``.
    layer_stride : int
        Tiles from one layer's block to the next.
    vector_stride : int
        Bytes of DDR from one layer's vectors to the next.
    """

    layer: tuple
    fixed: tuple
    ddr: tuple
    layers: int
    layer_stride: int
    vector_stride: int

    @property
    def hbm_tiles(self):
        """Tiles in use."""
        ends = [region.end for region in self.fixed]
        return max([self.layers * self.layer_stride, *ends])

    @property
    def ddr_bytes(self):
        """Bytes in use."""
        return max(region.end for region in self.ddr)

    @property
    def image_bytes(self):
        """Bytes of DDR up to the end of what the compiler fills; buffers stand behind."""
        return max(region.end for region in self.ddr if region.kind != "buffer")

    def __getitem__(self, name):
        """The region of that name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for region in (*self.layer, *self.fixed, *self.ddr):
            if region.name == name:
                return region
        raise KeyError(name)

    def __contains__(self, name):
        return any(region.name == name for region in (*self.layer, *self.fixed, *self.ddr))

    def find_tile(self, tile, layer_relative):
        """The region of HBM that holds a tile, or None."""
        return _find(self.layer if layer_relative else self.fixed, tile)

    def find_address(self, address):
        """The region of DDR that holds a byte, or None."""
        return _find(self.ddr, address)

    @property
    def caches(self):
        """K and V of every layer and head: (first tile, tiles), absolute."""
        return [(layer * self.layer_stride + region.start, region.size)
                for layer in range(self.layers)
                for region in self.layer if region.kind == "cache"]


def _find(regions, place):
    for region in regions:
        if region.start <= place < region.end:
            return region
    return None


class _Map:
    """Regions one behind the other, each on a multiple of the alignment."""

    def __init__(self, alignment):
        self._alignment = alignment
        self.end = 0
        self.regions = []

    def add(self, name, size, kind):
        region = Region(name, self.end, size, kind)
        self.regions.append(region)
        self.end += -(-size // self._alignment) * self._alignment
        return region


def plan_layout(shape, *, logits):
    """Place everything of a model.

    Parameters
    ----------
    shape : Shape
    logits : bool
        Leave room for the logits of every position in DDR.

    Raises
    ------
    CompileError
        If a memory is too small.
    """
    config, model = shape.config, shape.model
    layer = _Map(config.burst_tiles)
    for product in shape.layer_products:
        layer.add(product.name, product.tiles, "weights")
    heads = range(shape.own_heads.first, shape.own_heads.end)
    for head in heads:
        layer.add(f"attn.key.cache.{head}", shape.key_tiles, "cache")
    for head in heads:
        layer.add(f"attn.value.cache.{head}", shape.value_tiles, "cache")
    layers_end = model.layers * layer.end
    product = shape.head_product
    fixed = (Region(product.name, layers_end, product.tiles, "weights"),)

    # A chunk is whole beats. Vectors are whole chunks, so that neighbours load as one.
    ddr = _Map(config.chunk_bytes)
    ddr.add("program", config.instructions * INSTRUCTION_BYTES, "program")
    vector_stride = sum(chunks for _, chunks in shape.layer_vectors) * config.chunk_bytes
    for number in range(model.layers):
        ddr.add(f"vectors.{number}", vector_stride, "constant")
    # Behind the last layer its successor's vectors are loaded: layer 0's, for the next token.
    ddr.add("vectors.0.again", vector_stride, "constant")
    row = shape.emb_chunks * config.chunk_bytes
    ddr.add("ln_f.weight", row, "constant")
    ddr.add("ln_f.bias", row, "constant")
    ddr.add("wpe", shape.positions * row, "constant")
    ddr.add("wte", model.vocabulary * row, "constant")
    ddr.add("prompt", shape.positions * TOKEN_BYTES, "buffer")
    ddr.add("output", shape.positions * TOKEN_BYTES, "buffer")
    if logits:
        ddr.add("logits", shape.positions * logits_stride(shape), "buffer")

    layout = MemoryLayout(tuple(layer.regions), fixed, tuple(ddr.regions), model.layers,
                          layer.end, vector_stride)
    if layout.hbm_tiles > config.hbm_tiles:
        raise CompileError(
            f"HBM of configuration {config.name!r} holds {config.hbm_tiles} tiles, the model needs "
            f"{layout.hbm_tiles}: {model.layers} layers of {layer.end} with caches for "
            f"{shape.positions} positions, lm_head {product.tiles}")
    for region in layout.ddr:
        if region.end > config.ddr_bytes:
            raise CompileError(
                f"DDR of configuration {config.name!r} holds {config.ddr_bytes} bytes, the model "
                f"needs {layout.ddr_bytes}: {region.name} ends at {region.end}")
    return layout


def logits_stride(shape):
    """Bytes of DDR from one position's logits to the next: whole groups and chunks."""
    config = shape.config
    alignment = max(config.chunk_bytes, config.lanes * LOGIT_BYTES)
    size = config.groups(shape.model.vocabulary) * config.lanes * LOGIT_BYTES
    return -(-size // alignment) * alignment
