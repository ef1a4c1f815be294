"""The tool side of LTI 1.3 for the live tests as pylti1p3's guide builds it with Flask: the library's checks, no more.

Listens on 127.0.0.1 only, at PORT. `/control/` belongs to the tests.
"""

import datetime as dt
import os
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, jsonify, render_template_string, request
from flask.typing import ResponseReturnValue
from flask_caching import Cache
from pylti1p3.contrib.flask import FlaskCacheDataStorage, FlaskMessageLaunch, FlaskOIDCLogin, FlaskRequest
from pylti1p3.deep_link_resource import DeepLinkResource
from pylti1p3.exception import LtiException, LtiServiceException, OIDCException
from pylti1p3.grade import Grade
from pylti1p3.lineitem import LineItem
from pylti1p3.registration import Registration
from pylti1p3.tool_config import ToolConfDict
from pylti1p3.utils import add_param_to_url

PORT = int(os.environ["PORT"])
LAUNCH_URL = f"http://127.0.0.1:{PORT}/launch"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
MEMBERS = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
ITEMS = {"renewal": "Negotiating a renewal", "objections": "Handling objections"}

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)

LAUNCH_PAGE = """<!doctype html><html lang="en"><title>Tool</title><h1>{{ title }}</h1><p id="person">{{ person }}</p>
<dl id="custom">{% for name, value in custom.items() %}<dt>{{ name }}<dd>{{ value }}{% endfor %}</dl>
<form action="/score" method="post"><input type="hidden" name="launch" value="{{ launch }}">
<label>Points of 100 <input name="points" type="number" value="85"></label><button>Complete</button></form>"""
CHOICE_PAGE = """<!doctype html><html lang="en"><title>Choose</title><h1>Choose content</h1>
<form action="/choose" method="post"><input type="hidden" name="launch" value="{{ launch }}">
{% for id, title in items.items() %}<button name="item" value="{{ id }}">{{ title }}</button>{% endfor %}</form>"""

app = Flask(__name__)
app.secret_key = os.urandom(16)
storage = FlaskCacheDataStorage(Cache(app, config={"CACHE_TYPE": "SimpleCache"}))
platforms: dict[str, dict[str, Any]] = {}


def configuration() -> ToolConfDict:
    known = ToolConfDict(platforms)
    for issuer in platforms:
        known.set_private_key(issuer, PRIVATE)
        known.set_public_key(issuer, PUBLIC)
    return known


def present_launch() -> FlaskMessageLaunch:
    """The launch that a page of ours carries on."""
    return FlaskMessageLaunch.from_cache(
        request.values["launch"], FlaskRequest(), configuration(), launch_data_storage=storage
    )


@app.get("/keys")
def keys() -> ResponseReturnValue:
    return jsonify(keys=[Registration.get_jwk(PUBLIC)])


@app.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    start = FlaskOIDCLogin(FlaskRequest(), configuration(), launch_data_storage=storage)
    return start.redirect(request.values["target_link_uri"])


@app.post("/launch")
def launch() -> ResponseReturnValue:
    message = FlaskMessageLaunch(FlaskRequest(), configuration(), launch_data_storage=storage)
    claims = message.get_launch_data()
    shown = {"launch": message.get_launch_id()}
    if message.is_deep_link_launch():
        return render_template_string(CHOICE_PAGE, **shown, items=ITEMS)
    return render_template_string(
        LAUNCH_PAGE,
        **shown,
        title=claims[f"{CLAIM}resource_link"].get("title", "Untitled"),
        person=claims.get("name", claims["sub"]),
        custom=claims.get(f"{CLAIM}custom", {}),
    )


@app.post("/choose")
def choose() -> ResponseReturnValue:
    id_ = request.form["item"]
    column = LineItem().set_label(ITEMS[id_]).set_score_maximum(100).set_resource_id(id_)
    item = DeepLinkResource().set_url(LAUNCH_URL).set_title(ITEMS[id_]).set_custom_params({"resource": id_})
    return present_launch().get_deep_link().output_response_form([item.set_lineitem(column)])


@app.post("/score")
def score() -> ResponseReturnValue:
    message = present_launch()
    grade = Grade().set_score_given(float(request.form["points"])).set_score_maximum(100)
    grade.set_timestamp(dt.datetime.now(dt.UTC).isoformat()).set_user_id(message.get_launch_data()["sub"])
    grade.set_activity_progress("Completed").set_grading_progress("FullyGraded")
    message.get_ags().put_grade(grade)
    return f'<!doctype html><title>Score sent</title><p id="sent">{grade.get_score_given():g} of 100</p>'


@app.get("/results")
def results() -> ResponseReturnValue:
    return jsonify(present_launch().get_ags().get_grades())


@app.get("/members")
def members() -> ResponseReturnValue:
    message = present_launch()
    roster, found = message.get_nrps(), []
    page = message.get_launch_data()[MEMBERS]["context_memberships_url"]
    page = add_param_to_url(page, "limit", request.args["limit"]) if "limit" in request.args else page
    while page:
        some, page = roster.get_members_page(page)
        found += some
    return jsonify(members=found)


@app.post("/control/platforms")
def register_platform() -> ResponseReturnValue:
    told = request.get_json()
    platforms[told["issuer"]] = {
        "client_id": told["clientId"],
        "auth_login_url": told["authorizationEndpoint"],
        "auth_token_url": told["tokenEndpoint"],
        "key_set_url": told["jwksUri"],
        "deployment_ids": [told["deploymentId"]],
    }
    return "", 201


@app.errorhandler(LtiException)
@app.errorhandler(OIDCException)
def refused(error: Exception) -> ResponseReturnValue:
    """What the library refuses is 400; a refusal by the platform is 502, with its status and body."""
    return jsonify(error=str(error)), 502 if isinstance(error, LtiServiceException) else 400


if __name__ == "__main__":
    app.run("127.0.0.1", PORT)
