"""The host of a ring: what it does with all cores of a run."""

import time

from ..control.causes import Cause
from ..control.state import State
from .driver import CoreError, next_run

__all__ = ["ClusterError", "run_cluster"]

#: Errors that may be nothing but a consequence of another core's.
_CONSEQUENCES = (Cause.WATCHDOG_LINK,)


class ClusterError(CoreError):
    """Cores of a ring stopped with errors.

    Attributes
    ----------
    errors : dict
        The CoreError of each core that has failed, by its number.
    running : list of int
        The cores that have neither failed nor come to their end.
    core : int
        The core whose error was first seen; one that waited for another core in vain only if there
        is no other. ``cause``, ``place`` and ``response`` are of its error.
    """

    def __init__(self, errors, running=()):
        self.errors, self.running = dict(errors), list(running)
        self.core = next((core for core, error in self.errors.items()
                          if error.cause not in _CONSEQUENCES), next(iter(self.errors)))
        first = self.errors[self.core]
        super().__init__(first.cause, first.place, first.response)
        others = [core for core in self.errors if core != self.core]
        parts = [str(self.errors[core]).replace("the core", f"core {core}", 1)
                 for core in (self.core, *others)]
        parts += [f"core {core} still runs" for core in self.running]
        self.args = ("; ".join(parts),)


async def run_cluster(bus, drivers, parameters, prompt, output_count, on_token=None, *,
                      first_position=0, now=time.monotonic, patience=10):
    """Start a run on all cores of a ring, and wait for its end.

    Parameters
    ----------
    bus : Bus
        Its ``wait`` returns when any core has news, or after a while.
    drivers : list of Driver
        Of all cores, in the order of the ring; they have been configured.
    parameters : list of RunParameters
        Of the compiled models.
    prompt, output_count, on_token, first_position
        As of :meth:`.Driver.run`.
    now : callable
        The time, in seconds or in what else ``patience`` is given.
    patience : int
        How long the other cores may take, behind the first error, to come to an end.

    Returns
    -------
    list of int
        The generated ids.

    Raises
    ------
    ClusterError
        If a core stopped with an error.
    """
    number = await next_run(drivers)
    # A token is the same on all cores: only one tells of it.
    for driver in drivers[1:]:
        await driver.write("INTERRUPT_ENABLE", done=1, error=1, token=0)
    for driver, run in zip(drivers, parameters, strict=True):
        await driver.start(run, prompt, output_count, first_position=first_position,
                           run_number=number)
    tokens, errors, running, deadline = [], {}, set(range(len(drivers))), None
    while running:
        await bus.wait()
        for core in sorted(running):
            driver = drivers[core]
            events = await driver.read("INTERRUPT_STATUS")
            if not any(events.values()):
                continue
            await driver.write("INTERRUPT_STATUS", **events)
            state = (await driver.status()).state
            if state is State.FAILED:
                errors[core] = await driver.error()
            if state in (State.FAILED, State.DONE):
                running.remove(core)
                # What came since then would keep its interrupt high.
                await driver.write("INTERRUPT_STATUS", done=1, error=1, token=1)
            if core == 0 and state is not State.FAILED:
                await driver.fetch(parameters[0], tokens, on_token, done=state is State.DONE)
        if errors:
            deadline = now() + patience if deadline is None else deadline
            if now() >= deadline:
                break
    if errors:
        raise ClusterError(errors, sorted(running))
    return tokens

