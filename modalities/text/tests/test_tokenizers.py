from __future__ import annotations

import json
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore import components
from gencore.errors import CheckpointError, InputError, MissingDependency
from gencore.tokenizer import Latent
from gencore_text.tokenizers.alphabet27 import SYMBOLS, Alphabet27, simplify
from gencore_text.tokenizers.bytes import Bytes
from gencore_text.tokenizers.hf import HFTokenizer
from gencore_text.tokenizers.sentencepiece import SentencePiece

LINES = ["def f(x):", "    return x  # naïve   spacing", "The quick brown fox.", "In the beginning"] * 40


@pytest.fixture(scope="module")
def pieces() -> SentencePiece:
    pytest.importorskip("sentencepiece")
    return SentencePiece.train(LINES, vocab=330, length=16)


@pytest.fixture
def words(tmp_path):
    """A word-level tokenizer folder with a mask, an unknown and a padding token."""
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "in": 3, "the": 4, "beginning": 5}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[MASK]"])
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    names = {"mask_token": "[MASK]", "unk_token": {"content": "[UNK]"}, "pad_token": "[PAD]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    return tmp_path


@given(st.text(max_size=40))
def test_bytes_lose_nothing(text):
    tokenizer = Bytes(8)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        return
    assert tokenizer.text(tokenizer.ids(text)) == text
    assert tokenizer.ids(text) == list(text.encode())


@given(st.lists(st.integers(0, 255), max_size=40))
def test_any_bytes_come_back_from_their_text(ids):
    tokenizer = Bytes(8)
    assert tokenizer.ids(tokenizer.text(ids)) == ids


def test_specials_are_no_text():
    tokenizer = Bytes(8)
    row = [257, 104, 256, 256, 105, 258, 259]
    assert tokenizer.text(row) == "hi"
    assert tokenizer.text(torch.tensor(row), blank="_") == "h__i"
    assert tokenizer.special == {256, 257, 258, 259} and tokenizer.vocab == 260


def test_a_character_split_by_a_blank_keeps_its_bytes():
    tokenizer = Bytes(8)
    first, second = tokenizer.ids("é")
    assert tokenizer.ids(tokenizer.text([first, 256, second])) == [first, second]


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(InputError, match=r"260.*0\.\.259"):
        Bytes(8).text([260])
    with pytest.raises(InputError, match="-1"):
        Bytes(8).text([-1])


def test_encode_is_the_identity_and_knows_padding():
    tokenizer = Bytes(3)
    data = torch.tensor([[1, 2, 3], [4, 259, 259]], dtype=torch.int32)
    latent = tokenizer.encode(data)
    assert latent.value.dtype == torch.int64 and torch.equal(latent.value, data.long())
    assert latent.valid is not None and latent.valid.tolist() == [[True] * 3, [True, False, False]]
    assert tokenizer.encode(data[:1]).valid is None
    assert tokenizer.decode(Latent(data)) is data


@pytest.mark.parametrize(("data", "word"), [
    (torch.tensor([[1, 256]]), "mask's id 256 inside the data"),
    (torch.tensor([[1, 260]]), "260"),
    (torch.tensor([[-1, 1]]), "-1"),
    (torch.tensor([[0.5, 1.0]]), "float32"),
    (torch.tensor([1, 2]), "rank 1"),
])  # fmt: skip
def test_bad_data_is_refused(data, word):
    with pytest.raises(InputError, match=word):
        Bytes(2).encode(data)


def test_spec_of_any_length():
    tokenizer = Bytes(8)
    assert tokenizer.spec().sizes == (8,) and tokenizer.spec([3]).sizes == (3,)
    assert tokenizer.spec().kind == "discrete" and tokenizer.spec().vocab == 260
    assert tokenizer.spec([9]).sizes == (9,), "samplers may slide over more than the context"
    for size in ([0], [2, 2]):
        with pytest.raises(InputError, match="one number of tokens"):
            tokenizer.spec(size)
    with pytest.raises(InputError, match="length"):
        Bytes(0)


def test_a_mask_over_the_data_grid_covers_the_latent():
    area = torch.tensor([[[True, False]]])
    assert Bytes(2).mask(area).expand(1, 2).tolist() == [[True, False]]


def test_symbols_of_the_benchmark():
    tokenizer = Alphabet27(8)
    assert tokenizer.vocab == 28 and tokenizer.mask_id == 27 and len(SYMBOLS) == 27
    assert tokenizer.text(tokenizer.ids("the end")) == "the end"
    with pytest.raises(InputError, match=r"'T' at 0"):
        tokenizer.ids("The")


@given(st.text(max_size=60))
def test_simplified_text_is_in_the_symbols(text):
    made = simplify(text)
    assert "  " not in made and set(made) <= set(SYMBOLS)
    assert simplify(made) == made
    assert Alphabet27(8).text(Alphabet27(8).ids(made)) == made


def test_digits_are_spelt_out_one_by_one():
    assert simplify("in 1611 AD.") == "in one six one one ad "


def test_pieces_keep_white_space_and_unseen_characters(pieces):
    for text in ("def f(x):\n    return  x", "  two  spaces  ", "ünseen ☃ 𝄞", "tab\there\n\n", ""):
        assert pieces.text(pieces.ids(text)) == text, text


@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\x00"), max_size=30))
def test_pieces_lose_nothing(pieces, text):
    assert pieces.text(pieces.ids(text)) == text


def test_pieces_are_shorter_than_bytes_and_hold_an_explicit_mask(pieces):
    assert len(pieces.ids("In the beginning")) < 8
    assert pieces.mask_id not in pieces.ids("<mask> is text")
    assert pieces.text(pieces.ids("<mask>")) == "<mask>"
    assert 0 <= pieces.mask_id < pieces.vocab
    one = pieces.ids("In the")
    assert pieces.text([*one, pieces.mask_id], blank="?") == "In the?"


def test_pieces_that_hold_the_space_before_them(pieces):
    spaced = pieces.spaced
    assert spaced and all(pieces.text([i])[0] == " " and len(pieces.text([i])) > 1 for i in spaced)
    assert pieces.ids(" ")[0] not in spaced and Bytes(4).spaced == frozenset()


def test_pieces_from_files(tmp_path):
    pytest.importorskip("sentencepiece")
    path = tmp_path / "a.txt"
    path.write_text("\n".join(LINES))
    assert SentencePiece.train([path], vocab=330).ids("quick") == SentencePiece.train(LINES, vocab=330).ids("quick")


def test_the_space_mark_would_get_lost_so_it_is_refused(pieces):
    with pytest.raises(InputError, match="at 1"):
        pieces.ids("a\u2581b")


def test_a_model_without_byte_fallback_names_the_lost_character(tmp_path):
    library = pytest.importorskip("sentencepiece")
    prefix = str(tmp_path / "m")
    library.SentencePieceTrainer.Train(
        sentence_iterator=iter(LINES), model_prefix=prefix, vocab_size=60, hard_vocab_limit=False, minloglevel=3
    )
    tokenizer = SentencePiece.from_file(tmp_path / "m.model", 16)
    assert tokenizer.mask_id == tokenizer.vocab - 1, "no <mask> piece: an id after the last one"
    with pytest.raises(InputError, match=r"☃.*no byte fallback"):
        tokenizer.ids("The ☃")
    with pytest.raises(InputError, match="mask_id"):
        SentencePiece.from_file(tmp_path / "m.model", 16, mask_id=tokenizer.vocab)


def test_a_mask_that_is_a_piece_of_text_is_refused_inside_it(pieces):
    model = bytes(pieces.tensors()["sentencepiece"].tolist())
    letter = pieces.ids("q")[-1]
    with pytest.raises(InputError, match="inside the data"):
        SentencePiece.from_model(model, 16, mask_id=letter).ids("q")


def test_pieces_travel_with_the_weights(pieces):
    again = components.build("tokenizer", components.describe("tokenizer", pieces))
    with pytest.raises(InputError, match="no SentencePiece model"):
        again.ids("a")
    assert again.spec() == pieces.spec()
    again.load(pieces.tensors())
    assert again.ids(LINES[1]) == pieces.ids(LINES[1])
    with pytest.raises(CheckpointError):
        again.load({"other": torch.zeros(1)})
    with pytest.raises(CheckpointError):
        SentencePiece.from_model(b"no model", 16)


def test_too_small_a_vocabulary_is_refused():
    pytest.importorskip("sentencepiece")
    with pytest.raises(InputError, match="100"):
        SentencePiece.train(LINES, vocab=100)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingDependency, match="gencore-text"):
        SentencePiece.train(LINES)


def test_a_tokenizer_folder(words):
    tokenizer = HFTokenizer.from_folder(words, 8)
    assert (tokenizer.vocab, tokenizer.mask_id, tokenizer.pad_id, tokenizer.unk_id) == (6, 2, 0, 1)
    assert tokenizer.ids("in the beginning") == [3, 4, 5], "the file's truncation to two tokens is off"
    assert tokenizer.text([3, 2, 5], blank=" ? ") == "in ? beginning"


def test_both_spellings_of_a_space_before_a_piece(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"\u0120man": 0, "\u2581man": 1, "\u0120": 2, "\u2581": 3, "man": 4}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="man")).save(str(tmp_path / "tokenizer.json"))
    assert HFTokenizer.from_folder(tmp_path, 8).spaced == {0, 1}


def test_a_folder_without_a_mask_gets_one_after_the_last_id(words):
    (words / "tokenizer_config.json").unlink()
    tokenizer = HFTokenizer.from_folder(words, 8)
    assert (tokenizer.vocab, tokenizer.mask_id) == (7, 6)
    with pytest.raises(InputError, match="mask_id"):
        HFTokenizer.from_folder(words, 8, mask_id=7)


@pytest.mark.parametrize(("text", "word"), [("in the end", "'end' at 7"), ("in [MASK] end", "mask's id 2 inside")])
def test_words_that_have_no_id_are_named(words, text, word):
    with pytest.raises(InputError, match=word):
        HFTokenizer.from_folder(words, 8).ids(text)


def test_a_tokenizer_folder_travels_with_the_weights(words):
    tokenizer = HFTokenizer.from_folder(words, 8)
    again = components.build("tokenizer", components.describe("tokenizer", tokenizer))
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        again.ids("in")
    again.load(tokenizer.tensors())
    assert again.ids("in the") == [3, 4] and again.spec() == tokenizer.spec()
    with pytest.raises(CheckpointError):
        again.load({})


def test_bad_tokenizer_folders(words, tmp_path):
    with pytest.raises(InputError, match="tokenizer"):
        HFTokenizer.from_folder(tmp_path / "none", 8)
    (words / "special_tokens_map.json").write_text('{"bos_token": "<s>"}')
    with pytest.raises(InputError, match="bos token '<s>'"):
        HFTokenizer.from_folder(words, 8)
    (words / "special_tokens_map.json").write_text("{")
    with pytest.raises(CheckpointError):
        HFTokenizer.from_folder(words, 8)
    (words / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError):
        HFTokenizer.from_folder(words, 8)
