"""How a model is cut for the cores of a ring: which core computes what, and what it has first.

Attention is cut by head, every other product by columns, in whole chunks (DFX paper, section 4.1).
Heads seldom divide evenly; the column shares make up for it.
"""

from dataclasses import dataclass

from ..config import MAX_CORES
from .errors import CompileError

__all__ = ["RINGS", "Share", "Sharding", "arrival_order", "check_ring", "even_shares",
           "level_shares", "plan_sharding"]

#: Whether chunks travel both ways round the ring, or all from each core to the next.
RINGS = ("bidirectional", "unidirectional")


@dataclass(frozen=True)
class Share:
    """A run of heads or chunks: ``first``, ``count``. An empty one stands where it would begin."""

    first: int
    count: int

    @property
    def end(self):
        """The first one behind."""
        return self.first + self.count

    def scaled(self, factor):
        """The same share in units that are ``factor`` times smaller."""
        return Share(self.first * factor, self.count * factor)


@dataclass(frozen=True)
class Sharding:
    """The shares of all cores: a tuple of :class:`Share`, one a core, of each thing that is cut.

    Members
    -------
    heads : in heads
    projection, inner, output : in chunks
        Columns of the attention's projection, and of the feed-forward layer's two products.
    vocabulary : in chunks
        Columns of the LM head.
    """

    heads: tuple
    projection: tuple
    inner: tuple
    output: tuple
    vocabulary: tuple


def check_ring(core_id, core_count, ring):
    """Raise a CompileError if there is no such place in a ring."""
    if not isinstance(core_count, int) or not 1 <= core_count <= MAX_CORES:
        raise CompileError(f"core_count must be in 1..{MAX_CORES}, not {core_count!r}")
    if not isinstance(core_id, int) or not 0 <= core_id < core_count:
        raise CompileError(f"core_id must be in 0..{core_count - 1}, not {core_id!r}")
    if ring not in RINGS:
        raise CompileError(f"ring must be {' or '.join(map(repr, RINGS))}, not {ring!r}")


def arrival_order(core_id, core_count, ring):
    """The cores in the order in which their chunks reach a core; itself first.

    By hops, and those of the core before it in front of those of the core behind it: with an even
    number of cores the farthest one's come that way.
    """
    order = [core_id]
    for hops in range(1, core_count):
        if ring == "unidirectional":
            order.append((core_id - hops) % core_count)
            continue
        for core in ((core_id - hops) % core_count, (core_id + hops) % core_count):
            if core not in order:
                order.append(core)
    return order


def _shares(counts):
    first, shares = 0, []
    for count in counts:
        shares.append(Share(first, count))
        first += count
    return tuple(shares)


def even_shares(total, cores):
    """``total`` cut as evenly as possible; the first cores take one more."""
    return _shares(total // cores + (core < total % cores) for core in range(cores))


def level_shares(total, loads, cost):
    """``total`` pieces handed out so that the loads become as even as possible.

    Parameters
    ----------
    total : int
    loads : list of int
        What each core has to do before; what the pieces cost is added to it.
    cost : int
        Of a piece.
    """
    counts = [0] * len(loads)
    for _ in range(total):
        core = loads.index(min(loads))
        loads[core] += cost
        counts[core] += 1
    return _shares(counts)


def plan_sharding(cores, *, heads, head_tiles, projection, inner, output, vocabulary):
    """Cut a model.

    The loads are tiles of weights in a layer. K and V in the caches do not count: there are few,
    and they grow with the text. The projection makes up for uneven heads, so that all cores end it
    at the same time. Behind it the coarse pieces go first, the fine ones make up for them.

    Parameters
    ----------
    cores : int
    heads, head_tiles : int
        Heads, and tiles of Q, K and V of one.
    projection, inner, output : (int, int)
        Of each product of :class:`Sharding`: chunks of its columns, and tiles of one.
    vocabulary : int
        Chunks of the LM head.

    Returns
    -------
    Sharding

    Raises
    ------
    CompileError
        If the LM head is too short for so many cores.
    """
    if vocabulary < cores:
        raise CompileError(f"core_count must be at most {vocabulary}, the chunks of the "
                           f"vocabulary, not {cores}")
    of_heads = even_shares(heads, cores)
    loads = [share.count * head_tiles for share in of_heads]
    of_projection = level_shares(projection[0], loads, projection[1])
    of_output = level_shares(output[0], loads, output[1])
    of_inner = level_shares(inner[0], loads, inner[1])
    return Sharding(heads=of_heads, projection=of_projection, inner=of_inner, output=of_output,
                    vocabulary=even_shares(vocabulary, cores))
