"""The statements that are sent: about a kilobyte each, as the bridge makes them of a completed launch."""

from __future__ import annotations

import uuid

_REST = (
    b'","actor":{"objectType":"Agent","account":{"homePage":"https://hr.example.com","name":"E%06d"}},"verb":{"id":'
    b'"http://adlnet.gov/expapi/verbs/completed","display":{"en":"completed"}},"object":{"objectType":"Activity","id":'
    b'"https://bridge.example.com/assets/negotiating-a-renewal","definition":{"type":'
    b'"http://adlnet.gov/expapi/activities/course","name":{"en":"Negotiating a renewal"}}},"result":{"completion":true,'
    b'"success":true,"score":{"scaled":0.85},"duration":"PT4M12S"},"context":{"registration":'
    b'"6f1c7d9e-5b7a-4f56-9a3b-0d7c1f3f2a11","platform":"flowbridge","language":"en","contextActivities":{"grouping":'
    b'[{"objectType":"Activity","id":"https://crm.example.com/opportunities","definition":{"type":'
    b'"https://w3id.org/xapi/acrossx/activities/webpage"}}],"category":[{"objectType":"Activity","id":'
    b'"https://bridge.example.com/xapi/profile/v1"}]},"extensions":{"https://bridge.example.com/xapi/extensions/rule":'
    b'"renewals","https://bridge.example.com/xapi/extensions/channel":"widget"}},"timestamp":'
    b'"2026-03-04T05:06:07.890Z"}'
)


def statement(number: int, run: int = 0) -> tuple[uuid.UUID, bytes]:
    """The id and the bytes of one statement; others of another ``run``."""
    made = uuid.UUID(int=(run << 64 | number) & ~(0xF << 76) & ~(3 << 62) | 5 << 76 | 2 << 62)
    return made, b'{"id":"' + str(made).encode() + _REST % number
