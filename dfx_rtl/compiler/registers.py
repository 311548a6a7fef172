"""Allocation of the register files, by name and once for the whole program."""

from dataclasses import dataclass

from .errors import CompileError

__all__ = ["RegisterMap", "Vector", "plan_registers"]


@dataclass(frozen=True)
class Vector:
    """Consecutive chunks of the vector register file, or one scalar register."""

    name: str
    first: int
    count: int


class RegisterMap:
    """Names of registers.

    Parameters
    ----------
    config : CoreConfig
    """

    def __init__(self, config):
        self._config = config
        self.vectors = {}
        self.scalars = {}
        self._chunk = 0

    def add_vector(self, name, chunks):
        """Allocate chunks; returns the first.

        Raises
        ------
        CompileError
            If so many are not left.
        """
        assert name not in self.vectors, name
        left = self._config.vector_chunks - self._chunk
        if chunks > left:
            raise CompileError(
                f"vector register file of configuration {self._config.name!r} holds "
                f"{self._config.vector_chunks} chunks: {name} needs {chunks}, {left} are left")
        self.vectors[name] = Vector(name, self._chunk, chunks)
        self._chunk += chunks
        return self.vectors[name].first

    def add_scalar(self, name):
        """Allocate a scalar; returns it.

        Raises
        ------
        CompileError
            If none is left.
        """
        assert name not in self.scalars, name
        number = len(self.scalars)
        if number == self._config.scalars:
            raise CompileError(
                f"scalar register file of configuration {self._config.name!r} holds "
                f"{self._config.scalars} scalars: none is left for {name}")
        self.scalars[name] = Vector(name, number, 1)
        return number

    def chunk(self, name):
        """The first chunk of a vector."""
        return self.vectors[name].first

    def scalar(self, name):
        """The number of a scalar."""
        return self.scalars[name].first

    def row(self, name, head):
        """Which of the vectors ``name.0``, ``name.1`` and so on a head uses: they take turns."""
        return head % sum(f"{name}.{row}" in self.vectors for row in range(len(self.vectors)))

    @property
    def chunks_used(self):
        """Chunks allocated."""
        return self._chunk

    def find_chunk(self, chunk):
        """The vector that holds a chunk, or None."""
        for vector in self.vectors.values():
            if vector.first <= chunk < vector.first + vector.count:
                return vector
        return None

    def find_scalar(self, number):
        """The scalar of that number, or None."""
        for scalar in self.scalars.values():
            if scalar.first == number:
                return scalar
        return None


# (score x V so many pairs behind Q, rows of scores, rows of softmax) in flight; the best that
# fits is taken. A row of softmax lives from its scores to score x V.
IN_FLIGHT = ((8, 8, 16), (6, 4, 14), (4, 4, 10), (3, 4, 8), (3, 2, 6), (2, 2, 4), (1, 1, 2))


def plan_registers(shape):
    """Allocate all registers of a GPT-2 program, the same on every core of a ring.

    Returns
    -------
    (RegisterMap, int)
        The map, and by how many pairs of heads score x V stands behind Q.

    Raises
    ------
    CompileError
        If a register file is too small.
    """
    for lag, score_rows, weight_rows in IN_FLIGHT:
        try:
            return _allocate(shape, score_rows, weight_rows), lag
        except CompileError as error:
            failure = error
    raise failure


def _allocate(shape, score_rows, weight_rows):
    registers = RegisterMap(shape.config)
    emb, heads = shape.emb_chunks, shape.heads_chunks
    normal = [] if shape.folded else [("normal.1", emb)]
    for name, chunks in (
            ("residual.0", emb), ("residual.1", emb), ("normal.0", emb), *normal,
            ("key", heads), ("value", heads), ("query", heads), ("context", heads),
            ("hidden", shape.inner_chunks), ("token", emb), ("position", emb),
            *shape.layer_vectors, ("ln_f.weight", emb), ("ln_f.bias", emb)):
        registers.add_vector(name, chunks)
    registers.add_scalar("attention.scale")
    if shape.folded:
        # Two, as there are two residuals, so that neither LayerNorm waits for the other's readers.
        registers.add_scalar("rstd.0")
        registers.add_scalar("rstd.1")
    for row in range(min(score_rows, shape.most_heads)):
        registers.add_vector(f"scores.{row}", shape.position_chunks)
        registers.add_scalar(f"maximum.{row}")
    for row in range(min(weight_rows, shape.most_heads)):
        registers.add_vector(f"softmax.{row}", shape.position_chunks)
        registers.add_scalar(f"inverse_sum.{row}")
    return registers
