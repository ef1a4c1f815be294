"""What cmi5 adds to a launch: the words of its statements, and the launch data (cmi5 Quartz, 1st edition).

Section numbers are those of https://github.com/AICC/CMI-5_Spec_Current/blob/quartz/cmi5_spec.md.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

from bridge.domain.assets import Opening

Json = dict[str, Any]

TERMINATED = "http://adlnet.gov/expapi/verbs/terminated"
#: The State document in which content finds how it was launched (section 10).
LAUNCH_DATA = "LMS.LaunchData"
#: The Agent Profile document in which a person's preferences are (section 11).
PREFERENCES = "cmi5LearnerPreferences"
_CONTEXT = "https://w3id.org/xapi/cmi5/context"
SESSION_ID = f"{_CONTEXT}/extensions/sessionid"
_CATEGORY = {"id": f"{_CONTEXT}/categories/cmi5", "objectType": "Activity"}
_NORMAL = "Normal"
_NOT_APPLICABLE = "NotApplicable"
#: What has to be said until an AU's criterion is met (section 13.1.4); any of these for the ones that are not here.
_CRITERIA = {
    "Passed": ({"passed"},),
    "Completed": ({"completed"},),
    "CompletedAndPassed": ({"completed", "passed"},),
}
_EITHER = ({"completed"}, {"passed"})


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """One sitting with an assignable unit (AU), from its launch to its end."""

    id: uuid.UUID
    opening: Opening

    @property
    def _publisher(self) -> list[Json]:
        return [{"id": self.opening.custom["publisher_id"], "objectType": "Activity"}]

    @property
    def move_on(self) -> str:
        return self.opening.custom.get("move_on", _NOT_APPLICABLE)

    def launched(self) -> Json:
        """What the launched statement says besides that of any launch (sections 9.3.1, 9.6.2 and 9.6.3)."""
        custom = self.opening.custom
        extensions: Json = {
            SESSION_ID: str(self.id),
            f"{_CONTEXT}/extensions/launchmode": _NORMAL,
            f"{_CONTEXT}/extensions/launchurl": self.opening.url,
            f"{_CONTEXT}/extensions/moveon": self.move_on,
        }
        if "launch_parameters" in custom:
            extensions[f"{_CONTEXT}/extensions/launchparameters"] = custom["launch_parameters"]
        if "mastery_score" in custom:
            extensions[f"{_CONTEXT}/extensions/masteryscore"] = float(custom["mastery_score"])
        activities = {"category": [_CATEGORY], "grouping": self._publisher}
        return {"context": {"contextActivities": activities, "extensions": extensions}}

    def launch_data(self, return_url: str) -> Json:
        """The document ``LMS.LaunchData``; ``return_url`` is where the content leads when it is left."""
        custom = self.opening.custom
        data: Json = {
            "contextTemplate": {
                "contextActivities": {"grouping": self._publisher},
                "extensions": {SESSION_ID: str(self.id)},
            },
            "launchMode": _NORMAL,
            "launchMethod": custom.get("launch_method", "AnyWindow"),
            "moveOn": self.move_on,
            "returnURL": return_url,
        }
        if "launch_parameters" in custom:
            data["launchParameters"] = custom["launch_parameters"]
        if "mastery_score" in custom:
            data["masteryScore"] = float(custom["mastery_score"])
        if "entitlement_key" in custom:
            data["entitlementKey"] = {"courseStructure": custom["entitlement_key"]}
        return data


def is_satisfied(move_on: str, said: set[str]) -> bool:
    """Do these verbs ("completed", "passed") meet the criterion?

    An AU whose criterion is ``NotApplicable`` would be satisfied before anybody has seen it; here it counts as done
    when it says that it is completed or passed.
    """
    return any(needed <= said for needed in _CRITERIA.get(move_on, _EITHER))
