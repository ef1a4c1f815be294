"""What Desk is made of: its people, its three kinds of records, and the states that these go through."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody who works with Desk."""

    key: str
    name: str
    title: str
    home: str

    @property
    def email(self) -> str:
        return f"{self.key}@example.com"

    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.name.split())

    def as_person(self) -> dict[str, str]:
        return {"id": self.key, "name": self.name, "email": self.email}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """An input of a form; ``kind`` is text, money, date, long or choice (of values, shown with a capital letter)."""

    name: str
    label: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    required: bool = True
    hint: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Where a record stands. ``event`` is what others are told when it gets there, ``action`` the button's words."""

    key: str
    label: str
    event: str
    action: str = ""
    tone: str = ""
    asks: tuple[Field, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Area:
    """One kind of record. ``columns`` are the fields of its table.

    ``state_name`` and ``number_name`` are what its state and its number are called in events.
    """

    key: str
    one: str
    title: str
    prefix: str
    lead: str
    fields: tuple[Field, ...]
    columns: tuple[str, ...]
    states: tuple[State, ...]
    state_name: str = "status"
    number_name: str = "number"

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def state(self, key: str) -> State:
        return next(state for state in self.states if state.key == key)


PEOPLE = {
    person.key: person
    for person in (
        Colleague("sam", "Sam Whitfield", "Account executive", "opportunities"),
        Colleague("priya", "Priya Nair", "Project manager", "projects"),
        Colleague("ravi", "Ravi Desai", "Service representative", "tickets"),
    )
}

_OPPORTUNITIES = Area(
    key="opportunities",
    one="opportunity",
    title="Opportunities",
    prefix="OPP",
    lead="What we may sell, to whom, and when.",
    fields=(
        Field("name", "Opportunity", hint="What it is about, in a few words"),
        Field("customer", "Customer"),
        Field("contact", "Contact"),
        Field("amount", "Amount (USD)", "money"),
        Field("close_date", "Expected close", "date"),
        Field("notes", "Notes", "long", required=False),
    ),
    columns=("customer", "amount", "close_date"),
    states=(
        State("discovery", "Discovery", "stage_changed"),
        State("qualified", "Qualified", "stage_changed"),
        State("proposal", "Proposal", "stage_changed"),
        State("negotiation", "Negotiation", "stage_changed"),
        State("won", "Won", "stage_changed", tone="good"),
        State("lost", "Lost", "stage_changed", tone="muted"),
    ),
    state_name="stage",
)
_PROJECTS = Area(
    key="projects",
    one="project",
    title="Projects",
    prefix="PRJ",
    lead="What we deliver, and who answers for it.",
    fields=(
        Field("project", "Project"),
        Field("customer", "Customer"),
        Field("sponsor", "Sponsor", required=False, hint="Who pays for it, and decides"),
        Field("budget", "Budget (USD)", "money"),
        Field("start_date", "Planned start", "date"),
        Field("goal", "Goal", "long"),
    ),
    columns=("customer", "sponsor", "start_date"),
    states=(
        State("planned", "Planned", "planned", tone="muted"),
        State("started", "In progress", "started", "Start project"),
        State("closed", "Closed", "closed", "Close project", tone="good"),
    ),
)
_TICKETS = Area(
    key="tickets",
    one="ticket",
    title="Tickets",
    prefix="TIC",
    lead="What customers ask, and what they are not happy with.",
    fields=(
        Field("subject", "Subject"),
        Field("kind", "Kind", "choice", ("complaint", "question", "request")),
        Field("customer", "Customer"),
        Field("contact", "Contact", hint="Who wrote or called"),
        Field("contract_tier", "Contract", "choice", ("platinum", "gold", "standard")),
        Field("product", "Product", "choice", ("Atlas Planner", "Atlas Connect", "Atlas Insight")),
        Field("severity", "Severity", "choice", ("critical", "high", "normal", "low")),
        Field("description", "What happened", "long"),
    ),
    columns=("customer", "kind", "severity"),
    states=(
        State("open", "Open", "reopened", tone="warn"),
        State(
            "escalated",
            "Escalated",
            "escalated",
            "Escalate",
            tone="bad",
            asks=(
                Field(
                    "reason",
                    "Why does it need somebody else?",
                    "choice",
                    (
                        "The customer asks for a manager",
                        "The promised time has passed",
                        "The customer may end the contract",
                    ),
                ),
            ),
        ),
        State("solved", "Solved", "solved", "Mark as solved", tone="good"),
    ),
    number_name="ticket",
)
AREAS = {area.key: area for area in (_OPPORTUNITIES, _PROJECTS, _TICKETS)}
