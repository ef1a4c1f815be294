"""The words of the bridge's statements: verbs, activity types, extensions. ``document`` publishes them as a profile.

Words that ADL and others defined are taken as they are (every IRI exact: reports match on the string). Own ones exist
only where no registry has the concept; ``docs/xapi-profile.md`` says what each means, and they never change meaning:
a changed meaning is a new IRI.
"""

from __future__ import annotations

from bridge.domain.assets import AssetKind
from bridge.domain.ids import IRI

PROFILE = IRI
#: Named as category of every statement, so that a report can tell what rules it was made by.
VERSION = f"{IRI}/v1"
PROFILE_TYPE = "http://adlnet.gov/expapi/activities/profile"

VERBS = {
    verb: f"http://adlnet.gov/expapi/verbs/{verb}"
    for verb in ("launched", "progressed", "completed", "passed", "failed")
}
VOIDED = "http://adlnet.gov/expapi/verbs/voided"

JOB_AID = f"{IRI}/activity-types/job-aid"
PROCEDURE = f"{IRI}/activity-types/procedure"
DECISION_TREE = f"{IRI}/activity-types/decision-tree"
RECORD_TYPE = f"{IRI}/activity-types/record-type"
CATALOGUE = f"{IRI}/activity-types/catalogue"

ACTIVITY_TYPES = {
    AssetKind.COURSE: "http://adlnet.gov/expapi/activities/course",
    AssetKind.MODULE: "http://adlnet.gov/expapi/activities/module",
    AssetKind.VIDEO: "https://w3id.org/xapi/acrossx/activities/video",
    AssetKind.GUIDE: JOB_AID,
    AssetKind.CHECKLIST: "http://id.tincanapi.com/activitytype/checklist",
    AssetKind.SOP: PROCEDURE,
    AssetKind.DECISION_TREE: DECISION_TREE,
    AssetKind.QUIZ: "http://adlnet.gov/expapi/activities/assessment",
    AssetKind.LINK: "http://adlnet.gov/expapi/activities/link",
}

RULE = f"{IRI}/extensions/rule"
PROMPT = f"{IRI}/extensions/prompt"
EVENT_TYPE = f"{IRI}/extensions/event-type"
RECORD = f"{IRI}/extensions/record"
STEPS_DONE = f"{IRI}/extensions/steps-done"
REASON = f"{IRI}/extensions/reason"
