"""Performance support: guides, checklists, procedures and decision trees, filled with the record a person works on.

A piece is a Markdown file with YAML front matter::

    ---
    title: Four things to check before you send an enterprise price
    kind: guide            # guide, checklist, sop or decision-tree
    duration: PT90S        # optional, ISO 8601: how long it takes to read or to do
    language: en           # optional, BCP 47
    summary: ...           # optional, one sentence
    tags: [pricing]        # optional
    not-given: unknown     # optional, shown for a fact that the record lacks
    ---
    Markdown (CommonMark and tables) with facts: {{ event.data.customer }}

- Facts are paths into `event`, `person` and `prompt`, with the filters `default("...")`, `number` and `date`.
- `{% if event.data.tier == "gold" %} ... {% elif ... %} ... {% else %} ... {% endif %}` is the only statement; its test
  knows `==`, `!=`, `in ["a", "b"]`, `and`, `or`, `not`.
- In a checklist every `- [ ] item` is a step; in a procedure every item of a numbered list that is not inside another
  list. A step keeps its id when it moves, and gets a new one when its words change.
- In a decision tree every `## Heading` begins a node, and `[answer](#heading)` leads to one; the first is the start.

`parse` finds what is wrong before anybody sees it; `fill` and `render` then work with whatever an event holds.
"""

from bridge.support.model import Filled, Step, Support, SupportError
from bridge.support.parse import parse
from bridge.support.render import render
from bridge.support.template import fill

__all__ = ["Filled", "Step", "Support", "SupportError", "fill", "parse", "render"]
