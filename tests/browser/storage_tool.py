"""A small LTI tool that needs no cookies: its state is kept by the platform's page (LTI postMessage Storage).

It checks what it is sent by itself, with nothing of the bridge's. Its pages say what they are doing.
"""

from __future__ import annotations

import dataclasses
import html
import json
import secrets
from typing import Any
from urllib.parse import urlencode

import jwt
import requests
from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
PROBE = "third_party"
_STYLE = "body { font: 16px system-ui; margin: 40px }"

#: Asks the page around, whose origin is that of the authorisation address, and waits for its answer.
_ASK = """
const ask = (target, origin, subject, more) => new Promise((resolve, reject) => {
  const message_id = crypto.randomUUID();
  const hear = ({ data, origin: from }) => {
    if (data?.message_id !== message_id || from !== origin) return;
    removeEventListener("message", hear);
    data.error ? reject(new Error(data.error.code)) : resolve(data);
  };
  addEventListener("message", hear);
  parent.postMessage({ subject, message_id, ...more }, origin);
});
"""
_LOGIN = """
const { key, value, origin, target, next } = %s;
if (target !== "_parent") document.body.textContent = "No storage is offered.";
else ask(target, origin, "lti.put_data", { key, value }).then(() => location.replace(next));
"""
_LAUNCH = """
const { key, origin, target, state } = %s;
const say = (text) => (document.querySelector("h1").textContent = text);
ask(target, origin, "lti.get_data", { key })
  .then(({ value }) => fetch("/proof", { method: "POST", body: new URLSearchParams({ state, value: value ?? "" }) }))
  .then((answer) => answer.json()).then(({ text }) => say(text), (error) => say(`Refused: ${error.message}`));
"""


@dataclasses.dataclass
class StorageTool:
    """The tool, and what it has seen. ``keys`` is the platform's key set as this process reaches it."""

    platform: str
    keys: str
    client_id: str = "storage-tool"
    states: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    logins: list[dict[str, str]] = dataclasses.field(default_factory=list)
    launches: list[dict[str, str]] = dataclasses.field(default_factory=list)
    claims: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    cookies: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def see(self, request: Request) -> None:
        self.cookies.setdefault(request.url.path, []).extend(request.cookies)

    def login(self, params: dict[str, str], redirect_uri: str) -> dict[str, str]:
        self.logins.append(params)
        state, nonce, value = secrets.token_urlsafe(16), secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self.states[state] = (nonce, value)
        asked = {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "nonce": nonce,
            **{name: params[name] for name in ("login_hint", "lti_message_hint")},
        }
        next_ = f"{self.platform}/lti/authorize?{urlencode(asked)}"
        target = params.get("lti_storage_target", "")
        return {"key": f"state_{state}", "value": value, "origin": self.platform, "target": target, "next": next_}

    def check(self, id_token: str, state: str) -> dict[str, Any]:
        """Raises where the token is not the platform's answer to that state."""
        key_set = jwt.PyJWKSet.from_dict(requests.get(self.keys, timeout=5).json())
        key = key_set[jwt.get_unverified_header(id_token)["kid"]]
        required = {"require": ["exp", "iat", "nonce", "sub"]}
        claims: dict[str, Any] = jwt.decode(
            id_token, key, algorithms=["RS256"], audience=self.client_id, issuer=self.platform, options=required
        )
        assert claims["nonce"] == self.states[state][0]
        self.claims.append(claims)
        return claims


def _page(heading: str, script: str = "", data: dict[str, str] | None = None) -> HTMLResponse:
    told = json.dumps(data).replace("<", "\\u003c")
    run = f"<script>{_ASK}{script % told}</script>" if script else ""
    start = f"<!doctype html><html lang=en><title>Tool</title><style>{_STYLE}</style><h1>{html.escape(heading)}</h1>"
    page = HTMLResponse(start + run)
    # Comes back only where the browser lets sites keep cookies in frames of other sites.
    page.headers.append("set-cookie", f"{PROBE}=1; Path=/; Secure; SameSite=None")
    return page


def create_tool(tool: StorageTool) -> FastAPI:
    app = FastAPI()

    @app.post("/login")
    async def login(request: Request) -> HTMLResponse:
        tool.see(request)
        form = {name: str(value) for name, value in (await request.form()).items()}
        return _page("Starting", _LOGIN, tool.login(form, str(request.url_for("launch"))))

    @app.post("/launch")
    async def launch(request: Request) -> HTMLResponse:
        tool.see(request)
        form = {name: str(value) for name, value in (await request.form()).items()}
        tool.launches.append(form)
        if "error" in form:
            return HTMLResponse(f"<h1>Not started: {html.escape(form['error_description'])}</h1>", 400)
        tool.check(form["id_token"], form["state"])
        state, target = form["state"], form.get("lti_storage_target", "")
        told = {"key": f"state_{state}", "origin": tool.platform, "target": target, "state": state}
        return _page("Checking", _LAUNCH, told)

    @app.post("/proof")
    def proof(state: str = Form(), value: str = Form()) -> JSONResponse:
        kept = tool.states.pop(state, ("", ""))[1]
        same = value != "" and secrets.compare_digest(kept, value)
        return JSONResponse({"text": "Welcome to the practice" if same else "Refused: another browser"})

    @app.get("/probe")
    def probe(request: Request) -> HTMLResponse:
        tool.see(request)
        return _page(f"Cookies: {', '.join(request.cookies)}")

    return app
