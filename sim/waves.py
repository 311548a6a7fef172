"""Waveforms: a VCD of some cycles, with a GTKWave save file that groups the block diagram."""

from contextlib import ExitStack
from pathlib import Path

__all__ = ["Waves"]


class Waves:
    """Records the waves of a range of cycles.

    Parameters
    ----------
    path : str or pathlib.Path
        The VCD file; the save file stands beside it, with the suffix ``.gtkw``.
    first : int
        Kernel cycle at which the recording begins.
    last : int or None
        Kernel cycle at which it ends; None is the end of the run.

    Raises
    ------
    ValueError
        If the file cannot be written, or the range is empty.
    """

    def __init__(self, path, first=0, last=None):
        self.path = Path(path)
        self.first, self.last = first, last
        if first < 0 or (last is not None and last <= first):
            raise ValueError(f"cycles {first}..{last} cannot be recorded: expected a first cycle "
                             f"of at least 0 and a greater last one")
        try:
            with self.path.open("w"):
                pass
        except OSError as error:
            raise ValueError(f"VCD file {self.path} cannot be written: {error.strerror}") from None
        self.path.unlink()

    def record(self, simulator, engine):
        """Run a simulator to its end, and record on the way."""
        running = True
        with ExitStack() as recording:
            while running:
                while running and engine.cycle < self.first:
                    running = simulator.advance()
                # The simulator's own method refuses to begin late; its engine can.
                recording.enter_context(simulator._engine.write_vcd(
                    vcd_file=str(self.path), gtkw_file=str(self.path.with_suffix(".gtkw")),
                    traces=engine.system.waves(), fs_per_delta=0))
                while running and (self.last is None or engine.cycle < self.last):
                    running = simulator.advance()
                recording.close()
                while running:
                    running = simulator.advance()
