"""The fetch issuer: turns the program into requests for weights, far ahead of the scheduler."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import OPCODE, TAG, TILE, TILES, Opcode, layout
from .causes import Cause
from .commands import FetchLayout
from .sequencer import IssueLayout

__all__ = ["FetchIssuer"]


class FetchIssuer(wiring.Component):
    """Picks the matrix instructions out of the program and asks for their tiles.

    It counts the stores of K and V that it passes. A fetch of K (``key_value``) carries the count
    at the last store of K, one of V (``transposed`` too) that at the last store of V: it must wait
    until as many have been acknowledged. So K is fetched while V is still being made. A fetch
    that would leave the memory ends the run-ahead and is reported.

    Latency: 3 cycles. Throughput: an instruction each 3 cycles.

    Source: DFX paper, section 4.2 (DMA); the run-ahead is this project's.

    Parameters
    ----------
    config : CoreConfig
        The core.

    Members
    -------
    issues : In(stream of IssueLayout)
        Instructions in program order.
    fetches : Out(stream of FetchLayout)
        The requests, in program order.
    busy : Out(1)
        A request has still to be accepted.
    cause, place : Out(Cause), Out(12)
        NONE or HBM_RANGE, and the instruction.
    """

    def __init__(self, config):
        self._config = config
        super().__init__({
            "issues": In(stream.Signature(IssueLayout)),
            "fetches": Out(stream.Signature(FetchLayout)),
            "busy": Out(1),
            "cause": Out(Cause),
            "place": Out(TAG.members["instruction"]),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        opcode = self.issues.p.instruction[:OPCODE]
        matrix = data.View(layout("matrix"), self.issues.p.instruction)
        position = self.issues.p.tag.position
        stores = Signal(16)
        key_stores, value_stores = Signal(16), Signal(16)
        transposed = Signal(reset_less=True)
        steps = Signal(17, reset_less=True)
        tile = Signal(TILE + 1, reset_less=True)
        tiles = Signal(TILES, reset_less=True)
        total = Signal(TILES + 4, reset_less=True)
        key_value = Signal(reset_less=True)
        place = Signal.like(self.place, reset_less=True)
        lane_shift = config.lanes.bit_length() - 1
        tile_shift = config.tile.bit_length() - 1

        m.d.comb += [
            self.place.eq(place),
            self.fetches.p.tile.eq(tile),
            self.fetches.p.tiles.eq(total),
            self.fetches.p.stores.eq(
                Mux(key_value, Mux(transposed, value_stores, key_stores), 0)),
        ]
        with m.FSM() as machine:
            with m.State("IDLE"):
                m.d.comb += self.issues.ready.eq(1)
                with m.If(self.issues.valid):
                    m.d.sync += [
                        place.eq(self.issues.p.tag.instruction),
                        key_value.eq(matrix.key_value),
                        transposed.eq(matrix.transposed),
                        tiles.eq(matrix.tiles),
                        tile.eq(matrix.tile
                                + Mux(matrix.layer_relative, self.issues.p.layer_base, 0)),
                        steps.eq(Mux(matrix.columns_from_position, (position >> lane_shift) + 1,
                                     Mux(matrix.rows_from_position,
                                         (position >> tile_shift) + 1, 1))),
                    ]
                    with m.If(opcode == Opcode.STORE_KEY):
                        m.d.sync += [stores.eq(stores + 1), key_stores.eq(stores + 1)]
                    with m.Elif(opcode == Opcode.STORE_VALUE):
                        m.d.sync += [stores.eq(stores + 1), value_stores.eq(stores + 1)]
                    with m.Elif((opcode >= Opcode.CONV1D) & (opcode <= Opcode.MM)):
                        m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += total.eq(tiles * steps)
                m.next = "FETCH"
            with m.State("FETCH"):
                with m.If((tile + total > config.hbm_tiles) | (total == 0)):
                    m.next = "STOPPED"
                with m.Else():
                    m.d.comb += self.fetches.valid.eq(1)
                    with m.If(self.fetches.ready):
                        m.next = "IDLE"
            with m.State("STOPPED"):
                m.d.comb += self.cause.eq(Cause.HBM_RANGE)
        m.d.comb += self.busy.eq(~machine.ongoing("IDLE"))
        return m
