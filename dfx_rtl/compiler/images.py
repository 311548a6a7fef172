"""The contents of both memories, written tensor by tensor so that large models need little room."""

from pathlib import Path

import numpy as np

from ..isa import INSTRUCTION_BITS
from .fold import fold_bias, fold_weights
from .layout import INSTRUCTION_BYTES
from .shape import query_name
from .tiles import tile_image

__all__ = ["fill_ddr", "fill_hbm", "new_image", "program_words", "put_tiles",
           "reopened"]


def new_image(shape, path):
    """An array of zero bytes; in a file, and mapped, if there is a path."""
    if path is None:
        return np.zeros(shape, np.uint8)
    return np.lib.format.open_memmap(Path(path), mode="w+", dtype=np.uint8, shape=shape)


def reopened(image):
    """The same image, and if it is a mapped file, mapped anew.

    The pages that were written no longer count as the process's memory.
    """
    if not isinstance(image, np.memmap):
        return image
    return np.lib.format.open_memmap(image.filename, mode="r+")


def put_tiles(hbm, tile, tiles, config):
    """Spread tiles over the channels of an image, from tile number ``tile`` on.

    Parameters
    ----------
    hbm : numpy array of uint8, (channels, bytes)
    tile : int
    tiles : numpy array of uint16, a row a tile in linear order
    """
    count, size = len(tiles), config.word_bytes
    words = tiles.astype("<u2", copy=False).view(np.uint8).reshape(count, config.channels, size)
    place = hbm[:, tile * size:(tile + count) * size]
    place.reshape(config.channels, count, size)[...] = words.transpose(1, 0, 2)


def program_words(instructions):
    """The encoded program as bytes, 32 an instruction."""
    return np.frombuffer(b"".join(entry.encode().to_bytes(INSTRUCTION_BYTES, "little")
                                  for entry in instructions), np.uint8)


def _padded_heads(values, shape):
    """The last axis, heads side by side, with every head padded to whole chunks."""
    heads, size = shape.model.heads, shape.model.head_dim
    result = np.zeros((*values.shape[:-1], heads, shape.head_columns), np.float16)
    result[..., :size] = values.reshape(*values.shape[:-1], heads, size)
    return result.reshape(*values.shape[:-1], heads * shape.head_columns)


def _layer_matrices(checkpoint, shape, layer):
    """Name and matrix of each product of a layer, the core's columns of it."""
    emb, prefix, tile = shape.model.emb, f"h.{layer}.", shape.config.tile
    sharding, own, heads = shape.sharding, shape.core_id, shape.own_heads

    def behind(norm, linear, *columns):
        if not shape.folded:
            return checkpoint.tensor16(f"{prefix}{linear}.weight")
        wanted = np.zeros(checkpoint.tensor(f"{prefix}{linear}.weight").shape[1], bool)
        for part in columns:
            wanted[part] = True
        return fold_weights(checkpoint, prefix + norm, prefix + linear, wanted)

    def columns(share):
        return slice(share.first * tile, share.end * tile)

    if heads.count:
        part = heads.scaled(shape.model.head_dim)
        attention = behind("ln_1", "attn.c_attn",
                           *(slice(n * emb + part.first, n * emb + part.end) for n in range(3)))
        query, key, value = (_padded_heads(attention[:, n * emb:(n + 1) * emb], shape)
                             for n in range(3))
        own_heads = columns(heads.scaled(shape.head_chunks))
        yield "attn.key", key[:, own_heads]
        yield "attn.value", value[:, own_heads]
        for first, count in shape.pairs:
            start = first * shape.head_columns
            yield query_name(first, count), query[:, start:start + count * shape.head_columns]
    projection = checkpoint.tensor16(f"{prefix}attn.c_proj.weight")
    yield "attn.projection", _padded_heads(
        projection[:, columns(sharding.projection[own])].T, shape).T
    inner = columns(sharding.inner[own])
    yield "mlp.fc", behind("ln_2", "mlp.c_fc", inner)[:, inner]
    yield "mlp.projection", checkpoint.tensor16(
        f"{prefix}mlp.c_proj.weight")[:, columns(sharding.output[own])]


def fill_hbm(hbm, checkpoint, shape, layout):
    """Write all weights that the core has a share of. The caches are left as they are.

    Parameters
    ----------
    hbm : numpy array of uint8, (channels, bytes)
    checkpoint : Checkpoint
    shape : Shape
    layout : MemoryLayout
    """
    products = {product.name: product for product in shape.layer_products}
    for layer in range(shape.model.layers):
        for name, matrix in _layer_matrices(checkpoint, shape, layer):
            if not matrix.shape[1]:
                continue
            product = products[name]
            assert matrix.shape == (product.rows, product.columns), name
            image = tile_image(matrix, product.block, shape.config, product.row_order)
            put_tiles(hbm, layer * layout.layer_stride + layout[name].start, image, shape.config)
    product, first = shape.head_product, shape.first_token
    matrix = checkpoint.tensor16("wte")[first:first + product.columns].T
    put_tiles(hbm, layout[product.name].start, tile_image(matrix, product.block, shape.config),
              shape.config)


def _layer_vectors(checkpoint, shape, layer):
    """The values of a layer's vectors, in the order of :attr:`.Shape.layer_vectors`."""
    emb, prefix = shape.model.emb, f"h.{layer}."

    def behind(norm, linear):
        if shape.folded:
            return fold_bias(checkpoint, prefix + norm, prefix + linear)
        return checkpoint.tensor16(f"{prefix}{linear}.bias")

    attention = behind("ln_1", "attn.c_attn")
    query, key, value = (_padded_heads(attention[n * emb:(n + 1) * emb], shape)
                         for n in range(3))
    norms = {} if shape.folded else {
        name: checkpoint.tensor16(prefix + name)
        for name in ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias")}
    return norms | {
        "attn.key.bias": key, "attn.value.bias": value, "attn.query.bias": query,
        "attn.projection.bias": checkpoint.tensor16(f"{prefix}attn.c_proj.bias"),
        "mlp.fc.bias": behind("ln_2", "mlp.c_fc"),
        "mlp.projection.bias": checkpoint.tensor16(f"{prefix}mlp.c_proj.bias"),
    }


def fill_ddr(ddr, checkpoint, shape, layout, instructions):
    """Write the program, the vectors and the embeddings.

    Parameters
    ----------
    ddr : numpy array of uint8
    checkpoint : Checkpoint
    shape : Shape
    layout : MemoryLayout
    instructions : list of Instruction
    """
    config, model = shape.config, shape.model
    assert INSTRUCTION_BITS == 8 * INSTRUCTION_BYTES

    def put(address, values):
        raw = np.ascontiguousarray(values).astype("<f2", copy=False).view(np.uint8)
        ddr[address:address + len(raw)] = raw

    def put_rows(name, values):
        region, rows = layout[name], len(values)
        size = shape.emb_chunks * config.chunk_bytes
        place = ddr[region.start:region.start + rows * size].reshape(rows, size)
        place.view("<f2")[:, :model.emb] = values

    words = program_words(instructions)
    ddr[layout["program"].start:][:len(words)] = words
    for number in range(model.layers + 1):
        layer = number % model.layers
        address = layout["vectors.0"].start + number * layout.vector_stride
        vectors = _layer_vectors(checkpoint, shape, layer)
        for name, chunks in shape.layer_vectors:
            put(address, vectors[name])
            address += chunks * config.chunk_bytes
    put(layout["ln_f.weight"].start, checkpoint.tensor16("ln_f.weight"))
    put(layout["ln_f.bias"].start, checkpoint.tensor16("ln_f.bias"))
    put_rows("wpe", checkpoint.tensor16("wpe")[:shape.positions])
    put_rows("wte", checkpoint.tensor16("wte"))
