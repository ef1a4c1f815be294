"""What can be said about the text of a condition: its limits, the fields it names, what is wrong with it and where."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Final

MAX_CHARACTERS: Final = 2_000
# Loops over literals such as [x, x, x], one inside the other, grow a value by a power of their number; so does x + x.
MAX_LOOPS: Final = 4
MAX_ADDITIONS: Final = 8

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "event": ("id", "type", "source", "subject", "time", "data", "people"),
    "person": ("key", "name", "email", "accounts", "attributes"),
}
_NAMES: Final = (*(f"{name}.{field}" for name, fields in FIELDS.items() for field in fields), "now")
_FUNCTIONS: Final = (
    *("has", "size", "contains", "startsWith", "endsWith", "matches", "all", "exists", "exists_one", "filter", "map"),
    *("int", "double", "string", "timestamp", "duration", "getFullYear", "getMonth", "getDate", "getDayOfWeek"),
    "getHours",
)
_INSTEAD: Final = {
    "and": "write && for and",
    "or": "write || for or",
    "=": "write == to compare",
    "“": 'use straight quotes, as in "won"',
    "”": 'use straight quotes, as in "won"',
    ",": "numbers take no thousands separator",
    "'": "this quote is never closed",
    '"': "this quote is never closed",
}
_KINDS: Final = {
    **dict.fromkeys(("int", "int64", "uint", "uint64"), "a whole number"),
    **dict.fromkeys(("null", "null_type"), "null"),
    **dict.fromkeys(("timestamp", "google.protobuf.timestamp"), "a time"),
    **dict.fromkeys(("duration", "google.protobuf.duration"), "a length of time"),
    "bool": "true or false",
    "bytes": "bytes",
    "double": "a decimal number",
    "dyn": "anything",
    "list": "a list",
    "map": "a map",
    "string": "text",
    "type": "a type",
}
_RAW: Final = r"""(?:[bB]?[rR]|[rR][bB])(?:'{3}.*?'{3}|"{3}.*?"{3}|'[^'\n]*'|"[^"\n]*")"""
_QUOTED: Final = r"""'{3}(?:\\.|[^\\])*?'{3}|"{3}(?:\\.|[^\\])*?"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\""""
_LITERAL: Final = rf"//[^\n]*|{_RAW}|{_QUOTED}"
_PATH: Final = r"""(?<![\w.])(?:event|person)(?:\s*\.\s*\w++(?!\s*\()|\[\s*(?:\d+|'[^'\\\n]*'|"[^"\\\n]*")\s*\])+"""
_LITERALS: Final = re.compile(_LITERAL, re.DOTALL)
_PATHS: Final = re.compile(f"{_LITERAL}|(?P<path>{_PATH})", re.DOTALL)
_STEPS: Final = re.compile(r"""\[\s*(?P<index>\d+)|\[\s*(?P<quote>['"])(?P<key>.*?)(?P=quote)|(?P<name>\w+)""")
_LOOPS: Final = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|filter|map)\s*\(")
_ERROR: Final = re.compile(r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?P<what>[^\n]*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '(?P<name>[^']*)'")
_OVERLOAD: Final = re.compile(r"no matching overload for '(?P<operator>[^']+)' applied to '\((?P<kinds>.*)\)'")
_UNEXPECTED: Final = re.compile(r"(?:input|error at:) '(?P<word>.*?)'?(?: expecting .*)?$")

Path = tuple[str | int, ...]


class ConditionError(ValueError):
    """A condition that cannot be saved: what is wrong, where, and what is allowed.

    `line` and `column` count characters from 1; both are None where the text as a whole is meant.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def check_limits(text: str) -> None:
    """Raise ConditionError where the text is empty, too long, not text, or could build too large a value."""
    if len(text) > MAX_CHARACTERS:
        raise ConditionError(f"This is {len(text):,} characters long; at most {MAX_CHARACTERS:,} are allowed.")
    if not text.strip():
        raise ConditionError("There is nothing here. Write true to match every event.")
    if (strange := re.search("[\0\ud800-\udfff]", text)) is not None:
        raise _at("there is a character here that is not text", text, strange.start())
    code = _LITERALS.sub(lambda literal: " " if literal[0].startswith("//") else "''", text)
    if (loops := len(_LOOPS.findall(code))) > MAX_LOOPS:
        raise ConditionError(f"This has {loops} loops (all, exists, filter, map); at most {MAX_LOOPS} are allowed.")
    if (additions := code.count("+")) > MAX_ADDITIONS:
        raise ConditionError(f"This has {additions} additions; at most {MAX_ADDITIONS} are allowed.")


def known_paths(text: str) -> tuple[Path, ...]:
    """The paths into event and person that the text spells out, such as ("event", "data", "amount").

    Raises ConditionError for a field that event and person do not have: the engine sees two open maps, and would notice
    only at run time.
    """
    return tuple(_paths(text))


def _paths(text: str) -> Iterator[Path]:
    for found in _PATHS.finditer(text):
        if not found["path"]:
            continue
        steps = list(_STEPS.finditer(found["path"]))
        path: Path = tuple(int(step["index"]) if step["index"] else step["name"] or step["key"] for step in steps)
        if path[1] not in FIELDS[str(path[0])]:
            raise _at(_unknown(f"{path[0]}.{path[1]}", _NAMES), text, found.start() + steps[1].start())
        yield path


def refusal(said: str, text: str) -> ConditionError:
    """The error for what the engine said about the text, with its first complaint in words for the admin."""
    if "recursion" in said:
        return ConditionError("This is nested too deeply: at most 32 levels are allowed. Write it in a flatter way.")
    found = _ERROR.search(said)
    if not found:
        return ConditionError(f"The CEL engine refused this: {said}")
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: int(found["line"]) - 1]) + int(found["column"]) - 1
    return _at(_translated(found["what"], text[start:]), text, start)


def kind(name: str) -> str:
    """An engine's type name in words for the admin: "a whole number" for int64, "a list" for LIST<DYN>."""
    return _KINDS.get(re.split(r"[<(]", name, maxsplit=1)[0].lower(), name)


def no_overload(operator: str, kinds: list[str]) -> str:
    """That an operator or function does not work on these kinds, with what to write instead where that is known."""
    symbol = operator.replace("<jump_condition>", "? :").replace("_", "").lstrip("@")
    hint = ""
    if {"a whole number", "a decimal number"} <= set(kinds):
        hint = "; write 2.0 for 2, or wrap the whole number in double(...)"
    elif {"text", "a time"} <= set(kinds):
        hint = "; read a time out of text with timestamp(...)"
    return f"{symbol} does not work on {' and '.join(kinds) or 'these values'}{hint}"


def _translated(what: str, rest: str) -> str:
    """`rest` is the text from the place where the engine points."""
    if undeclared := _UNDECLARED.search(what):
        return _unknown(undeclared["name"], _FUNCTIONS if rest.startswith("(") else _NAMES)
    if overload := _OVERLOAD.search(what):
        kinds = overload["kinds"]
        while (flatter := re.sub(r"\([^()]*\)", "", kinds)) != kinds:
            kinds = flatter
        return no_overload(overload["operator"], [kind(name) for name in kinds.split(", ")])
    if "range of a comprehension" in what:
        # The engine also refuses a["b c"] here, whose type it does not know, although dyn(a["b c"]) is the same.
        return 'a loop goes through a list or a map; write dyn(event.data.order["line items"]).exists(...) for a field'
    if not (unexpected := _UNEXPECTED.search(what)):
        return what
    if unexpected["word"] == "<EOF>":
        return "something is missing at the end"
    word = unexpected["word"].strip()
    hint = _INSTEAD.get(word.lower()) or _INSTEAD.get(word[:1])
    return f"{word} is not expected here{f': {hint}' if hint else ''}"


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"{name} is not known{f', did you mean {close[0]}?' if close else '.'} Allowed: {', '.join(known)}"


def _at(what: str, text: str, place: int) -> ConditionError:
    before, after = text[:place].rpartition("\n")[2], text[place:].partition("\n")[0]
    line, column = text.count("\n", 0, place) + 1, len(before) + 1
    caret = re.sub(r"[^\t]", " ", before) + "^"
    return ConditionError(f"Line {line}, column {column}: {what}\n{before}{after}\n{caret}", line=line, column=column)
