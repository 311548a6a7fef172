"""Runs: prompts, generated tokens and scores, for one core or for a ring of them."""

import numpy as np

__all__ = ["RunError", "Runner"]


class RunError(ValueError):
    """A prompt, a count or a set of programs that cannot be run."""


class Runner:
    """Runs of cores that execute the same text together.

    Parameters
    ----------
    cores : list of Core
    """

    def __init__(self, cores):
        self._cores = cores
        self._run = cores[0].run

    def run(self, prompt, output_count, *, first_position=0):
        """Generate tokens.

        Parameters
        ----------
        prompt : sequence of int
        output_count : int
            How many tokens to generate; 0 runs the prompt only.
        first_position : int
            Tokens of the prompt that have been processed in an earlier run.

        Returns
        -------
        list of int
            The generated ids, the end-of-text token included if it came.

        Raises
        ------
        RunError
            If the prompt is empty, has an id beyond the vocabulary, or is too long, or
            ``first_position`` is not one of it; if the programs do not belong together.
        NumericError
            If all logits are NaN.
        """
        return list(self.generate(prompt, output_count, first_position=first_position))

    def generate(self, prompt, output_count, *, first_position=0):
        """As :meth:`run`, but a generator: each id as soon as it is known."""
        prompt = self._check(prompt, output_count)
        if not 0 <= first_position < len(prompt):
            raise RunError(f"first_position must be in 0..{len(prompt) - 1}, "
                           f"not {first_position!r}")
        return self._tokens(prompt, output_count, first_position)

    def score(self, ids):
        """The logits behind every token of a text; nothing is generated.

        The LM head is executed at every position, which the hardware does not do in a prompt.

        Parameters
        ----------
        ids : sequence of int

        Returns
        -------
        numpy array of float32
            ``len(ids)`` rows of ``vocabulary`` logits.

        Raises
        ------
        RunError
            As :meth:`run`, or if the program does not write logits.
        """
        if not self._run.logits_stride:
            raise RunError("the program does not write logits: compile it with logits=True")
        ids = self._check(ids, 1)
        starts = self._begin(ids)
        for position, token in enumerate(ids):
            self._position(starts, position, token, True)
        return np.stack([self.logits(index) for index in range(len(ids))])

    def logits(self, index):
        """The logits of the ``index``-th generated token, from DDR, if the program writes them."""
        return np.concatenate([core.logits(index) for core in self._cores])

    def _check(self, prompt, output_count):
        prompt, run = [int(token) for token in prompt], self._run
        if not prompt:
            raise RunError("the prompt is empty")
        for token in prompt:
            if not 0 <= token < run.vocabulary:
                raise RunError(f"token {token} of the prompt is not in 0..{run.vocabulary - 1}")
        if output_count < 0:
            raise RunError(f"output_count must not be negative, not {output_count}")
        needed = len(prompt) + max(output_count, 1) - 1
        if needed > run.positions:
            raise RunError(f"{len(prompt)} tokens of prompt and {output_count} to generate need "
                           f"{needed} positions, the program has {run.positions}")
        return prompt

    def _begin(self, prompt, first_position=0):
        """Start a run; returns each core's address behind TOKEN."""
        return self._together([core.begin(prompt, first_position) for core in self._cores])

    def _position(self, starts, position, token, wanted):
        """One pass over the programs; returns the token that they make."""
        for core in self._cores:
            core.token = token
        return self._together([core.position(start, position, wanted)
                               for core, start in zip(self._cores, starts, strict=True)])[0]

    def _tokens(self, prompt, output_count, first_position):
        """The run: setup, then the programs between TOKEN and END once a position."""
        starts, token = self._begin(prompt, first_position), None
        for position in range(first_position, len(prompt) + max(output_count, 1) - 1):
            if position < len(prompt):
                token = self._cores[0].prompt_token(position)
            wanted = output_count > 0 and position >= len(prompt) - 1
            token = self._position(starts, position, token, wanted)
            if wanted:
                yield token
                if token == self._run.end_of_text:
                    return

    def _together(self, steps):
        """Run the cores' generators side by side; returns what they end with."""
        while True:
            requests, results = [], []
            for step in steps:
                try:
                    requests.append(next(step))
                except StopIteration as stop:
                    results.append(stop.value)
            if not requests:
                return results
            if results or len({request.instruction.opcode for request in requests}) > 1:
                raise RunError("the cores do not execute the same SYNC and ARG_MAX")
            self._exchange(requests)

    def _exchange(self, requests):
        """Serve a request of every core."""
        raise NotImplementedError
