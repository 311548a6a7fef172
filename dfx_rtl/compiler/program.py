"""The program of a GPT-2: what the core executes, in the order in which it is dispatched.

K and V of all heads come first, because they return through HBM; then Q of the heads in pairs,
with the scores one pair behind and score x V some pairs behind that, so that softmax and the way
through HBM hide behind products with weights.

Dispatch waits at an instruction whose destination is still read or written. So vectors are loaded
at least one stage before they are read, and never in front of something that could run: those of
the first LayerNorm and of Q, K and V in the layer before, behind the first feed-forward product.
Behind the last layer that is layer 0 again, for the next token.

In a ring a SYNC follows every product whose columns are shared out, and the last head's score x V.
It is dispatched while those still wait in their queue, so every chunk leaves as soon as it is
written. The first product behind it takes the core's own chunks first, then those of the others as
they come: it is several instructions, segments of its rows. All others find everything there.

With the LayerNorms folded, the products behind them read the residual itself, chunk by chunk as it
is made; RSTD stands where LAYERNORM stood, and they need its scalar only when their sums leave.
"""

import math

import numpy as np

from ..arith.formats import bits32
from ..isa import Index, Instruction, Opcode
from .errors import CompileError
from .shape import query_name
from .tiles import product_tiles

__all__ = ["assemble"]


def _immediate(value):
    """A number as the bits of a binary32."""
    return bits32(np.float32(value))


class _Assembler:
    """Collects instructions; knows where everything stands."""

    def __init__(self, shape, layout, registers):
        self.shape = shape
        self.config = shape.config
        self.model = shape.model
        self.layout = layout
        self.registers = registers
        self.instructions = []
        self.products = {product.name: product for product in shape.layer_products}

    def add(self, opcode, **fields):
        self.instructions.append(Instruction(opcode, **fields))

    def load(self, register, chunks, address, *, stride=0, index=Index.NONE):
        self.add(Opcode.LOAD, chunk=self.registers.chunk(register), chunks=chunks,
                 address=address, stride=stride, index=index)

    def load_vectors(self, first, last, *, layer_relative, ahead=0):
        """Load the vectors of a layer from ``first`` to ``last``; they are adjacent everywhere."""
        names = [name for name, _ in self.shape.layer_vectors]
        sizes = dict(self.shape.layer_vectors)
        begin, end = names.index(first), names.index(last) + 1
        offset = sum(sizes[name] for name in names[:begin])
        self.load(first, sum(sizes[name] for name in names[begin:end]),
                  self.layout["vectors.0"].start + offset * self.config.chunk_bytes
                  + ahead * self.layout.vector_stride,
                  stride=self.layout.vector_stride if layer_relative else 0,
                  index=Index.LAYER if layer_relative else Index.NONE)

    def layer_norm(self, destination, source, norm):
        n, chunk = self.model.emb, self.registers.chunk
        self.add(Opcode.LAYERNORM, destination=chunk(destination), source1=chunk(source),
                 source2=chunk(f"{norm}.weight"), source3=chunk(f"{norm}.bias"), length=n,
                 immediate0=_immediate(1 / n), immediate1=_immediate(1 / n**2),
                 immediate2=_immediate(self.model.layer_norm_epsilon))

    def normalise(self, number, norm):
        """LayerNorm of a residual: the (source, scale) of the products behind it."""
        residual, n = f"residual.{number}", self.model.emb
        if not self.shape.folded:
            self.layer_norm(f"normal.{number}", residual, norm)
            return f"normal.{number}", None
        scale = f"rstd.{number}"
        self.add(Opcode.RSTD, scalar_destination=self.registers.scalar(scale),
                 source1=self.registers.chunk(residual), length=n,
                 immediate1=_immediate(1 / n**2),
                 immediate2=_immediate(self.model.layer_norm_epsilon))
        return residual, scale

    def product(self, name, destination, source, *, bias, scale=None, offset=0, residual=None,
                gelu=False):
        """The core's share of a product with the weights of the layer, if it has one.

        ``offset`` is its place in the result, the bias and the residual, in chunks.
        """
        if name not in self.products:
            return
        product, config = self.products[name], self.config
        tile = self.layout[name].start

        def part(columns, first_row, rows, **fields):
            nonlocal tile
            tiles = product_tiles(rows, columns, config)
            self.add(Opcode.CONV1D, source=self.registers.chunk(source) + first_row, rows=rows,
                     columns=columns, block=product.block, tile=tile, tiles=tiles,
                     layer_relative=1, token_rows=1, **fields)
            tile += tiles

        def result(place):
            chunk = self.registers.chunk
            fields = {"last": 1, "write": 1, "destination": chunk(destination) + place,
                      "bias_enable": 1, "bias": chunk(bias) + place, "gelu": int(gelu)}
            if scale is not None:
                fields |= {"scale_enable": 1, "scale": self.registers.scalar(scale)}
            if residual is not None:
                fields |= {"residual_enable": 1, "residual": chunk(residual) + place}
            return fields

        left = product.columns
        if product.segments:
            columns = min(left, product.block * config.lanes)
            for share in product.segments:
                rows = self.shape.own_columns(share, product.rows)
                is_last = share is product.segments[-1]
                part(columns, share.first, rows, first=int(share is product.segments[0]),
                     **(result(offset) if is_last else {}))
            left -= columns
            offset += columns // config.tile
        if left:
            part(left, 0, product.rows, first=1, **result(offset))

    def sync(self, register, shares):
        """Bring every core's share of a vector to every core."""
        if self.shape.core_count > 1:
            own, chunk = shares[self.shape.core_id], self.registers.chunk(register)
            self.add(Opcode.SYNC, source=chunk + own.first, chunks=own.count, destination=chunk,
                     total=shares[-1].end)

    def store(self, opcode, register, *, tile, tiles, offset=0, groups=0):
        shape = self.shape
        first = shape.own_heads.first * shape.head_chunks
        self.add(opcode, chunk=self.registers.chunk(register) + first + offset,
                 chunks=shape.head_chunks, tile=tile, tiles=tiles, layer_relative=1,
                 heads=shape.own_heads.count, groups=groups)


def assemble(shape, layout, registers, lag, *, logits):
    """The program.

    Parameters
    ----------
    shape : Shape
    layout : MemoryLayout
    registers : RegisterMap
    lag : int
        Pairs of heads by which score x V stands behind Q.
    logits : bool
        Write the logits of every generated token to DDR.

    Returns
    -------
    list of Instruction

    Raises
    ------
    CompileError
        If the instruction memory is too small.
    """
    a = _Assembler(shape, layout, registers)
    _setup(a)
    a.add(Opcode.TOKEN)
    _embedding(a)
    a.add(Opcode.LAYER)
    _attention(a, lag)
    _feed_forward(a)
    a.add(Opcode.NEXT_LAYER)
    a.add(Opcode.LM_HEAD)
    _head(a, logits)
    a.add(Opcode.END)
    if len(a.instructions) > shape.config.instructions:
        raise CompileError(
            f"instruction memory of configuration {shape.config.name!r} holds "
            f"{shape.config.instructions} instructions, the program has {len(a.instructions)}")
    return a.instructions


def _setup(a):
    """What never changes, and layer 0's first vectors for the first token."""
    a.add(Opcode.SCALAR_MOVE, scalar_destination=a.registers.scalar("attention.scale"),
          immediate_enable=1, immediate0=_immediate(1 / math.sqrt(a.model.head_dim)))
    _load_next_layer(a, layer_relative=False)
    a.load("ln_f.weight", 2 * a.shape.emb_chunks, a.layout["ln_f.weight"].start)


def _load_next_layer(a, **place):
    """The vectors that a layer reads first; those of its LayerNorm are the first that it needs."""
    if not a.shape.folded:
        a.load_vectors("ln_1.weight", "ln_1.bias", **place)
    a.load_vectors("attn.key.bias", "attn.query.bias", **place)


def _embedding(a):
    """The token's and the position's vector; the position does not wait for the token."""
    chunks = a.shape.emb_chunks
    row = chunks * a.config.chunk_bytes
    a.load("position", chunks, a.layout["wpe"].start, stride=row, index=Index.POSITION)
    a.load("token", chunks, a.layout["wte"].start, stride=row, index=Index.TOKEN)
    a.add(Opcode.ADD, destination=a.registers.chunk("residual.0"),
          source1=a.registers.chunk("token"), source2=a.registers.chunk("position"),
          length=a.model.emb)


def _attention(a, lag):
    shape, layout = a.shape, a.layout
    heads, pairs = shape.own_heads, shape.pairs
    if pairs:
        source, scale = a.normalise(0, "ln_1")
        place = heads.first * shape.head_chunks
        a.product("attn.key", "key", source, scale=scale, offset=place, bias="attn.key.bias")
        a.product("attn.value", "value", source, scale=scale, offset=place,
                  bias="attn.value.bias")
        a.store(Opcode.STORE_KEY, "key", tile=layout[f"attn.key.cache.{heads.first}"].start,
                tiles=shape.key_tiles)
        _store_values(a)
    for step in range(len(pairs) + lag):
        if step < len(pairs):
            first, count = pairs[step]
            a.product(query_name(first, count), "query", source, scale=scale,
                      offset=first * shape.head_chunks, bias="attn.query.bias")
        if step == 0:
            a.load_vectors("attn.projection.bias", "mlp.fc.bias", layer_relative=True)
        if 0 <= step - 1 < len(pairs):
            for head in _heads(pairs[step - 1]):
                _scores(a, head)
        if step == 1:
            a.load_vectors("mlp.projection.bias", "mlp.projection.bias", layer_relative=True)
        if 0 <= step - lag < len(pairs):
            for head in _heads(pairs[step - lag]):
                _context(a, head)
    a.sync("context", [share.scaled(shape.head_chunks) for share in shape.sharding.heads])
    projection = shape.sharding.projection
    a.product("attn.projection", "residual.1", "context", bias="attn.projection.bias",
              residual="residual.0", offset=projection[shape.core_id].first)
    a.sync("residual.1", projection)


def _heads(pair):
    first, count = pair
    return range(first, first + count)


def _scores(a, head):
    """Scores of one head, and their softmax without the division."""
    shape, chunk, scalar = a.shape, a.registers.chunk, a.registers.scalar
    row, softmax = a.registers.row("scores", head), a.registers.row("softmax", head)
    a.add(Opcode.MASKED_MM, destination=chunk(f"scores.{row}"),
          source=chunk("query") + head * shape.head_chunks, rows=a.model.head_dim,
          columns_from_position=1, block=1, tile=a.layout[f"attn.key.cache.{head}"].start,
          tiles=shape.head_chunks, layer_relative=1, key_value=1, first=1, last=1, write=1,
          scale_enable=1, scale=scalar("attention.scale"), mask=1, maximum_enable=1,
          maximum=scalar(f"maximum.{row}"), token_rows=1)
    a.add(Opcode.SOFTMAX, destination=chunk(f"softmax.{softmax}"), source1=chunk(f"scores.{row}"),
          scalar_source1=scalar(f"maximum.{row}"),
          scalar_destination=scalar(f"inverse_sum.{softmax}"), length_from_position=1)


def _store_values(a):
    shape = a.shape
    start = a.layout[f"attn.value.cache.{shape.own_heads.first}"].start
    for split in shape.value_splits:
        a.store(Opcode.STORE_VALUE, "value", offset=split.column // a.config.tile,
                tile=start + split.tile, tiles=shape.value_tiles, groups=split.groups)


def _context(a, head):
    """Score x V of one head, divided by the sum on its way out."""
    shape, chunk = a.shape, a.registers.chunk
    row = a.registers.row("softmax", head)
    for split in shape.value_splits:
        a.add(Opcode.MM, source=chunk(f"softmax.{row}"), rows_from_position=1,
              destination=chunk("context") + head * shape.head_chunks
              + split.column // a.config.tile,
              columns=split.columns, block=split.groups,
              tile=a.layout[f"attn.value.cache.{head}"].start + split.tile, tiles=split.groups,
              layer_relative=1, transposed=1, key_value=1, first=1, last=1, write=1,
              scale_enable=1, scale=a.registers.scalar(f"inverse_sum.{row}"), token_rows=1)


def _feed_forward(a):
    inner, output, own = a.shape.sharding.inner, a.shape.sharding.output, a.shape.core_id
    source, scale = a.normalise(1, "ln_2")
    a.product("mlp.fc", "hidden", source, scale=scale, bias="mlp.fc.bias", gelu=True,
              offset=inner[own].first)
    a.sync("hidden", inner)
    _load_next_layer(a, layer_relative=True, ahead=1)
    a.product("mlp.projection", "residual.0", "hidden", bias="mlp.projection.bias",
              residual="residual.1", offset=output[own].first)
    a.sync("residual.0", output)


def _head(a, logits):
    """The final LayerNorm and the logits; neither is needed for most tokens of the prompt.

    This LayerNorm is never folded: the product's bias would be as long as the vocabulary, and the
    vector registers have no room for it.
    """
    product = a.shape.head_product
    a.layer_norm("normal.0", "residual.0", "ln_f")
    a.add(Opcode.MM, source=a.registers.chunk("normal.0"), rows=product.rows,
          columns=product.columns, block=product.block, tile=a.layout[product.name].start,
          tiles=product.tiles, first=1, last=1, arg_max=1, arg_max_base=a.shape.first_token,
          logits=int(logits), token_rows=1)
    if a.shape.core_count > 1:
        a.add(Opcode.ARG_MAX)
