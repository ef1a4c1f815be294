"""YAML that remembers its lines, and does nothing that nobody can have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.documents import DocumentError, load


def read(tmp_path: Path, text: str) -> object:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    return load(file, shown_as="some.yaml").data


def test_words_stay_words(tmp_path: Path) -> None:
    text = "on: yes\noff: no\ndate: 2026-01-01\nflag: true\nnumber: 7\n"
    assert read(tmp_path, text) == {"on": "yes", "off": "no", "date": "2026-01-01", "flag": True, "number": 7}


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing yet\n") == {}


def test_each_part_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("rules:\n  - name: a\n  - name: b\n    say: |\n      two\n      lines\n")
    document = load(file, shown_as="some.yaml")
    assert document.at(("rules", 1, "say"), "is wrong") == "some.yaml:4: rules[1].say: is wrong"
    assert document.at(("rules", 1, "limits", "cool_down"), "x") == "some.yaml:3: rules[1].limits.cool_down: x"
    assert document.at((), "is no map") == "some.yaml:1: is no map"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\n", r"some\.yaml:2: expected ',' or '\]'"),
        ("a: 1\nb: 1: 2\n", r"some\.yaml:2: mapping values are not allowed here"),
        ("a: 1\nb: 2\na: 3\n", r"some\.yaml:3: 'a' is there twice"),
        ("x:\n  - {a: 1, a: 2}\n", r"some\.yaml:2: 'a' is there twice"),
        ("{[a]: b}\n", r"some\.yaml:1: a key must be a word"),
        ("a: *nobody\n", r"some\.yaml:1: found undefined alias 'nobody'"),
        ("a: !!python/object:os.system x\n", r"some\.yaml:1: .*python/object:os\.system' is not allowed"),
        ("a: !!binary aGk=\n", r"some\.yaml:1: .*binary' is not allowed"),
        ("&a [*a]\n", "nested too deeply or too large"),
        ("[" * 1000, "nested too deeply or too large"),
        ("a: " + "9" * 5000, "can't be read"),
        ("a: \x07\n", "can't be read"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        read(tmp_path, text)


def test_aliases_that_explode_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(DocumentError, match="too large"):
        read(tmp_path, "\n".join(lines))


def test_an_alias_is_read_as_what_it_names(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"gone\.yaml: can't be read: .*No such file"):
        load(tmp_path / "gone.yaml", shown_as="gone.yaml")


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DocumentError, match=r"b\.yaml: can't be read"):
        load(tmp_path / "b.yaml", shown_as="b.yaml")
