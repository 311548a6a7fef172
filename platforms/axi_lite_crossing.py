"""AXI4-Lite from one clock domain to another."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from dfx_rtl.bus.axi import AxiLiteSignature

__all__ = ["AxiLiteCrossing"]

# Accesses on their way; a host has one at a time.
_DEPTH = 4
_CHANNELS = {"aw": ("addr",), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr",),
             "r": ("data", "resp")}


class AxiLiteCrossing(wiring.Component):
    """Each of the five channels passes an asynchronous FIFO.

    Latency: 1 cycle of the one domain and 3 of the other, for each channel. Throughput: a beat a
    cycle of the slower domain, in bursts of 4. No output depends combinationally on an input.

    Parameters
    ----------
    signature : AxiLiteSignature
        Of both sides.
    manager_domain, subordinate_domain : str
        Where the manager and the subordinate are.

    Members
    -------
    manager : In(signature)
        From the manager.
    subordinate : Out(signature)
        To the subordinate.

    Raises
    ------
    TypeError
        If the signature is not AXI4-Lite.
    """

    def __init__(self, signature, *, manager_domain, subordinate_domain):
        if not isinstance(signature, AxiLiteSignature):
            raise TypeError(f"Signature must be AXI4-Lite, not {signature!r}")
        self._manager_domain = manager_domain
        self._subordinate_domain = subordinate_domain
        super().__init__({"manager": In(signature), "subordinate": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        for channel, payload in _CHANNELS.items():
            ends = (self.manager, self.manager_domain), (self.subordinate, self.subordinate_domain)
            (source, source_domain), (target, target_domain) = \
                reversed(ends) if channel in ("b", "r") else ends
            sent = Cat(Value.cast(getattr(source, f"{channel}{name}")) for name in payload)
            m.submodules[channel] = queue = fifo.AsyncFIFO(
                width=len(sent), depth=_DEPTH, w_domain=source_domain, r_domain=target_domain)
            m.d.comb += [
                queue.w_data.eq(sent),
                queue.w_en.eq(getattr(source, f"{channel}valid")),
                getattr(source, f"{channel}ready").eq(queue.w_rdy),
                Cat(Value.cast(getattr(target, f"{channel}{name}")) for name in payload)
                .eq(queue.r_data),
                getattr(target, f"{channel}valid").eq(queue.r_rdy),
                queue.r_en.eq(getattr(target, f"{channel}ready")),
            ]
        return m

    @property
    def manager_domain(self):
        """Clock domain of the manager."""
        return self._manager_domain

    @property
    def subordinate_domain(self):
        """Clock domain of the subordinate."""
        return self._subordinate_domain
