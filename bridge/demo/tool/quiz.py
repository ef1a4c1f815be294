"""The quiz: five decisions of a salesperson under pressure, with what speaks for and against each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One answer and what to say about it."""

    text: str
    feedback: str
    right: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One situation; ``id`` names it in the form."""

    id: str
    title: str
    situation: str
    options: tuple[Option, ...]

    @property
    def best(self) -> Option:
        return next(option for option in self.options if option.right)


TITLE = "Negotiating under pressure"
INTRODUCTION = "Five situations from the last week before an enterprise proposal goes out. About five minutes."

QUESTIONS = (
    Question(
        "deadline",
        "The ultimatum",
        "Two days before the proposal is due, the buyer's procurement lead writes: “Fifteen percent off, or we sign"
        " with the other vendor.” What do you do first?",
        (
            Option(
                "Answer within the hour with ten percent, and ask for a signature this week in return.",
                "A fast concession says that the first price had air in it. The next request is already on its way, and"
                " you still don't know what the fifteen percent are for.",
            ),
            Option(
                "Ask what has changed, and what the reduction has to achieve, before you name any number.",
                "A demand is a position. Behind it is often a budget line, a comparison or a boss to convince, and each"
                " of these has a cheaper answer than fifteen percent.",
                right=True,
            ),
            Option(
                "Write back that the price stands, and that quality has its cost.",
                "It may well stand. But a flat no makes it a contest of wills, and you learn nothing about what they"
                " need.",
            ),
        ),
    ),
    Question(
        "trade",
        "What to give",
        "You have room to move, and the buyer knows it. Which concession do you put on the table first?",
        (
            Option(
                "The largest discount you may approve yourself, so that the matter is closed.",
                "It closes your room, not the matter: from here on every request goes to your manager, and the buyer"
                " has learned that asking works.",
            ),
            Option(
                "Twenty extra seats for the first year, as a sign of good will that asks for nothing.",
                "Good will that costs nothing to receive is soon forgotten. The seats are also revenue that you may"
                " never get back at renewal.",
            ),
            Option(
                "Something cheap for you and valuable to them, in exchange for something you need.",
                "An earlier start for a signature this month, a named engineer for a reference: a trade keeps the price"
                " believable and moves both sides.",
                right=True,
            ),
        ),
    ),
    Question(
        "rival",
        "The cheaper rival",
        "“Your competitor does the same for thirty percent less.” The offer is on the table, face down. You say:",
        (
            Option(
                "“May we go through both offers line by line, so that we compare the same thing?”",
                "Thirty percent is nearly always a difference in scope: migration, support hours, training, who carries"
                " the risk. Comparing together makes that visible without a bad word about anybody.",
                right=True,
            ),
            Option(
                "“They had two serious outages last year, and three of their customers came to us.”",
                "Even if it is true, the buyer now has to defend their shortlist against you, and wonders what you say"
                " about others.",
            ),
            Option(
                "“Then we match it, provided that we can close this week.”",
                "You have just confirmed that both are the same, and that a third of your price was negotiable all"
                " along.",
            ),
        ),
    ),
    Question(
        "pause",
        "Today or never",
        "The call gets loud. “Take it or leave it, I need your yes now.” What helps most in the next minute?",
        (
            Option(
                "Explaining once more, calmly and point by point, why the offer is fair as it stands.",
                "Under pressure more arguments sound like less conviction, and every extra sentence can be used.",
            ),
            Option(
                "A named pause: “I want to get this right. Give me ten minutes, then you have my answer.”",
                "A short pause with an end takes the heat out, shows that you are serious, and gives you time to look"
                " at your limits instead of at the clock.",
                right=True,
            ),
            Option(
                "Saying yes in principle now, and repairing the details later in the contract.",
                "The contract talks then begin with your yes and their reading of it. What was not said today will be"
                " paid for later.",
            ),
        ),
    ),
    Question(
        "limits",
        "Before you send it",
        "The proposal is ready. Which one thing should be in writing, for yourself, before it goes out?",
        (
            Option(
                "The complete list of features, the strongest ones first, with a proof for each of them.",
                "Useful for the proposal, but it does not help in the moment when somebody asks for one more"
                " exception.",
            ),
            Option(
                "The lowest price that the system lets you enter, and the discount that this makes.",
                "That is an authorisation, not a limit. A deal can be permitted and still not be worth signing.",
            ),
            Option(
                "Your best alternative, the point at which you walk away, and who has to agree to an exception.",
                "Limits that were set in calm hold under pressure. They also let you say an honest “I can't” with the"
                " reason and the name of the person who could.",
                right=True,
            ),
        ),
    ),
)


def chosen(form: Mapping[str, str]) -> dict[str, int]:
    """The answers in a form, by question; what is missing or not an option is left out."""
    found = {}
    for question in QUESTIONS:
        value = form.get(question.id, "")
        if value.isdecimal() and int(value) < len(question.options):
            found[question.id] = int(value)
    return found


def right(answers: Mapping[str, int]) -> int:
    """How many answers are right."""
    return sum(question.options[answers[question.id]].right for question in QUESTIONS if question.id in answers)
