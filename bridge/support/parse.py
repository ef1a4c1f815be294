"""Reading a file: its front matter, field by field, then its body."""

import difflib
import re
from typing import Final

import yaml

from bridge.domain.assets import AssetKind
from bridge.support import document, template
from bridge.support.model import Flaw, Step, Support, SupportError

MAX_CHARACTERS: Final = 50_000
MAX_FIELD_CHARACTERS: Final = 300
KINDS: Final = (AssetKind.GUIDE, AssetKind.CHECKLIST, AssetKind.SOP, AssetKind.DECISION_TREE)
FIELDS: Final = ("title", "kind", "duration", "language", "summary", "tags", "not-given")
_FRONT: Final = re.compile(r"---[ \t]*\n(?P<fields>.*?)^---[ \t]*(?:\n|\Z)(?P<body>.*)", re.DOTALL | re.MULTILINE)
_DURATION: Final = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,6})S)?)?")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
# The marks of facts, and what cannot be stored or encoded as text.
_STRANGE: Final = re.compile("[\0\ud800-\udfff\ue000-\ue002]")


def parse(text: str, *, name: str) -> Support:
    """Check one file and read it. `name` is what errors call it, and what the ids in its HTML begin with.

    Raises SupportError for the first thing that is wrong, with its line.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(text) > MAX_CHARACTERS:
        raise SupportError(f"this is longer than {MAX_CHARACTERS:,} characters; divide it", name=name, line=1)
    if (strange := _STRANGE.search(text)) is not None:
        line = text.count("\n", 0, strange.start()) + 1
        raise SupportError(f"the character U+{ord(strange[0]):04X} is not allowed", name=name, line=line)
    if (front := _FRONT.match(text)) is None:
        raise SupportError("the file must begin with front matter between two lines of ---", name=name, line=1)
    head = _FrontMatter(front["fields"], name)
    kind = head.kind()
    try:
        skeleton, steps = _read_body(front["body"], kind)
    except Flaw as flaw:
        before = text.count("\n", 0, front.start("body"))
        raise SupportError(str(flaw), name=name, line=before + flaw.line) from None
    return Support(
        name=name,
        kind=kind,
        title=head.title(),
        body=front["body"],
        summary=head.text("summary"),
        duration_seconds=head.duration(),
        language=head.language(),
        tags=head.tags(),
        not_given=head.text("not-given") or Support.not_given,
        steps=steps,
        facts=tuple(skeleton.facts),
    )


def _read_body(body: str, kind: AssetKind) -> tuple[template.Skeleton, tuple[Step, ...]]:
    if not body.strip():
        raise Flaw("there is no text after the front matter", 1)
    skeleton = template.check(body)
    try:
        found = document.check(document.read(skeleton.markdown), kind)
    except Flaw as flaw:
        raise Flaw(str(flaw), skeleton.lines[min(flaw.line, len(skeleton.lines)) - 1]) from None
    return skeleton, tuple(place.step for place in found)


class _FrontMatter:
    """The fields with their lines. Scalars are taken as they are written: a language `no` is not false."""

    def __init__(self, source: str, name: str) -> None:
        self._name = name
        self._nodes: dict[str, yaml.Node] = {}
        try:
            root = yaml.compose(source, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._error(f"this is not YAML: {error.problem}", (mark.line if mark else 0) + 2) from None
        except (yaml.YAMLError, RecursionError):
            raise self._error("this is not YAML", 2) from None
        if not isinstance(root, yaml.MappingNode):
            raise self._error(f"here the fields are expected, each as 'name: value': {', '.join(FIELDS)}", 2)
        for key, node in root.value:
            self._add(str(key.value), node, key.start_mark.line + 2)

    def _add(self, field: str, node: yaml.Node, line: int) -> None:
        if field not in FIELDS:
            close = difflib.get_close_matches(field, FIELDS, n=1)
            hint = f", did you mean '{close[0]}'?" if close else "."
            raise self._error(f"there is no field '{field}'{hint} Allowed: {', '.join(FIELDS)}", line)
        if field in self._nodes:
            raise self._error(f"'{field}' is there twice", line)
        self._nodes[field] = node

    def _error(self, message: str, line: int) -> SupportError:
        return SupportError(message, name=self._name, line=line)

    def _wrong(self, field: str, message: str) -> SupportError:
        return self._error(message, self._nodes[field].start_mark.line + 2)

    def text(self, field: str) -> str:
        """One line of plain text, "" where the field is not there."""
        node = self._nodes.get(field)
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(field, f"'{field}' must be text; put it in quotes if it contains a colon")
        text = " ".join(str(node.value).split())
        if len(text) > MAX_FIELD_CHARACTERS:
            raise self._wrong(field, f"'{field}' is longer than {MAX_FIELD_CHARACTERS} characters")
        if "{{" in text or "{%" in text:
            raise self._wrong(field, f"'{field}' holds no facts; they go into the text below")
        return text

    def title(self) -> str:
        if not (title := self.text("title")):
            raise self._error("there is no 'title'", 1)
        return title

    def kind(self) -> AssetKind:
        if not (kind := self.text("kind")):
            raise self._error(f"there is no 'kind'; allowed: {', '.join(KINDS)}", 1)
        if kind not in KINDS:
            raise self._wrong("kind", f"there is no kind '{kind}'; allowed: {', '.join(KINDS)}")
        return AssetKind(kind)

    def duration(self) -> int | None:
        """Seconds."""
        if not (text := self.text("duration")):
            return None
        parts = _DURATION.fullmatch(text)
        days, hours, minutes, seconds = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0, 0)
        if not (total := ((days * 24 + hours) * 60 + minutes) * 60 + seconds):
            raise self._wrong("duration", f"'{text}' is not an ISO 8601 duration; write PT90S, PT5M or PT1H30M")
        return total

    def language(self) -> str:
        if (text := self.text("language")) and not _LANGUAGE.fullmatch(text):
            raise self._wrong("language", f"'{text}' is not a language tag; write en, de or pt-BR")
        return text

    def tags(self) -> tuple[str, ...]:
        node = self._nodes.get("tags")
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or not all(isinstance(tag, yaml.ScalarNode) for tag in node.value):
            raise self._wrong("tags", "'tags' must be a list: [pricing, enterprise]")
        return tuple(str(tag.value).strip() for tag in node.value if str(tag.value).strip())
