# amaranth: UnusedElaboratable=no
import re

import pytest
from amaranth import *

from dfx_rtl.bus.axi import *
from sim.memory.checker import *

SIZE = 1 << 16


class Bench(Elaboratable):
    """A bus that nobody drives but the testbench, and the checker that watches it."""

    def __init__(self, signature, checker, **parameters):
        self.bus = signature.create()
        self.checker = checker(self.bus, **parameters)

    def elaborate(self, platform):
        m = Module()
        m.submodules.checker = self.checker
        return m


def play(simulate, bench, cycles, skip_reset=True):
    """Set the signals of each cycle; a signal keeps its value until it is set again."""
    found = []

    async def testbench(ctx):
        if skip_reset:
            await ctx.tick()
        for cycle in cycles:
            for name, value in cycle.items():
                ctx.set(getattr(bench.bus, name), value)
            await ctx.tick()
        found.append(ctx.get(bench.checker.violation))

    simulate(bench, testbench)
    return found[0]


def address(prefix, addr=0x200, length=1, size=5, burst=Burst.INCR, id=3, valid=1, ready=1):
    return {f"{prefix}id": id, f"{prefix}addr": addr, f"{prefix}len": length, f"{prefix}size": size,
            f"{prefix}burst": burst, f"{prefix}valid": valid, f"{prefix}ready": ready}


def w(data=1, last=0, valid=1, ready=1, strobe=0xffffffff):
    return {"wdata": data, "wstrb": strobe, "wlast": last, "wvalid": valid, "wready": ready}


def b(id=3, resp=Response.OKAY, valid=1, ready=1):
    return {"bid": id, "bresp": resp, "bvalid": valid, "bready": ready}


def r(data=1, last=0, id=3, resp=Response.OKAY, valid=1, ready=1):
    return {"rid": id, "rdata": data, "rresp": resp, "rlast": last, "rvalid": valid,
            "rready": ready}


AW0, W0, B0, AR0, R0 = {"awvalid": 0}, {"wvalid": 0}, {"bvalid": 0}, {"arvalid": 0}, {"rvalid": 0}

GOOD = {
    "write": [address("aw", ready=0), address("aw"), {**AW0, **w(ready=0)}, w(), w(2, last=1),
              {**W0, **b(ready=0)}, b(), B0],
    "data with the address": [{**address("aw"), **w()}, {**AW0, **w(2, last=1)}, {**W0, **b()}, B0],
    "data with an address that waits": [
        {**address("aw", ready=0), **w()}, w(2, last=1), {**address("aw"), **W0},
        {**AW0, **b()}, B0],
    "two writes": [address("aw", length=0), address("aw", length=0, id=4),
                   {**AW0, **w(last=1)}, w(last=1), {**W0, **b()}, b(id=4), B0],
    "read": [address("ar", ready=0), address("ar"), {**AR0, **r(ready=0)}, r(), r(2, last=1), R0],
    "two reads": [address("ar", length=0), address("ar", length=0, id=4),
                  {**AR0, **r(last=1)}, r(last=1, id=4), R0],
    "error responses": [{**address("ar", length=0), **address("aw", length=0), **w(last=1)},
                        {**AR0, **AW0, **W0, **r(last=1, resp=Response.SLVERR),
                         **b(resp=Response.DECERR)}, {**R0, **B0}],
    "to the end of a page": [address("ar", addr=0xfc0), AR0],
    "to the end of the memory": [address("ar", addr=SIZE - 64), AR0],
}

BAD = {
    "AW withdrawn": ([address("aw", ready=0), AW0], "AW_UNSTABLE"),
    "AW address changes": ([address("aw", ready=0), address("aw", addr=0x400)], "AW_UNSTABLE"),
    "AW length changes": ([address("aw", ready=0), address("aw", length=2)], "AW_UNSTABLE"),
    "AW id changes": ([address("aw", ready=0), address("aw", id=2)], "AW_UNSTABLE"),
    "W withdrawn": ([{**address("aw"), **w(ready=0)}, {**AW0, **W0}], "W_UNSTABLE"),
    "W data change": ([{**address("aw"), **w(ready=0)}, {**AW0, **w(5)}], "W_UNSTABLE"),
    "W strobe changes": ([{**address("aw"), **w(ready=0)}, {**AW0, **w(strobe=1)}], "W_UNSTABLE"),
    "AR withdrawn": ([address("ar", ready=0), AR0], "AR_UNSTABLE"),
    "AR address changes": ([address("ar", ready=0), address("ar", addr=0x400)], "AR_UNSTABLE"),
    "B withdrawn": ([{**address("aw", length=0), **w(last=1)}, {**AW0, **W0, **b(ready=0)}, B0],
                    "B_UNSTABLE"),
    "B response changes": ([{**address("aw", length=0), **w(last=1)},
                            {**AW0, **W0, **b(ready=0)}, b(resp=Response.SLVERR)], "B_UNSTABLE"),
    "R withdrawn": ([address("ar"), {**AR0, **r(ready=0)}, R0], "R_UNSTABLE"),
    "R data change": ([address("ar"), {**AR0, **r(ready=0)}, r(2)], "R_UNSTABLE"),
    "across 4 KiB": ([address("ar", addr=0xfe0)], "BOUNDARY"),
    "across 4 KiB, write": ([address("aw", addr=0x1fe0)], "BOUNDARY"),
    "narrow": ([address("ar", size=4)], "SIZE"),
    "fixed": ([address("aw", burst=Burst.FIXED)], "BURST"),
    "wrapping": ([address("ar", burst=Burst.WRAP)], "BURST"),
    "unaligned": ([address("ar", addr=0x210)], "ALIGNMENT"),
    "beyond the memory": ([address("ar", addr=SIZE, length=0)], "ADDRESS_RANGE"),
    "far beyond the memory": ([address("aw", addr=1 << 32)], "ADDRESS_RANGE"),
    "data first": ([w()], "W_BEFORE_AW"),
    "data of no address": ([{**address("aw", length=0), **w(last=1)}, {**AW0, **w(last=1)}],
                           "W_BEFORE_AW"),
    "data ahead of an address that waits": (
        [{**address("aw", length=0, ready=0), **w(last=1)}, w()], "W_BEFORE_AW"),
    "WLAST early": ([address("aw"), {**AW0, **w(last=1)}], "W_LAST"),
    "WLAST late": ([address("aw", length=0), {**AW0, **w()}], "W_LAST"),
    "WLAST of the second burst": ([address("aw", length=0), address("aw", length=1),
                                   {**AW0, **w(last=1)}, w(last=1)], "W_LAST"),
    "B of nothing": ([b()], "B_BEFORE_W"),
    "B before the last beat": ([{**address("aw"), **w()}, {**AW0, **W0, **b()}], "B_BEFORE_W"),
    "B before the address": ([{**address("aw", length=0, ready=0), **w(last=1)}, {**W0, **b()}],
                             "B_BEFORE_W"),
    "B twice": ([{**address("aw", length=0), **w(last=1)}, {**AW0, **W0, **b()}, b()],
                "B_BEFORE_W"),
    "B of another id": ([{**address("aw", length=0), **w(last=1)}, {**AW0, **W0, **b(id=2)}],
                        "B_ID"),
    "R of nothing": ([r()], "R_WITHOUT_AR"),
    "R after the last": ([address("ar", length=0), {**AR0, **r(last=1)}, r(last=1)],
                         "R_WITHOUT_AR"),
    "RLAST early": ([address("ar"), {**AR0, **r(last=1)}], "R_LAST"),
    "RLAST late": ([address("ar", length=0), {**AR0, **r()}], "R_LAST"),
    "R of another id": ([address("ar"), {**AR0, **r(id=2)}], "R_ID"),
    "exclusive read": ([address("ar"), {**AR0, **r(resp=Response.EXOKAY)}], "RESPONSE"),
    "exclusive write": ([{**address("aw", length=0), **w(last=1)},
                         {**AW0, **W0, **b(resp=Response.EXOKAY)}], "RESPONSE"),
    "too many reads": ([address("ar")] * 5, "QUEUE_OVERFLOW"),
    "too many writes": ([address("aw")] * 5, "QUEUE_OVERFLOW"),
}


def checked(signature=None, **parameters):
    parameters = {"size_bytes": SIZE, "depth": 4, **parameters}
    return Bench(signature or Axi3Signature(33, 256, 6), AxiChecker, **parameters)


@pytest.mark.parametrize("name", GOOD)
def test_good(simulate, name):
    assert play(simulate, checked(), GOOD[name]) == Violation.NONE
    axi4 = checked(Axi4Signature(33, 256, 6))
    assert play(simulate, axi4, GOOD[name]) == Violation.NONE


@pytest.mark.parametrize("name", BAD)
def test_bad(simulate, name):
    cycles, violation = BAD[name]
    assert play(simulate, checked(), cycles).name == violation


SUBORDINATE = {"B_UNSTABLE", "B_BEFORE_W", "B_ID", "R_UNSTABLE", "R_WITHOUT_AR", "R_LAST", "R_ID",
               "RESPONSE"}


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][1] not in SUBORDINATE
                                  and name != "too many reads"])
def test_bad_manager_only(simulate, name):
    cycles, violation = BAD[name]
    assert play(simulate, checked(check_subordinate=False), cycles).name == violation


def test_every_violation_is_provoked():
    elsewhere = {"NONE", "VALID_AFTER_RESET", "LENGTH", "R_NOT_READY"}
    assert {violation.name for violation in Violation} == {bad for _, bad in BAD.values()} \
        | elsewhere


@pytest.mark.parametrize("signal", ["awvalid", "wvalid", "bvalid", "arvalid", "rvalid"])
def test_valid_after_reset(simulate, signal):
    assert play(simulate, checked(), [{signal: 1}],
                skip_reset=False) == Violation.VALID_AFTER_RESET


def test_length(simulate):
    limited = checked(Axi4Signature(33, 256, 6), max_beats=16)
    assert play(simulate, limited, [address("ar", length=15), AR0]) == Violation.NONE
    assert play(simulate, limited, [address("ar", length=16)]) == Violation.LENGTH
    free = checked(Axi4Signature(33, 256, 6))
    assert play(simulate, free, [address("ar", addr=0, length=127)]) == Violation.NONE


def test_constant_rready(simulate):
    cycles = [address("ar"), {**AR0, **r()}, r(2, last=1, ready=0)]
    assert play(simulate, checked(), cycles) == Violation.NONE
    assert play(simulate, checked(constant_rready=True), cycles) == Violation.R_NOT_READY
    assert play(simulate, checked(constant_rready=True, check_subordinate=False),
                cycles) == Violation.R_NOT_READY


def test_base_address(simulate):
    def based():
        return checked(base_address=SIZE)
    assert play(simulate, based(), [address("ar", addr=SIZE)]) == Violation.NONE
    assert play(simulate, based(), [address("ar", addr=SIZE - 32,
                                            length=0)]) == Violation.ADDRESS_RANGE
    assert play(simulate, based(), [address("ar", addr=2 * SIZE)]) == Violation.ADDRESS_RANGE


def test_first_violation_stays(simulate):
    cycles = [address("ar", addr=0x210), AR0, b(), B0]
    assert play(simulate, checked(), cycles) == Violation.ALIGNMENT


def lite(addr=4, valid=1, ready=1, prefix="aw"):
    return {f"{prefix}addr": addr, f"{prefix}valid": valid, f"{prefix}ready": ready}


def lite_w(data=1, valid=1, ready=1):
    return {"wdata": data, "wstrb": 15, "wvalid": valid, "wready": ready}


def lite_b(resp=Response.OKAY, valid=1, ready=1):
    return {"bresp": resp, "bvalid": valid, "bready": ready}


def lite_r(data=1, resp=Response.OKAY, valid=1, ready=1):
    return {"rdata": data, "rresp": resp, "rvalid": valid, "rready": ready}


LITE = [
    ([lite_w(ready=0), {**lite(), **lite_w()}, {**AW0, **W0, **lite_b(ready=0)}, lite_b(), B0],
     "NONE"),
    ([lite(prefix="ar"), {**AR0, **lite_r(ready=0)}, lite_r(), R0], "NONE"),
    ([lite(ready=0), AW0], "AW_UNSTABLE"),
    ([lite(ready=0), lite(8)], "AW_UNSTABLE"),
    ([lite_w(ready=0), lite_w(2)], "W_UNSTABLE"),
    ([lite(prefix="ar", ready=0), AR0], "AR_UNSTABLE"),
    ([{**lite(), **lite_w()}, {**AW0, **W0, **lite_b(ready=0)}, B0], "B_UNSTABLE"),
    ([lite(prefix="ar"), {**AR0, **lite_r(ready=0)}, lite_r(2)], "R_UNSTABLE"),
    ([lite(), {**AW0, **lite_b()}], "B_BEFORE_W"),
    ([lite_w(), {**W0, **lite_b()}], "B_BEFORE_W"),
    ([lite_r()], "R_WITHOUT_AR"),
    ([lite(prefix="ar"), {**AR0, **lite_r()}, lite_r()], "R_WITHOUT_AR"),
    ([lite(prefix="ar"), {**AR0, **lite_r(resp=Response.EXOKAY)}], "RESPONSE"),
    ([{**lite(), **lite_w()}, {**AW0, **W0, **lite_b(resp=Response.EXOKAY)}], "RESPONSE"),
]


@pytest.mark.parametrize("cycles, violation", LITE)
def test_lite(simulate, cycles, violation):
    bench = Bench(AxiLiteSignature(12), AxiLiteChecker)
    assert play(simulate, bench, cycles).name == violation


@pytest.mark.parametrize("signal", ["awvalid", "wvalid", "arvalid"])
def test_lite_valid_after_reset(simulate, signal):
    bench = Bench(AxiLiteSignature(12), AxiLiteChecker)
    assert play(simulate, bench, [{signal: 1}], skip_reset=False) == Violation.VALID_AFTER_RESET


@pytest.mark.parametrize("make, error, message", [
    (lambda: AxiChecker(AxiLiteSignature(12).create(path=("lite",))), TypeError,
     "Bus must be AXI3 or AXI4, not <PureInterface: AxiLiteSignature"),
    (lambda: AxiChecker(None), TypeError, "Bus must be AXI3 or AXI4, not None"),
    (lambda: AxiChecker(Axi3Signature(33, 256, 6).create(), depth=3), ValueError,
     "Depth must be a power of two above 1, not 3"),
    (lambda: AxiLiteChecker(Axi3Signature(33, 256, 6).create()), TypeError,
     "Bus must be AXI4-Lite, not <PureInterface: Axi3Signature"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        make()
