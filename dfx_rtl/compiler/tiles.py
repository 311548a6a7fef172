"""Weight matrices as tiles, in the order in which the MPU takes them.

A tile is d rows by l columns. The MPU takes them in zig-zag order (DFX paper, section 5.3): for
each block of column groups, for each chunk of rows, for each group of the block. Inside a tile a
column's d values stand side by side.
"""

import numpy as np

from .errors import CompileError

__all__ = ["block_of", "product_tiles", "tile_image", "untile"]


def product_tiles(rows, columns, config):
    """Tiles of a matrix of ``rows`` by ``columns``."""
    return config.chunks(rows) * config.groups(columns)


def block_of(columns, config):
    """The column groups in a zig-zag block: as few blocks as possible, and of equal size.

    A block is a multiple of the groups that fill a chunk, where it can be, so that every block
    ends with a chunk of results.
    """
    groups = config.groups(columns)
    blocks = -(-groups // config.max_block)
    block = -(-groups // blocks)
    if blocks > 1:
        whole = -(-block // config.groups_per_chunk) * config.groups_per_chunk
        block = min(whole, config.max_block)
    return block


def tile_image(matrix, block, config, row_order=None):
    """The tiles of a matrix, in stream order.

    Parameters
    ----------
    matrix : numpy array of float16
        Rows are inputs, columns are results. What it lacks to whole tiles becomes +0.
    block : int
        Column groups in a block.
    config : CoreConfig
    row_order : list of int or None
        The chunks of rows of the first block in another order than their natural one.

    Returns
    -------
    numpy array of uint16
        A row a tile, its elements in linear memory order: lane j, row i at ``j * tile + i``.

    Raises
    ------
    CompileError
        If the matrix is not one of float16, or the block is out of its range.
    """
    matrix = np.asarray(matrix)
    if matrix.dtype != np.float16 or matrix.ndim != 2:
        raise CompileError(f"a weight matrix must be two-dimensional float16, not "
                           f"{matrix.ndim}-dimensional {matrix.dtype}")
    if not 1 <= block <= config.max_block:
        raise CompileError(f"block must be in 1..{config.max_block}, not {block!r}")
    rows, columns = matrix.shape
    chunks, groups = config.chunks(rows), config.groups(columns)
    image = np.empty((chunks * groups, config.lanes, config.tile), np.uint16)
    for first in range(0, groups, block):
        count = min(block, groups - first)
        part = np.zeros((chunks * config.tile, count * config.lanes), np.uint16)
        used = matrix[:, first * config.lanes:(first + count) * config.lanes].view(np.uint16)
        part[:rows, :used.shape[1]] = used
        part = part.reshape(chunks, config.tile, count, config.lanes).transpose(0, 2, 3, 1)
        if row_order is not None and first == 0:
            part = part[row_order]
        start = first * chunks
        image[start:start + chunks * count].reshape(part.shape)[...] = part
    return image.reshape(len(image), config.lanes * config.tile)


def untile(image, rows, columns, block, config, row_order=None):
    """The matrix, ``rows`` by ``columns`` in float16, that :func:`tile_image` made tiles of."""
    chunks, groups = config.chunks(rows), config.groups(columns)
    matrix = np.empty((chunks * config.tile, groups * config.lanes), np.uint16)
    for first in range(0, groups, block):
        count = min(block, groups - first)
        part = image[first * chunks:(first + count) * chunks]
        part = part.reshape(chunks, count, config.lanes, config.tile).transpose(0, 3, 1, 2)
        if row_order is not None and first == 0:
            part = part[np.argsort(row_order)]
        matrix[:, first * config.lanes:(first + count) * config.lanes] = part.reshape(
            chunks * config.tile, count * config.lanes)
    return matrix[:rows, :columns].view(np.float16)
