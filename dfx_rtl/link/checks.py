"""Checks of parameters."""

__all__ = ["check_integer", "check_power_of_two"]


def check_integer(what, value, low, high):
    """Raise unless a value is an integer between two bounds, both included."""
    text = f"{what} must be an integer between {low} and {high}, not {value!r}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(text)
    if not low <= value <= high:
        raise ValueError(text)


def check_power_of_two(what, value, low, high):
    """Raise unless a value is a power of two between two bounds, both included."""
    text = f"{what} must be a power of two between {low} and {high}, not {value!r}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(text)
    if not low <= value <= high or value & (value - 1):
        raise ValueError(text)
