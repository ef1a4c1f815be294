"""A small LMS in a real browser: a course page with the tool in a frame, and the platform's storage in that page."""

from __future__ import annotations

import html
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from tests.lti.launching_lms import Lms, Login

#: Keeps what the frame asks it to keep, for the frame's own origin.
_STORAGE = """
const kept = {}, frame = document.querySelector("iframe"), asked = [];
addEventListener("message", ({ source, origin, data }) => {
  if (source !== frame.contentWindow || origin !== "%s") return;
  asked.push(data.subject);
  if (data.subject === "lti.put_data") kept[data.key] = data.value;
  const { subject, message_id, key } = data;
  source.postMessage({ subject: `${subject}.response`, message_id, key, value: kept[key] ?? null }, origin);
});
document.forms[0].submit();
"""


def _form(action: str, target: str, fields: dict[str, str]) -> str:
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in fields.items()
    )
    return f'<form method="post" action="{html.escape(action)}" target="{target}">{inputs}</form>'


def create_lms(lms: Lms, **claims: Any) -> FastAPI:
    """The LMS's pages; ``claims`` change those of its launches."""
    app, tool = FastAPI(), lms.runtime.settings.issuer
    style = "<style>body { font: 16px system-ui; margin: 24px } iframe { width: 100%; height: 600px }</style>"
    start = f"<!doctype html><html lang=en><title>LMS</title>{style}<h1>Selling, week 3</h1>"

    @app.get("/course")
    def course(storage: str = "_parent") -> HTMLResponse:
        fields = lms.initiation(lti_storage_target=storage or None)
        form = _form(f"{tool}/lti/tool/login", "tool", fields)
        return HTMLResponse(f"{start}<iframe name=tool></iframe>{form}<script>{_STORAGE % tool}</script>")

    @app.get("/link")
    def link() -> HTMLResponse:
        """The same in the LMS's own window."""
        form = _form(f"{tool}/lti/tool/login", "_self", lms.initiation())
        return HTMLResponse(f"{start}{form}<script>document.forms[0].submit()</script>")

    @app.get("/auth")
    def auth(request: Request) -> HTMLResponse:
        asked = dict(request.query_params)
        fields = {"id_token": lms.id_token(Login("", asked), **claims), "state": asked["state"]}
        return HTMLResponse(
            _form(asked["redirect_uri"], "_self", fields) + "<script>document.forms[0].submit()</script>"
        )

    return app
