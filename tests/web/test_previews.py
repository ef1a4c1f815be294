"""Launch links in chats and mails: the programs that preview them learn nothing of the person, and leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.flows.runtime import Runtime
from bridge.store import tables

BOTS = {
    "Slack": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Teams": "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "WhatsApp": "WhatsApp/2.23.20.0",
    "Twitter": "Twitterbot/1.0",
    "Facebook": "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "LinkedIn": "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
}


def everything(runtime: Runtime) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with runtime.db.read() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table))]
            for table in tables.Base.metadata.sorted_tables
        }


@pytest.mark.parametrize("bot", BOTS)
def test_a_preview_learns_nothing_and_changes_nothing(
    bot: str, organised: Runtime, client: TestClient, ticket: Callable[..., str]
) -> None:
    link = f"/go/{ticket()}"
    before = everything(organised)
    agent = {"User-Agent": BOTS[bot], "Accept": "*/*", "Range": "bytes=0-32768"}
    for path in (link, f"{link}?utm_source=chat"):
        seen = client.get(path, headers=agent)
        assert seen.status_code == 200
        assert client.head(path, headers=agent).status_code == 200
    assert everything(organised) == before
    assert "set-cookie" not in seen.headers and seen.headers["cache-control"] == "no-store"
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
        person, asset, event = prompt.person, prompt.asset, prompt.event
        assert person is not None and asset is not None
        private = (person.name, person.email, person.key, prompt.say, event.subject, str(prompt.id))
        title = asset.title
    assert title in seen.text
    assert [text for text in private if text in seen.text] == []
