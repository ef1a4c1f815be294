"""The small language the statement tables are written in: fields, objects, lists, maps, and the one error.

Every test is called with a value of the right JSON type, answers truthy for "well formed", and answers falsy or raises
`InvalidStatement` otherwise. Paths are put together only while an error travels up, so valid statements cost none.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]
Test = Callable[[Any], object]

_LONGEST_STEP = 60


class InvalidStatement(ValueError):
    """A statement, batch or body breaks a rule.

    `path` says where, as in ``context.contextActivities.parent[0].id`` (empty: the whole value). `rule` says what is
    wanted and where that is written: sections of xAPI-Data and xAPI-Communication are those of 1.0.3, which 2.0 keeps
    in substance. Neither holds a value of the statement, only names of its keys, shortened.
    """

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(path, rule)
        self.path = path
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}" if self.path else self.rule

    def inside(self, step: str) -> "InvalidStatement":
        """The same fault seen from one level further out."""
        joint = "." if self.path and not self.path.startswith("[") else ""
        return InvalidStatement(f"{step}{joint}{self.path}", self.rule)


class Field(NamedTuple):
    """What one property must be: its JSON type, the test its value must pass, the rule to quote if it does not."""

    kind: type | tuple[type, ...]
    test: Test
    rule: str


def step(key: object) -> str:
    """One key as part of a path: bare where it is a plain name, else quoted, escaped and shortened."""
    text = str(key)
    shown = text if len(text) <= _LONGEST_STEP else f"{text[: _LONGEST_STEP - 3]}..."
    return shown if text.isascii() and shown.isidentifier() else f"[{json.dumps(shown)}]"


def cite(section: str) -> str:
    """A section as errors name it: a bare number is one of xAPI-Data."""
    return f"xAPI-Data {section}" if section[0].isdigit() else section


def anything(_: object) -> bool:
    """The test of a field whose JSON type is all there is to say."""
    return True


def literal(word: str, section: str) -> Field:
    """A string that can only be this word, in this spelling."""
    return Field(str, frozenset({word}).__contains__, f'must be "{word}" ({cite(section)})')


def obj(
    fields: Mapping[str, Field],
    *,
    section: str,
    required: Iterable[str] = (),
    also: Callable[[Json], object] = anything,
) -> Test:
    """A test for objects: known properties only, each as its field says, the required ones present.

    `also` sees the object last, when every property alone is right, and raises for rules between properties.
    """
    field_of = fields.get
    needed = frozenset(required)

    def test(value: Json) -> bool:
        for key, item in value.items():
            field = field_of(key)
            if field is None:
                raise InvalidStatement(step(key), f"is not a property that is allowed here ({cite(section)})")
            kind, passes, rule = field
            try:
                well_formed = isinstance(item, kind) and passes(item)
            except InvalidStatement as fault:
                raise fault.inside(key) from None
            if not well_formed:
                raise InvalidStatement(key, rule)
        if not needed <= value.keys():
            raise InvalidStatement(min(needed - value.keys()), f"is required ({cite(section)})")
        also(value)
        return True

    return test


def list_of(field: Field) -> Test:
    """A test for lists of which every item is as the field says."""
    kind, passes, rule = field

    def test(value: list[Any]) -> bool:
        for index, item in enumerate(value):
            try:
                well_formed = isinstance(item, kind) and passes(item)
            except InvalidStatement as fault:
                raise fault.inside(f"[{index}]") from None
            if not well_formed:
                raise InvalidStatement(f"[{index}]", rule)
        return True

    return test


def map_of(is_key: Test, key_rule: str, kind: type = object, value_rule: str = "") -> Test:
    """A test for objects used as maps: every key passes `is_key`, every value is of the type `kind`."""

    def test(value: Json) -> bool:
        for key, item in value.items():
            if not (isinstance(key, str) and is_key(key)):
                raise InvalidStatement(step(key), key_rule)
            if not isinstance(item, kind):
                raise InvalidStatement(step(key), value_rule)
        return True

    return test


def by_object_type(tests: Mapping[str, Test], *, default: str, section: str) -> Test:
    """A test for objects whose ``objectType``, or else the default, decides what they must look like."""
    rule = f"must be one of {', '.join(tests)} ({cite(section)})"

    def test(value: Json) -> object:
        name = value.get("objectType", default)
        chosen = tests.get(name) if isinstance(name, str) else None
        if chosen is None:
            raise InvalidStatement("objectType", rule)
        return chosen(value)

    return test
