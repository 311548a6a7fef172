"""What the compiler raises."""

__all__ = ["CompileError"]


class CompileError(ValueError):
    """A model that does not fit a core, or a program that cannot run. The message is one line."""
