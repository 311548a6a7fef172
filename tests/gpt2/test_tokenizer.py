import json
import re

import pytest

from dfx_rtl.gpt2 import TextStream, Tokenizer, TokenizerError
from dfx_rtl.gpt2.synthetic import character_symbols, write_random_checkpoint
from dfx_rtl.gpt2.writer import byte_spelling, write_character_tokenizer, write_config


def refuses(call, argument, message):
    with pytest.raises(TokenizerError, match=f"^{re.escape(message)}$"):
        call(argument)


@pytest.fixture
def path(tmp_path):
    """A character tokenizer of 64 bytes, in both spellings."""
    return write_random_checkpoint(tmp_path / "tiny", vocabulary=64)


@pytest.fixture
def all_bytes(tmp_path):
    return Tokenizer.load(write_random_checkpoint(tmp_path / "bytes", vocabulary=260))


@pytest.fixture
def merging(tmp_path):
    """A tokenizer as GPT-2 has it: vocab.json and merges.txt, and an end of text."""
    path = tmp_path / "merging"
    path.mkdir()
    tokens = [*byte_spelling(), "he", "ll", "hell", "hello", "Ġhello", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (path / "merges.txt").write_text("#version: 0.2\nh e\nl l\nhe ll\nhell o\nĠ hello\n")
    write_config(path, emb=4, layers=1, heads=1, vocabulary=len(tokens), positions=4)
    return path


def test_spelling_is_that_of_the_library(all_bytes):
    from tokenizers.pre_tokenizers import ByteLevel
    assert len(set(byte_spelling())) == 256
    assert sorted(byte_spelling()) == sorted(ByteLevel.alphabet())
    assert byte_spelling()[ord(" ")] == "Ġ" and byte_spelling()[ord("\n")] == "Ċ"


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_characters(path, files):
    if files == "vocab.json":
        (path / "tokenizer.json").unlink()
    tokenizer = Tokenizer.load(path)
    text = "Romeo, romeo:\n\n  wherefore art thou?  \n"
    ids = tokenizer.encode(text)
    assert ids == [character_symbols(64).index(byte) for byte in text.encode()]
    assert tokenizer.decode(ids) == text


def test_merges(merging):
    tokenizer = Tokenizer.load(merging)
    assert tokenizer.encode("hello hello") == [259, 260]
    assert tokenizer.encode("hell<|endoftext|>o") == [258, 261, ord("o")]
    assert tokenizer.decode([259, 260, 261]) == "hello hello<|endoftext|>"


def test_agrees_with_library(all_bytes, merging):
    text = "Zoë said: “naïve café” — 数 🙂\r\n\t\x00 hello"
    for tokenizer in (all_bytes, Tokenizer.load(merging)):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer._inner.decode(ids, skip_special_tokens=False) == text


def test_stream_holds_back_incomplete_characters(all_bytes):
    text = "é数🙂!"
    stream, pieces = TextStream(all_bytes), []
    for index in all_bytes.encode(text):
        pieces.append(stream.push(index))
    assert pieces == ["", "é", "", "", "数", "", "", "", "🙂", "!"]
    assert stream.finish() == ""


@pytest.mark.parametrize("raw", [b"\xf0\x9f", b"a\xffb", b"\xc3(", b"\xe2\x82", b"\xed\xa0\x80"])
def test_stream_of_invalid_bytes(all_bytes, raw):
    symbols, stream = character_symbols(256), TextStream(all_bytes)
    ids = [symbols.index(byte) for byte in raw]
    text = "".join(stream.push(index) for index in ids) + stream.finish()
    assert text == all_bytes.decode(ids) == raw.decode(errors="replace")


def test_ids_without_text(all_bytes):
    assert all_bytes.vocabulary == 260
    assert all_bytes.decode([259]) == "" and TextStream(all_bytes).push(259) == ""


def test_encode_errors(path):
    tokenizer = Tokenizer.load(path)
    refuses(tokenizer.encode, "", "the prompt is empty, expected at least one character")
    refuses(tokenizer.encode, "to # be", "character '#' at index 3 has no token")
    refuses(tokenizer.encode, "#", "character '#' at index 0 has no token")
    refuses(tokenizer.encode, "to##", "character '#' at index 2 has no token")
    refuses(tokenizer.encode, "a né", "character 'é' at index 3 has no token")
    refuses(tokenizer.encode, "a\ud800", "character '\\ud800' at index 1 has no token")


@pytest.mark.parametrize("known", [b"a\xc3", b"a\xa9"])
def test_character_known_by_half(tmp_path, known):
    write_config(tmp_path, emb=4, layers=1, heads=1, vocabulary=2, positions=4)
    write_character_tokenizer(tmp_path, known)
    refuses(Tokenizer.load(tmp_path).encode, "aéa", "character 'é' at index 1 has no token")
    refuses(Tokenizer.load(tmp_path).encode, "aé", "character 'é' at index 1 has no token")


def change(path, edit):
    file = path / "tokenizer.json"
    entries = json.loads(file.read_text())
    edit(entries)
    file.write_text(json.dumps(entries))


def test_added_tokens_are_not_spelled(tmp_path):
    path = write_random_checkpoint(tmp_path, vocabulary=258)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    change(path, lambda entries: entries["added_tokens"].append(
        {"id": 256, "content": "<é>", "special": True, **flags}))
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode("é<é>")
    assert len(ids) == 3 and ids[2] == 256
    assert tokenizer.decode(ids) == "é<é>"


def test_unknown_token_is_an_error_too(tmp_path):
    write_config(tmp_path, emb=4, layers=1, heads=1, vocabulary=3, positions=4)
    write_character_tokenizer(tmp_path, b"ab")

    def edit(entries):
        entries["model"]["vocab"]["<unk>"] = 2
        entries["model"]["unk_token"] = "<unk>"

    change(tmp_path, edit)
    for text, character in (("ab#", "#"), ("ab<", "<")):
        refuses(Tokenizer.load(tmp_path).encode, text,
                f"character {character!r} at index 2 has no token")


@pytest.mark.parametrize("edit, message", [
    (lambda entries: entries.update(normalizer={"type": "Lowercase"}),
     "type of normalizer is 'Lowercase', expected None"),
    (lambda entries: entries["pre_tokenizer"].update(add_prefix_space=True),
     "add_prefix_space of pre_tokenizer is True, expected False"),
])
def test_tokenizers_that_change_the_text(path, edit, message):
    change(path, edit)
    refuses(Tokenizer.load, path, f"{path}/tokenizer.json: {message}")


@pytest.mark.parametrize("index", [-1, 64])
def test_decode_errors(path, index):
    tokenizer = Tokenizer.load(path)
    message = f"token id is {index}, expected 0 to 63"
    refuses(tokenizer.decode, [0, index], message)
    refuses(TextStream(tokenizer).push, index, message)


def test_more_tokens_than_the_model(path):
    write_character_tokenizer(path, character_symbols(66))
    last = byte_spelling()[character_symbols(66)[64]]
    refuses(Tokenizer.load, path,
            f"{path}/tokenizer.json: token {last!r} has id 64, expected ids below 64, "
            f"the model's vocabulary")


@pytest.mark.parametrize("key, message", [
    ("model", "type of model is 'Other', expected 'BPE'"),
    ("pre_tokenizer", "type of pre_tokenizer is 'Other', expected 'ByteLevel'"),
    ("decoder", "type of decoder is 'Other', expected 'ByteLevel'"),
])
def test_other_tokenizers(path, key, message):
    file = path / "tokenizer.json"
    entries = json.loads(file.read_text())
    entries[key]["type"] = "Other"
    file.write_text(json.dumps(entries))
    refuses(Tokenizer.load, path, f"{file}: {message}")
    entries[key] = None
    file.write_text(json.dumps(entries))
    refuses(Tokenizer.load, path, f"{file}: {message.replace(repr('Other'), 'None')}")


def test_file_errors(path):
    refuses(Tokenizer.load, path / "nowhere", f"{path}/nowhere: no such directory")
    (path / "tokenizer.json").write_text("{")
    refuses(Tokenizer.load, path, f"{path}/tokenizer.json: line 1, column 2 is not JSON")
    (path / "tokenizer.json").unlink()
    (path / "merges.txt").unlink()
    refuses(Tokenizer.load, path, f"{path}/merges.txt: no such file")
    (path / "vocab.json").unlink()
    refuses(Tokenizer.load, path,
            f"{path}: holds no tokenizer.json, and no vocab.json with merges.txt")


def test_library_errors_name_the_file(path):
    """What the library says about a broken file is its own; the file in front of it is ours."""
    entries = json.loads((path / "tokenizer.json").read_text())
    entries["model"]["vocab"] = 3
    (path / "tokenizer.json").write_text(json.dumps(entries))
    start = re.escape(f"{path}/tokenizer.json: not a tokenizer: ")
    with pytest.raises(TokenizerError, match=f"^{start}."):
        Tokenizer.load(path)
    (path / "tokenizer.json").unlink()
    (path / "merges.txt").write_text("#version: 0.2\none two three\n")
    start = re.escape(f"{path}/vocab.json: not a tokenizer: ")
    with pytest.raises(TokenizerError, match=f"^{start}."):
        Tokenizer.load(path)
