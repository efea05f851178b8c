from __future__ import annotations

import json
import sys
import types

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencore.errors import InputError, MissingDependency
from gencore_text.data import open_text
from gencore_text.readers.corpus import Corpus
from gencore_text.tokenizers.alphabet27 import Alphabet27
from gencore_text.tokenizers.bytes import Bytes

PARTS = ("train", "validation", "test")


@given(st.lists(st.text(max_size=30), max_size=8))
def test_parts_are_contiguous_and_leave_nothing_out(documents):
    corpus = Corpus("text", documents)
    joined = "".join("".join(corpus.part(part).documents) for part in PARTS)
    assert joined == "".join(documents)
    sizes = [corpus.part(part).characters for part in PARTS]
    assert sizes[0] == round(corpus.characters * 0.9)


def test_parts_by_position():
    corpus = Corpus("text", ["a" * 50, "b" * 50])
    assert corpus.part("train").documents == ["a" * 50, "b" * 40]
    assert [corpus.part(part).documents for part in PARTS[1:]] == [["b" * 5], ["b" * 5]]
    assert corpus.part("test").of == "test part, characters 95 to 100 of 100"
    assert corpus.part("all").documents == corpus.documents
    with pytest.raises(InputError, match="did you mean 'test'"):
        corpus.part("tests")  # type: ignore[arg-type]


def test_a_part_kept_apart_is_not_cut_again():
    corpus = Corpus("text", ["a" * 100], {"test": ["t" * 7]})
    assert corpus.part("test").documents == ["t" * 7]
    assert corpus.part("train").documents == ["a" * 95] and corpus.part("validation").documents == ["a" * 5]
    both = Corpus("text", ["a" * 100], {"test": ["t"], "validation": ["v"]})
    assert both.part("train").documents == ["a" * 100] and both.part("all").documents == ["a" * 100, "t", "v"]


def text_of(data):
    return [data.tokenizer.text(data[i]["data"]) for i in range(len(data))]


def test_training_items_begin_anywhere_and_held_out_ones_do_not_overlap(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcdefghijklmnopqrst" * 5)
    train, test = open_text(path, Bytes(4)), open_text(path, Bytes(2), held_out=True)
    assert len(train) == 87 and text_of(train)[:3] == ["abcd", "bcde", "cdef"]
    assert text_of(test) == ["pq", "rs"], "the last, incomplete item is left out"
    assert train[0]["data"].dtype == torch.int64
    assert text_of(open_text(path, Bytes(4), stride=40)) == ["abcd", "abcd", "abcd"]
    with pytest.raises(IndexError):
        test[2]


def test_another_part_of_the_same_storage(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x" * 90 + "v" * 5 + "t" * 5)
    assert text_of(open_text(path, Bytes(5)).other("validation")) == ["vvvvv"]
    assert text_of(open_text(path, Bytes(5), held_out=True)) == ["ttttt"]


def test_describe(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("héllo wörld " * 100)
    found = open_text(path, Bytes(16), held_out=True).describe()
    assert found == ("text file, test part, characters 1,140 to 1,200 of 1,200: 60 characters, "
                     "70 tokens in 4 items of 16")  # fmt: skip
    plain = open_text(path)
    assert plain.describe() == "text file, train part, characters 0 to 1,080 of 1,200: 1,080 characters"
    with pytest.raises(InputError, match="tokenizer"):
        plain[0]


def test_a_folder_is_read_in_name_order_and_documents_are_parted(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("bb")
    (tmp_path / "deep" / "c.md").write_text("cc")
    (tmp_path / "a.txt").write_text("aa")
    (tmp_path / ".hidden.txt").write_text("hh")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\x00")
    data = open_text(tmp_path, Bytes(8), split="all")
    assert data.tokens.tolist() == [97, 97, 258, 98, 98, 258, 99, 99]
    assert "folder of 3 text files" in data.describe()
    with pytest.raises(InputError, match=r"no text files"):
        open_text(_empty(tmp_path))


def _empty(root):
    (root / "nothing").mkdir()
    return root / "nothing"


def test_a_folder_with_named_parts(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(name * 3)
    assert open_text(tmp_path).corpus.documents == ["train" * 3]
    assert open_text(tmp_path, held_out=True).corpus.documents == ["test" * 3]
    assert open_text(tmp_path, split="validation").corpus.documents == ["valid" * 3]


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": t}) for t in ("one", "two")) + "\n\n")
    assert open_text(path, split="all").corpus.documents == ["one", "two"]
    path.write_text('{"text": "one"}\n{"body": "two"}\n')
    with pytest.raises(InputError, match="line 2"):
        open_text(path)


def test_line_ends_and_the_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree")
    assert open_text(path, split="all").corpus.documents == ["one\ntwo\nthree"]


@pytest.mark.parametrize(("content", "word"), [
    (b"", "no text"), (b" \n\n ", "no text"), (b"abc\x00def", "binary: a zero byte at 3"),
    ("naïve".encode("latin-1"), "byte 0xef at 2 is no UTF-8"), (b"abc", "at least 8 tokens"),
])  # fmt: skip
def test_empty_binary_and_short_corpora_are_refused(tmp_path, content, word):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        open_text(path, Bytes(8), split="all")
    assert caught.value.field == "data" and "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_text(tmp_path / "none")
    with pytest.raises(InputError, match="stride"):
        open_text(None, stride=0)
    with pytest.raises(InputError, match="normalise"):
        open_text(None, normalise="lower")  # type: ignore[arg-type]


def test_the_benchmark_brings_text_to_its_symbols_itself(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("The End, 2. " * 50)
    data = open_text(path, Alphabet27(12), split="all")
    assert text_of(data)[0] == "the end two "
    with pytest.raises(InputError, match="'T' at 0"):
        open_text(path, Alphabet27(12), normalise="none")
    assert open_text(path, normalise="simplify").corpus.documents[0].startswith("the end two the")


def test_the_excerpt_is_there_without_any_corpus():
    data = open_text(None, Bytes(256), held_out=True)
    assert 50_000 < data.corpus.characters <= 60_000
    assert data.corpus.documents[0].startswith("Unto the angel of the church of Ephesus write;")
    assert data.corpus.documents[0].endswith("be with you all. Amen.\n")
    assert len(open_text(None, Bytes(32))) > 50_000


def test_a_saved_data_set_needs_its_library(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"gencore-text\[data\]"):
        open_text(tmp_path)
    (tmp_path / "x.arrow").write_bytes(b"")
    with pytest.raises(MissingDependency):
        open_text(tmp_path / "x.arrow")


class Rows(dict):
    """What the library gives of a table, as far as it is used."""

    @property
    def column_names(self):
        return list(self)


def saved(found):
    library = types.ModuleType("datasets")
    library.load_from_disk = lambda path: found  # type: ignore[attr-defined]
    return library


def test_splits_of_a_saved_data_set_are_parts(tmp_path, monkeypatch):
    (tmp_path / "dataset_dict.json").write_text("{}")
    table = {"train": Rows(text=["a", "b"]), "test": Rows(text=["c"])}
    monkeypatch.setitem(sys.modules, "datasets", saved(table))
    assert open_text(tmp_path, held_out=True).corpus.documents == ["c"]
    assert open_text(tmp_path, split="all").corpus.documents == ["a", "b", "c"]
    monkeypatch.setitem(sys.modules, "datasets", saved({"train": Rows(body=["a"])}))
    with pytest.raises(InputError, match="field 'text'"):
        open_text(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", saved({"test": Rows(text=["a"])}))
    with pytest.raises(InputError, match="split 'train'"):
        open_text(tmp_path)
