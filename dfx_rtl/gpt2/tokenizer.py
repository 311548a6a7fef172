"""Text to token ids and back, with GPT-2's byte-level BPE."""

import codecs
from pathlib import Path

import tokenizers

from .config import Gpt2Config
from .errors import TokenizerError, read_json
from .writer import byte_spelling

__all__ = ["TextStream", "Tokenizer"]

_END_OF_TEXT = "<|endoftext|>"


def _expect(file, thing, found, expected):
    if found != expected:
        raise TokenizerError(f"{file}: {thing} is {found!r}, expected {expected!r}")


def _kind(value):
    return value.get("type") if isinstance(value, dict) else None


def _read(path):
    """The tokenizers library's object, and the file that it came from."""
    file, vocabulary, merges = (
        path / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if file.exists():
        entries = read_json(file, TokenizerError)
        _expect(file, "type of model", _kind(entries.get("model")), "BPE")
        _expect(file, "type of pre_tokenizer", _kind(entries.get("pre_tokenizer")), "ByteLevel")
        _expect(file, "type of decoder", _kind(entries.get("decoder")), "ByteLevel")
        # These two would change the text before it is encoded.
        _expect(file, "type of normalizer", _kind(entries.get("normalizer")), None)
        prefix_space = entries["pre_tokenizer"].get("add_prefix_space", False)
        _expect(file, "add_prefix_space of pre_tokenizer", prefix_space, False)
        try:
            inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as problem:  # the library raises nothing more exact
            raise TokenizerError(f"{file}: not a tokenizer: {problem}") from None
        return inner, file
    if not vocabulary.exists():
        raise TokenizerError(f"{path}: holds no tokenizer.json, and no vocab.json with merges.txt")
    entries = read_json(vocabulary, TokenizerError)
    if not merges.exists():
        raise TokenizerError(f"{merges}: no such file")
    try:
        inner = tokenizers.Tokenizer(
            tokenizers.models.BPE.from_file(str(vocabulary), str(merges)))
    except Exception as problem:  # the library raises nothing more exact
        raise TokenizerError(f"{vocabulary}: not a tokenizer: {problem}") from None
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    if _END_OF_TEXT in entries:
        inner.add_special_tokens([_END_OF_TEXT])
    return inner, vocabulary


class Tokenizer:
    """The tokenizer of one checkpoint.

    Members
    -------
    vocabulary : int
        Ids of the model. Not every id needs a token: the last ones of some models are padding,
        and their text is empty.
    """

    def __init__(self, inner, file, vocabulary):
        self.vocabulary = vocabulary
        self._inner = inner
        inner.no_truncation()
        inner.no_padding()
        tokens = inner.get_vocab(with_added_tokens=True)
        for token, index in sorted(tokens.items(), key=lambda item: item[1]):
            if index >= vocabulary:
                raise TokenizerError(
                    f"{file}: token {token!r} has id {index}, expected ids below {vocabulary}, "
                    f"the model's vocabulary"
                )
        byte = {character: value for value, character in enumerate(byte_spelling())}
        added = inner.get_added_tokens_decoder()
        self._bytes = [b""] * vocabulary
        for token, index in tokens.items():
            if index in added or not all(character in byte for character in token):
                self._bytes[index] = token.encode("utf-8")
            else:
                self._bytes[index] = bytes(byte[character] for character in token)

    @classmethod
    def load(cls, path):
        """Read the tokenizer in a checkpoint's directory.

        Parameters
        ----------
        path : str or pathlib.Path
            Holds ``config.json``, and ``tokenizer.json`` or else ``vocab.json`` and
            ``merges.txt``.

        Raises
        ------
        TokenizerError
            If the files cannot be read, are not byte-level BPE, or have more ids than the model.
        CheckpointError
            If ``config.json`` is not that of a GPT-2.
        """
        path = Path(path)
        if not path.is_dir():
            raise TokenizerError(f"{path}: no such directory")
        return cls(*_read(path), Gpt2Config.load(path).vocabulary)

    def encode(self, text):
        """The token ids of a text.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of int

        Raises
        ------
        TokenizerError
            If the text is empty, or has a character without a token. BPE alone drops such
            characters silently, and the model would read another text than the user wrote.
        """
        if not text:
            raise TokenizerError("the prompt is empty, expected at least one character")
        try:
            expected = text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise self._no_token(text, problem.start) from None
        ids = self._inner.encode(text, add_special_tokens=False).ids
        found = b"".join(self._bytes[index] for index in ids)
        if found != expected:
            same = 0
            while found[same : same + 1] == expected[same : same + 1]:
                same += 1
            # The first byte that differs may be inside a character, or behind the text's end
            # where a token for unknown characters begins as the text does.
            start = len(expected[:same].decode("utf-8", errors="ignore"))
            raise self._no_token(text, min(start, len(text) - 1))
        return ids

    @staticmethod
    def _no_token(text, index):
        return TokenizerError(f"character {text[index]!r} at index {index} has no token")

    def bytes_of(self, index):
        """The bytes that a token id stands for.

        Raises
        ------
        TokenizerError
            If the id is not in the vocabulary.
        """
        if not 0 <= index < self.vocabulary:
            raise TokenizerError(
                f"token id is {index}, expected 0 to {self.vocabulary - 1}")
        return self._bytes[index]

    def decode(self, ids):
        """The text of token ids; bytes that are not UTF-8 become U+FFFD.

        Raises
        ------
        TokenizerError
            If an id is not in the vocabulary.
        """
        return b"".join(self.bytes_of(index) for index in ids).decode("utf-8", errors="replace")


class TextStream:
    """Decodes token by token, and holds back the start of a character until it is complete.

    What :meth:`push` and :meth:`finish` return, joined, is what :meth:`Tokenizer.decode` returns.

    Parameters
    ----------
    tokenizer : Tokenizer
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, index):
        """The text that is complete with one token more; may be empty.

        Raises
        ------
        TokenizerError
            If the id is not in the vocabulary.
        """
        return self._decoder.decode(self._tokenizer.bytes_of(index))

    def finish(self):
        """The end of the text: U+FFFD if a character was begun and not completed, else empty."""
        return self._decoder.decode(b"", final=True)
