"""What goes wrong with a checkpoint or a tokenizer: one line each, meant for the user."""

import json

__all__ = ["CheckpointError", "TokenizerError", "read_json"]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or a model that is not GPT-2.

    The message is one line: file, thing, what was found, what was expected.
    """


class TokenizerError(ValueError):
    """A tokenizer that cannot be read, or a text or a token id that it does not cover."""


def read_json(path, error):
    """The JSON object in the file ``path``.

    Parameters
    ----------
    path : pathlib.Path
    error : class of exception
        Raised where the file is missing, is not JSON, or is not an object.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise error(f"{path}: byte {problem.start} is not UTF-8, expected JSON") from None
    except json.JSONDecodeError as problem:
        raise error(
            f"{path}: line {problem.lineno}, column {problem.colno} is not JSON"
        ) from None
    except RecursionError:
        raise error(f"{path}: nested too deeply, expected a JSON object") from None
    if not isinstance(value, dict):
        raise error(f"{path}: holds a JSON {type(value).__name__}, expected an object")
    return value
