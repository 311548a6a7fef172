"""The performance counters: what every cycle of the MPU was spent on."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa import Unit
from .activity import Account, Activity

__all__ = ["COUNTER", "Accounting"]

#: Bits of a counter.
COUNTER = 48

_WAITS = {Unit.MPU: Account.OPERAND_MPU, Unit.VPU: Account.OPERAND_VPU,
          Unit.LOAD: Account.OPERAND_LOAD, Unit.ROUTER: Account.OPERAND_ROUTER}


class Accounting(wiring.Component):
    """Finds the one cause of each cycle of the MPU, and counts the cycles of each.

    ``account`` is combinational; a counter follows it by a cycle. The counters of all causes add up
    to the cycles in which ``enable`` was high.

    Members
    -------
    activity : In(Activity)
        What the MPU knows.
    writer : In(Unit)
        The unit that will write the chunk which the MPU asks for.
    in_flight : In(1)
        The MPU has an instruction that has not ended.
    clear : In(1)
        All counters become 0.
    enable : In(1)
        Count.
    account : Out(Account)
        What this cycle is spent on.
    cycles : Out(48)
        Cycles counted.
    counts : Out(array of 48 bits)
        Of them, those of each :class:`.Account`.
    """

    activity: In(Activity)
    writer: In(Unit)
    in_flight: In(1)
    clear: In(1)
    enable: In(1)
    account: Out(Account)
    cycles: Out(COUNTER)
    counts: Out(data.ArrayLayout(COUNTER, len(Account)))

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.activity):
            for activity in (Activity.BUSY, Activity.WEIGHTS, Activity.ACCUMULATORS):
                with m.Case(activity):
                    m.d.comb += self.account.eq(Account[activity.name])
            with m.Case(Activity.OPERAND):
                with m.Switch(self.writer):
                    for unit, account in _WAITS.items():
                        with m.Case(unit):
                            m.d.comb += self.account.eq(account)
            with m.Case(Activity.ISSUE):
                m.d.comb += self.account.eq(Mux(self.in_flight, Account.DRAIN, Account.ISSUE))

        with m.If(self.clear):
            m.d.sync += [self.cycles.eq(0), self.counts.eq(0)]
        with m.Elif(self.enable):
            m.d.sync += self.cycles.eq(self.cycles + 1)
            with m.Switch(self.account):
                for account in Account:
                    with m.Case(account):
                        m.d.sync += self.counts[account].eq(self.counts[account] + 1)
        return m
