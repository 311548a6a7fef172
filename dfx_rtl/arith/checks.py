"""The checks of parameters that the components share."""

__all__ = ["check_positive"]


def check_positive(noun, value):
    """Raise ``TypeError`` unless ``value`` is a positive integer; ``noun`` begins the message."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"{noun} must be a positive integer, not {value!r}")
