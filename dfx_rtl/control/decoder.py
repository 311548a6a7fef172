"""The decoder: what an instruction needs, and whether it is one at all."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa import LENGTH, OPCODE, Index, Opcode, Unit, layout
from .causes import Cause
from .sequencer import IssueLayout

__all__ = ["DESTINATIONS", "Decoder", "RangesLayout", "SOURCES"]

# An instruction claims at most two destinations and marks at most four sources.
DESTINATIONS = 2
SOURCES = 4

VECTOR = (Opcode.ADD, Opcode.SUB, Opcode.MUL, Opcode.EXP, Opcode.MOVE)
TWO_OPERANDS = (Opcode.ADD, Opcode.SUB, Opcode.MUL)
SCALAR_DESTINATION = (Opcode.ACCUM, Opcode.SCALAR_MOVE, Opcode.SCALAR_ADD, Opcode.SCALAR_SUB,
                      Opcode.SCALAR_MUL, Opcode.RECIP, Opcode.RECIP_SQRT, Opcode.SOFTMAX,
                      Opcode.RSTD)
# One vector in, no vector out.
REDUCTION = (Opcode.ACCUM, Opcode.RSTD)
SCALAR_SOURCE = (Opcode.SCALAR_ADD, Opcode.SCALAR_SUB, Opcode.SCALAR_MUL, Opcode.RECIP,
                 Opcode.RECIP_SQRT, Opcode.SOFTMAX)


class RangesLayout(data.ArrayLayout):
    """The registers of an instruction: first the destinations, then the sources.

    ``start`` is an entry of the scoreboard, where scalars stand behind the chunks; a ``count`` of
    0 is no register at all.

    Parameters
    ----------
    config : CoreConfig
        The core.
    """

    def __init__(self, config):
        entries = config.vector_chunks + config.scalars
        super().__init__(data.StructLayout({
            "start": range(1 << entries.bit_length()), "count": LENGTH, "scalar": 1,
        }), DESTINATIONS + SOURCES)


class Decoder(wiring.Component):
    """Ranges of registers that an instruction writes and reads, its unit, and what is wrong.

    Combinational; the scheduler registers what comes out.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    issue : In(IssueLayout)
        The instruction.
    ring : In(1)
        There are other cores: the router's instructions are legal.
    unit : Out(Unit)
        Whose queue it goes to.
    ranges : Out(RangesLayout)
        The registers.
    cause : Out(Cause)
        NONE or ILLEGAL_INSTRUCTION; whether its registers and its memory end in time is told by
        :class:`~dfx_rtl.control.bounds.Bounds`.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "issue": In(IssueLayout),
            "ring": In(1),
            "unit": Out(Unit),
            "ranges": Out(RangesLayout(config)),
            "cause": Out(Cause),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word = self.issue.instruction
        position = Signal(LENGTH)
        opcode = Signal(OPCODE)
        m.d.comb += [position.eq(self.issue.tag.position + 1), opcode.eq(word[:OPCODE])]
        views = {}
        for name in ("matrix", "vector", "dma", "router"):
            views[name] = data.View(layout(name), word)
        matrix, vector, dma, router = views.values()

        def chunks(values, name):
            count = Signal(LENGTH, name=f"{name}_chunks")
            m.d.comb += count.eq((values + config.tile - 1) >> (config.tile.bit_length() - 1))
            return count

        def destination(index, start, count, scalar=False):
            fill(index, start, count, scalar)

        def source(index, start, count, scalar=False):
            fill(DESTINATIONS + index, start, count, scalar)

        def fill(index, start, count, scalar):
            m.d.comb += [
                self.ranges[index].start.eq(start + (config.vector_chunks if scalar else 0)),
                self.ranges[index].count.eq(count),
                self.ranges[index].scalar.eq(scalar),
            ]

        illegal = Signal()

        rows, columns, length = (Signal(LENGTH, name=name) for name in ("rows", "columns",
                                                                          "length"))
        m.d.comb += [
            rows.eq(Mux(matrix.rows_from_position, position, matrix.rows)),
            columns.eq(Mux(matrix.columns_from_position, position, matrix.columns)),
            length.eq(Mux(vector.length_from_position, position, vector.length)),
        ]
        with m.If((opcode >= Opcode.CONV1D) & (opcode <= Opcode.MM)):
            wide = chunks(columns, "column")
            m.d.comb += self.unit.eq(Unit.MPU)
            with m.If(matrix.write):
                destination(0, matrix.destination, wide)
            with m.If(matrix.maximum_enable):
                destination(1, matrix.maximum, 1, scalar=True)
            source(0, matrix.source, chunks(rows, "row"))
            with m.If(matrix.bias_enable):
                source(1, matrix.bias, wide)
            with m.If(matrix.residual_enable):
                source(2, matrix.residual, wide)
            with m.If(matrix.scale_enable):
                source(3, matrix.scale, 1, scalar=True)
            partial = ~matrix.first | ~matrix.last
            m.d.comb += illegal.eq(
                (rows == 0) | (columns == 0) | (matrix.token_rows != 1)
                | (matrix.block == 0) | (matrix.block > config.max_block)
                | (partial & (columns > matrix.block * config.lanes)))
        with m.Elif((opcode >= Opcode.ADD) & (opcode <= Opcode.RSTD)):
            count = chunks(length, "vector")
            is_vector, takes_one, takes_two, makes_scalar, takes_scalar, immediate = (
                Signal(name=name) for name in (
                    "is_vector", "takes_one", "takes_two", "makes_scalar", "takes_scalar",
                    "immediate"))

            def among(opcodes):
                return Cat(opcode == entry for entry in opcodes).any()

            m.d.comb += [
                self.unit.eq(Unit.VPU),
                is_vector.eq(among((*VECTOR, Opcode.LAYERNORM, Opcode.SOFTMAX))),
                takes_one.eq(is_vector | among(REDUCTION)),
                takes_two.eq(among(TWO_OPERANDS) & ~vector.scalar_enable
                             & ~vector.immediate_enable),
                makes_scalar.eq(among(SCALAR_DESTINATION)),
                immediate.eq(vector.immediate_enable),
                takes_scalar.eq(among(SCALAR_SOURCE)
                                | ((opcode == Opcode.SCALAR_MOVE) & ~immediate)),
                illegal.eq(takes_one & (length == 0)),
            ]
            with m.If(is_vector):
                destination(0, vector.destination, count)
            with m.If(makes_scalar):
                destination(1, vector.scalar_destination, 1, scalar=True)
            with m.If(takes_one):
                source(0, vector.source1, count)
            with m.If(takes_two | (opcode == Opcode.LAYERNORM)):
                source(1, vector.source2, count)
            with m.Elif(takes_scalar):
                source(1, vector.scalar_source1, 1, scalar=True)
            with m.If(opcode == Opcode.LAYERNORM):
                source(2, vector.source3, count)
            with m.If((among(TWO_OPERANDS) & vector.scalar_enable & ~immediate)
                      | (among((Opcode.SCALAR_ADD, Opcode.SCALAR_SUB, Opcode.SCALAR_MUL))
                         & ~immediate)):
                source(3, vector.scalar_source2, 1, scalar=True)
        with m.Elif((opcode >= Opcode.LOAD) & (opcode <= Opcode.COPY)):
            misaligned = dma.address[:(config.ddr_bytes_per_beat - 1).bit_length()].any() \
                | dma.stride[:(config.ddr_bytes_per_beat - 1).bit_length()].any()
            with m.If((opcode == Opcode.STORE_KEY) | (opcode == Opcode.STORE_VALUE)):
                m.d.comb += [
                    self.unit.eq(Unit.STORE),
                    illegal.eq((dma.chunks == 0) | (dma.heads == 0)
                               | ((opcode == Opcode.STORE_VALUE) & (dma.groups == 0))),
                ]
                source(0, dma.chunk, dma.chunks * dma.heads)
            with m.Else():
                with m.Switch(opcode):
                    with m.Case(Opcode.LOAD):
                        m.d.comb += [
                            self.unit.eq(Unit.LOAD),
                            illegal.eq((dma.chunks == 0) | misaligned),
                        ]
                        destination(0, dma.chunk, dma.chunks)
                    with m.Case(Opcode.STORE):
                        m.d.comb += [
                            self.unit.eq(Unit.STORE),
                            illegal.eq((dma.chunks == 0) | misaligned
                                       | (dma.index == Index.TOKEN)),
                        ]
                        source(0, dma.chunk, dma.chunks)
                    with m.Case(Opcode.COPY):
                        m.d.comb += [
                            self.unit.eq(Unit.LOAD),
                            illegal.eq((dma.tiles == 0) | misaligned
                                       | (dma.index == Index.TOKEN)),
                        ]
        with m.Elif(opcode == Opcode.SYNC):
            # The own share stands in the vector; what is before and behind it comes.
            share_end = Signal(LENGTH)
            vector_end = Signal(LENGTH)
            m.d.comb += [
                self.unit.eq(Unit.ROUTER),
                share_end.eq(router.source + router.chunks),
                vector_end.eq(router.destination + router.total),
                illegal.eq(~self.ring | (router.total == 0) | (share_end > vector_end)
                           | (router.source < router.destination)),
            ]
            destination(0, router.destination, router.source - router.destination)
            destination(1, share_end, vector_end - share_end)
            source(0, router.source, router.chunks)
        with m.Elif(opcode == Opcode.ARG_MAX):
            m.d.comb += [self.unit.eq(Unit.ROUTER), illegal.eq(~self.ring)]
        with m.Else():
            m.d.comb += illegal.eq(1)

        with m.If(illegal):
            m.d.comb += self.cause.eq(Cause.ILLEGAL_INSTRUCTION)
        return m
