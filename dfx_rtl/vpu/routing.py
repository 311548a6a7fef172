"""Where beats go: from the operand collector to the function units, the reduction, the packer."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.formats import Fp16
from .jobs import BeatLayout, Job, ResultLayout

__all__ = ["BeatRouter"]


class BeatRouter(wiring.Component):
    """Routes beats as the job says, and holds them back while their results have no place to go.

    The function units cannot be stalled. So the first beat of a chunk leaves only if the packer
    has room for one more chunk, which it then reserves; and a beat that is to be normalised waits
    for LayerNorm's coefficients. Combinational; throughput one beat a cycle.

    Parameters
    ----------
    lanes : int
        Elements in a beat.

    Members
    -------
    job : In(Job)
        What the instruction asks for.
    beats : In(stream of BeatLayout)
        The operands.
    room : In(1)
        The packer has a place for one more chunk.
    coefficients_ready : In(1)
        LayerNorm can normalise.
    reserve : Out(1)
        Strobe: a place for a chunk is taken.
    function_stb, normalise_stb : Out(1)
        The beat enters the vector function unit, or LayerNorm.
    function_done, normalise_done : In(1)
        Their results are valid.
    function_result, normalise_result : In(ResultLayout)
        Their results.
    reduction_stb : Out(1)
        ``reduction_values`` enter the reduction.
    reduction_values : Out(array of Fp16), reduction_last : Out(1)
        Operands, or results of the vector function unit, and whether they are a vector's last.
    result_stb : Out(1)
        ``result`` enters the packer.
    result : Out(ResultLayout)
        The results.
    """

    def __init__(self, lanes):
        super().__init__({
            "job": In(Job),
            "beats": In(stream.Signature(BeatLayout(lanes))),
            "room": In(1),
            "coefficients_ready": In(1),
            "reserve": Out(1),
            "function_stb": Out(1),
            "normalise_stb": Out(1),
            "function_done": In(1),
            "normalise_done": In(1),
            "function_result": In(ResultLayout(lanes)),
            "normalise_result": In(ResultLayout(lanes)),
            "reduction_stb": Out(1),
            "reduction_values": Out(data.ArrayLayout(Fp16, lanes)),
            "reduction_last": Out(1),
            "result_stb": Out(1),
            "result": Out(ResultLayout(lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        beat = self.beats.payload
        job = self.job
        makes_result = Signal()
        fire = Signal()
        m.d.comb += [
            makes_result.eq(job.vector_write & ~beat.statistics),
            self.beats.ready.eq(~makes_result
                                | ((self.room | ~beat.chunk_first)
                                   & (self.coefficients_ready | ~job.normalise))),
            fire.eq(self.beats.valid & self.beats.ready),
            self.reserve.eq(fire & makes_result & beat.chunk_first),
            self.function_stb.eq(fire & job.function),
            self.normalise_stb.eq(fire & job.normalise & ~beat.statistics),
        ]
        with m.If(job.accumulate_result):
            m.d.comb += [
                self.reduction_stb.eq(self.function_done),
                self.reduction_values.eq(self.function_result.values),
                self.reduction_last.eq(self.function_result.last),
            ]
        with m.Else():
            m.d.comb += [
                self.reduction_stb.eq(fire & (job.accumulate | beat.statistics)),
                self.reduction_values.eq(beat.a),
                self.reduction_last.eq(beat.last),
            ]
        with m.If(job.normalise):
            m.d.comb += [
                self.result_stb.eq(self.normalise_done),
                self.result.eq(self.normalise_result),
            ]
        with m.Else():
            m.d.comb += [
                self.result_stb.eq(self.function_done),
                self.result.eq(self.function_result),
            ]
        return m
