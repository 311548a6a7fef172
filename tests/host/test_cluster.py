"""What a failed ring says; runs of rings are in tests/sim/test_cluster.py."""

from dfx_rtl.bus.axi import Response
from dfx_rtl.control.causes import Cause
from dfx_rtl.host.cluster import ClusterError
from dfx_rtl.host.driver import CoreError


def test_the_error_of_a_ring():
    link = CoreError(Cause.WATCHDOG_LINK, 2, Response.OKAY)
    memory = CoreError(Cause.HBM_READ, 7, Response.SLVERR)
    error = ClusterError({2: link, 0: memory}, [1])
    assert isinstance(error, CoreError)
    assert (error.core, error.cause, error.place) == (0, Cause.HBM_READ, 7)
    assert str(error) == ("core 0 stopped: HBM_READ at 7 (SLVERR); core 2 stopped: WATCHDOG_LINK "
                          "at 2; core 1 still runs")
    assert ClusterError({2: link}).core == 2
