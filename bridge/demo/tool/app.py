"""The sample tool's pages: login, launch, the quiz, its result."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import jinja2
import requests
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from pylti1p3.exception import LtiException, OIDCException
from pylti1p3.grade import Grade

from bridge.demo.tool import quiz
from bridge.demo.tool.peer import LOGIN_SECONDS, Launch, Peer
from bridge.lti.errors import LtiError
from bridge.lti.tool import cookies
from bridge.lti.tool.peer import Exchange

_HERE = Path(__file__).parent
_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)


@dataclasses.dataclass(slots=True)
class Attempt:
    """What a person answered, and whether the platform has it."""

    answers: dict[str, int]
    at: dt.datetime
    problem: str = "not sent yet"


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """The tool's state: the registration, and the newest attempt of each launch."""

    peer: Peer
    attempts: dict[str, Attempt] = dataclasses.field(default_factory=dict)


def create_app(
    issuer: str, *, client_id: str = "demo-tool", deployment_id: str = "1", key_file: Path | None = None
) -> FastAPI:
    """The tool, toward the platform at ``issuer``, which knows it by ``client_id``.

    Its key is new at each start, or kept in ``key_file``. The platform is asked for nothing before a launch.
    """
    app = FastAPI(title="Sample LTI tool", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.tool = Tool(Peer(issuer, client_id=client_id, deployment_id=deployment_id, key_file=key_file))
    app.include_router(router)
    for refusal in (LtiError, LtiException, OIDCException, requests.RequestException):
        app.add_exception_handler(refusal, _refused)
    return app


def main(
    *,
    issuer: str = "http://127.0.0.1:8000",
    client_id: str = "demo-tool",
    deployment_id: str = "1",
    host: str = "127.0.0.1",
    port: int = 8012,
    key_file: Path | None = None,
) -> None:
    """Serve the sample LTI tool until it is stopped; it may start before its platform does."""
    app = create_app(issuer, client_id=client_id, deployment_id=deployment_id, key_file=key_file)
    uvicorn.run(app, host=host, port=port, log_level="warning")


router = APIRouter()


def _tool(request: Request) -> Tool:
    tool: Tool = request.app.state.tool
    return tool


TheTool = Annotated[Tool, Depends(_tool)]


async def _params(request: Request) -> dict[str, str]:
    form = await request.form()
    return dict(request.query_params) | {name: value for name, value in form.items() if isinstance(value, str)}


Params = Annotated[dict[str, str], Depends(_params)]


def _refused(_request: Request, error: Exception) -> Response:
    return _page("problem.html", 400, what=str(error))


def _page(name: str, status: int = 200, /, **values: Any) -> Response:
    return HTMLResponse(_templates.get_template(name).render(title=quiz.TITLE, **values), status, _HEADERS)


@router.get("/")
def index() -> Response:
    """What this is, for somebody who opens the address directly."""
    return _page("index.html")


@router.get("/jwks")
def jwks(tool: TheTool) -> dict[str, Any]:
    """The tool's public key."""
    return tool.peer.key_set()


@router.get("/style.css")
def style() -> Response:
    return FileResponse(_HERE / "style.css", media_type="text/css")


@router.api_route("/login", methods=["GET", "POST"])
def login(request: Request, tool: TheTool, params: Params) -> Response:
    """Third-party initiated login."""
    begun = tool.peer.login(Exchange(params, {}), str(request.url_for("launch")))
    response = RedirectResponse(begun.url, 302)
    over_https = request.url.scheme == "https"
    response.headers.append(
        "set-cookie", cookies.header(begun.state, path="/", seconds=LOGIN_SECONDS, crosses=over_https)
    )
    return response


@router.post("/launch")
def launch(request: Request, tool: TheTool, params: Params) -> Response:
    """The launch that the platform posts; then on by redirect, so that a reload does not post it again."""
    if "error" in params:
        what = params.get("error_description", params["error"])
        return _page("problem.html", 400, what=f"The platform did not start it: {what}")
    return RedirectResponse(f"/quiz/{tool.peer.launch(Exchange(params, request.cookies))}", 303)


@router.get("/quiz/{launch_id}")
def show(launch_id: str, tool: TheTool) -> Response:
    return _quiz(tool.peer.resume(launch_id), launch_id, {})


def _quiz(launched: Launch, launch_id: str, answers: dict[str, int], *, status: int = 200) -> Response:
    missing = [] if status == 200 else [question for question in quiz.QUESTIONS if question.id not in answers]
    return _page(
        "quiz.html",
        status,
        launch_id=launch_id,
        introduction=quiz.INTRODUCTION,
        questions=quiz.QUESTIONS,
        answers=answers,
        missing=missing,
        needed=_needed(launched),
        **_occasion(launched),
    )


@router.post("/quiz/{launch_id}")
def answer(launch_id: str, tool: TheTool, params: Params) -> Response:
    """Take the answers, send the score, show the result."""
    launched, answers = tool.peer.resume(launch_id), quiz.chosen(params)
    if len(answers) < len(quiz.QUESTIONS):
        return _quiz(launched, launch_id, answers, status=422)
    tool.attempts[launch_id] = Attempt(answers, dt.datetime.now(dt.UTC))
    return send(launch_id, tool)


@router.post("/quiz/{launch_id}/send")
def send(launch_id: str, tool: TheTool) -> Response:
    """Send the score of the newest attempt: again, where the platform could not be reached."""
    launched, attempt = tool.peer.resume(launch_id), tool.attempts[launch_id]
    grade = Grade().set_score_given(quiz.right(attempt.answers)).set_score_maximum(len(quiz.QUESTIONS))
    grade.set_activity_progress("Completed").set_grading_progress("FullyGraded")
    try:
        tool.peer.report(launched, grade.set_timestamp(attempt.at.isoformat()))
        attempt.problem = ""
    except (LtiException, requests.RequestException) as error:
        attempt.problem = str(error)
    return RedirectResponse(f"/quiz/{launch_id}/result", 303)


@router.get("/quiz/{launch_id}/result")
def result(launch_id: str, tool: TheTool) -> Response:
    launched, attempt = tool.peer.resume(launch_id), tool.attempts.get(launch_id)
    if attempt is None:
        return RedirectResponse(f"/quiz/{launch_id}", 303)
    points, needed = quiz.right(attempt.answers), _needed(launched)
    return _page(
        "result.html",
        launch_id=launch_id,
        questions=quiz.QUESTIONS,
        answers=attempt.answers,
        points=points,
        passed=None if needed is None else points >= needed,
        problem=attempt.problem,
        **_occasion(launched),
    )


def _needed(launched: Launch) -> int | None:
    """How many right answers pass: the platform says the share in the custom parameter ``pass_mark``."""
    mark = _claim(launched, "custom").get("pass_mark", "")
    try:
        return math.ceil(round(float(mark) * len(quiz.QUESTIONS), 6))
    except ValueError:
        return None


def _occasion(launched: Launch) -> dict[str, str]:
    """Why the person is here: the business system, the record, and the way back."""
    back = _claim(launched, "launch_presentation").get("return_url", "")
    return {
        "system": _claim(launched, "context").get("title", ""),
        "about": _claim(launched, "custom").get("about", ""),
        "back": back if urlsplit(back).scheme in ("http", "https") else "",
    }


def _claim(launched: Launch, name: str) -> dict[str, Any]:
    claim: dict[str, Any] = launched.claims.get(_CLAIM + name, {})
    return claim
