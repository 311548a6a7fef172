"""LayerNorm: from the exact sums to the coefficients, and the normalising pass."""

from amaranth import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.exact_to_fp32 import ExactToFp32
from ..arith.formats import ExactSum, Fp32
from ..isa import LENGTH
from .jobs import BeatLayout, ResultLayout, ScalarOperation, ScalarRequest
from .normaliser import Normaliser
from .variance import DIFFERENCE_WIDTH, VarianceDifference

__all__ = ["LayerNorm"]


class LayerNorm(wiring.Component):
    """Normalises a vector whose elements have been summed up, with one rounding an operation.

    With S1 the sum and S2 the sum of squares, both exact:
    mean = f32(f32(S1) * mean_factor), var = f32(f32(n S2 - S1**2) * variance_factor),
    rstd = recip_sqrt(f32(var + epsilon)) by four requests to the scalar unit, and then
    y = f16(f32(f32(f32(f32(x - mean) * rstd) * gamma) + beta)) beat by beat.
    The difference is taken in integers, so it can neither cancel nor overflow.

    Latency from ``exact_done`` to ``coefficients_ready``: 39 cycles. 7 for the difference, 2 to
    round it and 1 to note it, and then a product, a sum and a reciprocal square root in the
    scalar unit (2, 3 and 15 cycles), each with 3 more to ask for it and note it; the mean is ready
    before. From ``stb`` to ``done``: :class:`Normaliser`'s. Throughput one beat a cycle.

    Without ``normalise`` only rstd is made: no mean is asked for, ``sum_done`` must not come, and
    the result of the last request, while ``rstd_next``, is rstd. It is there 38 cycles after
    ``exact_done``.

    Source: DFX paper, sections 4.2 and 4.3 (LayerNorm); the order of the roundings is ours.

    Parameters
    ----------
    lanes : int
        Elements in a beat.

    Members
    -------
    normalise : In(1)
        A vector follows, to be normalised. It must not change from ``exact_done`` on.
    length : In(17)
        n.
    mean_factor, variance_factor, epsilon : In(Fp32)
        f32(1/n), f32(1/n**2) and what is added to the variance.
    exact_done : In(1)
        Strobe: ``total`` and ``squares`` are valid.
    total, squares : In(ExactSum())
        S1 and S2.
    sum_done : In(1)
        Strobe, after ``exact_done``: ``sum`` is valid.
    sum : In(Fp32)
        f32(S1).
    requests : Out(stream of ScalarRequest), results : In(stream of Fp32)
        The scalar unit.
    rstd_next : Out(1)
        The next result is rstd.
    coefficients_ready : Out(1)
        Beats may enter, until the last one does.
    stb : In(1)
        ``beat`` is valid.
    beat : In(BeatLayout)
        x, gamma and beta.
    done : Out(1)
        ``result`` is valid.
    result : Out(ResultLayout)
        y.
    overflow, invalid : Out(1)
        Strobes. The scalar unit has its own.
    """

    class Step(enum.Enum, shape=3):
        """Which scalar is next."""

        MEAN = 0
        SCALED = 1
        STABLE = 2
        RSTD = 3
        READY = 4

    #: Cycles from ``exact_done`` to the first request that needs the difference.
    difference_latency = VarianceDifference.latency + ExactToFp32.latency + 1

    def __init__(self, lanes):
        self._lanes = lanes
        super().__init__({
            "normalise": In(1),
            "length": In(LENGTH),
            "mean_factor": In(Fp32),
            "variance_factor": In(Fp32),
            "epsilon": In(Fp32),
            "exact_done": In(1),
            "total": In(ExactSum()),
            "squares": In(ExactSum()),
            "sum_done": In(1),
            "sum": In(Fp32),
            "requests": Out(stream.Signature(ScalarRequest)),
            "results": In(stream.Signature(Fp32)),
            "rstd_next": Out(1),
            "coefficients_ready": Out(1),
            "stb": In(1),
            "beat": In(BeatLayout(lanes)),
            "done": Out(1),
            "result": Out(ResultLayout(lanes)),
            "overflow": Out(1),
            "invalid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.variance = variance = VarianceDifference()
        m.submodules.rounding = rounding = ExactToFp32(1, width=DIFFERENCE_WIDTH)
        m.submodules.normaliser = normaliser = Normaliser(self._lanes)

        step = Signal(self.Step)
        sent = Signal()
        sum_valid, difference_valid = Signal(), Signal()
        total, difference, value, mean, rstd = (
            Signal(Fp32, name=name, reset_less=True)
            for name in ("total", "difference", "value", "mean", "rstd"))
        request = self.requests.payload
        m.d.comb += [
            variance.stb.eq(self.exact_done),
            variance.length.eq(self.length),
            variance.total.eq(self.total),
            variance.squares.eq(self.squares),
            rounding.stb.eq(variance.done),
            rounding.a[0].eq(variance.difference),
            normaliser.stb.eq(self.stb),
            normaliser.beat.eq(self.beat),
            normaliser.mean.eq(mean),
            normaliser.rstd.eq(rstd),
            self.done.eq(normaliser.done),
            self.result.eq(normaliser.result),
            self.rstd_next.eq(step == self.Step.RSTD),
            self.coefficients_ready.eq(step == self.Step.READY),
            self.overflow.eq(normaliser.overflow),
            self.invalid.eq(normaliser.invalid | (rounding.done & rounding.invalid)),
            self.results.ready.eq(1),
        ]
        with m.If(self.exact_done & ~self.normalise):
            m.d.sync += step.eq(self.Step.SCALED)
        with m.If(self.sum_done):
            m.d.sync += [sum_valid.eq(1), total.eq(self.sum)]
        with m.If(rounding.done):
            m.d.sync += [difference_valid.eq(1), difference.eq(rounding.result[0])]

        with m.Switch(step):
            with m.Case(self.Step.MEAN):
                m.d.comb += [
                    self.requests.valid.eq(sum_valid & ~sent),
                    request.operation.eq(ScalarOperation.MUL),
                    request.a.eq(total),
                    request.b.eq(self.mean_factor),
                ]
            with m.Case(self.Step.SCALED):
                m.d.comb += [
                    self.requests.valid.eq(difference_valid & ~sent),
                    request.operation.eq(ScalarOperation.MUL),
                    request.a.eq(difference),
                    request.b.eq(self.variance_factor),
                ]
            with m.Case(self.Step.STABLE):
                m.d.comb += [
                    self.requests.valid.eq(~sent),
                    request.operation.eq(ScalarOperation.ADD),
                    request.a.eq(value),
                    request.b.eq(self.epsilon),
                ]
            with m.Case(self.Step.RSTD):
                m.d.comb += [
                    self.requests.valid.eq(~sent),
                    request.operation.eq(ScalarOperation.RECIP_SQRT),
                    request.a.eq(value),
                ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += sent.eq(1)
        with m.If(sent & self.results.valid):
            m.d.sync += [sent.eq(0), value.eq(self.results.payload)]
            with m.Switch(step):
                with m.Case(self.Step.MEAN):
                    m.d.sync += [step.eq(self.Step.SCALED), mean.eq(self.results.payload)]
                with m.Case(self.Step.SCALED):
                    m.d.sync += step.eq(self.Step.STABLE)
                with m.Case(self.Step.STABLE):
                    m.d.sync += step.eq(self.Step.RSTD)
                with m.Case(self.Step.RSTD):
                    m.d.sync += [step.eq(self.Step.READY), rstd.eq(self.results.payload)]
                    with m.If(~self.normalise):
                        m.d.sync += [step.eq(self.Step.MEAN), difference_valid.eq(0)]
        with m.If(self.stb & self.beat.last):
            m.d.sync += [step.eq(self.Step.MEAN), sum_valid.eq(0), difference_valid.eq(0)]
        return m
