"""A person's browser without its screen: it follows redirects and pages that send their form by themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from html.parser import HTMLParser
from http.cookiejar import Cookie, DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.cookies import get_cookie_header

PASSWORD = "a password for the live tests"
_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


@dataclasses.dataclass
class Form:
    """A form with what it would send: its fields as they stand, and by their words what buttons and boxes add."""

    method: str
    action: str
    sends_itself: bool
    fields: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    buttons: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    boxes: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)


class _Cookies(DefaultCookiePolicy):
    """As in a browser: this machine is trusted with Secure cookies, and a form of another site takes no Lax ones."""

    def __init__(self) -> None:
        super().__init__(secure_protocols=("http", "https"))

    def return_ok(self, cookie: Cookie, request: Any) -> bool:
        origin = urlsplit(request.get_header("Origin", "")).hostname
        from_elsewhere = origin not in (None, urlsplit(request.get_full_url()).hostname)
        if from_elsewhere and (cookie.get_nonstandard_attr("SameSite") or "lax").lower() != "none":
            return False
        return super().return_ok(cookie, request)


class _Session(requests.Session):
    """Sends what its cookies' policy says; requests itself puts them into a jar without one."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(_Cookies())

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        prepared = super().prepare_request(request)
        prepared.headers.pop("Cookie", None)
        if cookies := get_cookie_header(self.cookies, prepared):  # type: ignore[no-untyped-call]
            prepared.headers["Cookie"] = cookies
        return prepared


class _Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.words: list[str] = []
        self.scripts, self._select = "", ""
        self._box: dict[str, str] = {}
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            method, action = given.get("method", "get").lower(), given.get("action", "")
            self.forms.append(Form(method, action, "data-send" in given))
        elif tag == "input":
            self._field(given)
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and self.forms and "selected" in given:
            self.forms[-1].fields.append((self._select, given.get("value", "")))
        if tag not in _VOID:
            self._open.append((tag, given, []))

    def _field(self, given: Mapping[str, str]) -> None:
        is_box = given.get("type") in ("checkbox", "radio")
        value = given.get("value", "on" if is_box else "")
        if self.forms and given.get("name") and (not is_box or "checked" in given):
            self.forms[-1].fields.append((given["name"], value))
        if is_box and given.get("name"):
            self._box = {given["name"]: value}

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            self.scripts += data
            return
        self.words.append(data)
        for _, _, words in self._open:
            words.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            opened, given, words = self._open.pop()
            text = " ".join("".join(words).split())
            if opened == "button" and self.forms:
                self.forms[-1].buttons[text] = {given["name"]: given.get("value", "")} if given.get("name") else {}
            elif opened == "label" and self.forms:
                self.forms[-1].boxes[text], self._box = self._box, {}
            elif opened == "a" and "href" in given:
                self.links[text] = given["href"]
            if opened == tag:
                return


class Page:
    """What the browser shows."""

    def __init__(self, response: requests.Response) -> None:
        self.url, self.status, self.html = response.url, response.status_code, response.text
        read = _Reader(self.html)
        self.forms, self.links = read.forms, read.links
        self.text = " ".join(" ".join(read.words).split())
        self._sends = ".submit()" in read.scripts

    @property
    def going_on(self) -> Form | None:
        """The form that the page sends by itself, or None when it waits for its reader."""
        first = self.forms[0] if self.forms else None
        return first if first is not None and (self._sends or first.sends_itself) else None

    def form(self, button: str) -> tuple[Form, dict[str, str]]:
        """The form with a button that says this, and what the button adds."""
        for form in self.forms:
            for words, adds in form.buttons.items():
                if button in words:
                    return form, adds
        raise AssertionError(f"no button says '{button}' on {self.url}: {self.text[:2000]}")

    def box(self, label: str) -> dict[str, str]:
        """What the box with this label adds to its form when it is ticked."""
        found = [adds for form in self.forms for words, adds in form.boxes.items() if label in words]
        assert found, f"no box says '{label}': {self!r}"
        return found[0]

    def field(self, name: str) -> str:
        """What a form of the page carries in this field."""
        found = [value for form in self.forms for known, value in form.fields if known == name]
        assert found, f"no field is called '{name}': {self!r}"
        return found[0]

    def __contains__(self, words: str) -> bool:
        return words in self.text

    def __repr__(self) -> str:
        return f"<{self.status} {urlsplit(self.url).path}: {self.text[:2000]}>"


class Browser:
    """One browser with its cookies; ``sent`` is the last form that it sent, ``leaves_at`` where it would send none.

    A page that says no, where the test expects none of that, fails it and is shown.
    """

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.leaves_at = ""
        self.http = _Session()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def open(self, url: str, query: Mapping[str, str] | None = None, *, status: int = 200) -> Page:
        """Type an address in."""
        return self._settle(self._ask("GET", url, params=query), status)

    def click(self, page: Page, link: str) -> Page:
        """Follow the link with these words."""
        href = next((href for words, href in page.links.items() if link in words), None)
        assert href is not None, f"no link says '{link}': {page!r}"
        return self.open(urljoin(page.url, href))

    def press(self, page: Page, button: str, fields: Mapping[str, str] | None = None) -> Page:
        """Fill in a form and press its button."""
        form, adds = page.form(button)
        return self._settle(self._send(page, form, {**(fields or {}), **adds}), 200)

    def send(self, url: str, fields: Mapping[str, str], *, origin: str) -> Page:
        """Send a form that a page of that origin has made."""
        return self._settle(self._ask("POST", url, data=fields, headers={"Origin": origin}), 200)

    def sign_in(self, base_url: str, email: str, password: str) -> Page:
        """Sign in to a bridge, with one's own password or a one-time one, which is replaced by ``PASSWORD``."""
        page = self.open(f"{base_url}/sign-in")
        page = self.press(page, "Sign in", {"email": email, "password": password})
        if "Choose your password" in page:
            page = self.press(page, "Save", {"password": PASSWORD})
        return page

    def _settle(self, response: requests.Response, status: int) -> Page:
        page = Page(response)
        for _ in range(12):
            form = page.going_on
            if form is None or page.status >= 400 or form.action == self.leaves_at:
                break
            page = Page(self._send(page, form, {}))
        assert page.status == status, repr(page)
        return page

    def _send(self, page: Page, form: Form, fields: Mapping[str, str]) -> requests.Response:
        target = urljoin(page.url, form.action)
        told = [(name, value) for name, value in form.fields if name not in fields] + list(fields.items())
        if form.method != "post":
            return self._ask("GET", target, params=told)
        self.sent = dict(told)
        return self._ask("POST", target, data=told, headers={"Origin": origin(page.url)})

    def _ask(self, method: str, url: str, **what: Any) -> requests.Response:
        answer = self.http.request(method, url, allow_redirects=False, timeout=30, **what)
        for _ in range(10):
            if not answer.is_redirect:
                break
            assert answer.status_code in (302, 303), f"{answer.status_code} would send the form on: {answer.url}"
            answer = self.http.get(urljoin(answer.url, answer.headers["location"]), allow_redirects=False, timeout=30)
        return answer


def origin(url: str) -> str:
    """Scheme, host and port of a page."""
    where = urlsplit(url)
    return f"{where.scheme}://{where.netloc}"
