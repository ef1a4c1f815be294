"""Fills a Kolibri home and changes its catalogue, through Kolibri's own models and commands.

Run by the Python of Kolibri's environment: `catalogue.py seed|add|remove`, with a JSON object on standard input. Every
run leaves `facts.json` in the Kolibri home: channel_id, facility_id and node_ids by title.
"""

# mypy: disable-error-code="import-not-found"

import hashlib
import html
import io
import json
import os
import sys
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kolibri.utils.main import initialize

initialize(skip_update=sys.argv[1] != "seed")

from django.core.management import call_command  # noqa: E402
from kolibri.core.auth.models import Facility, FacilityUser  # noqa: E402
from kolibri.core.content.models import ChannelMetadata, ContentNode, File, Language, LocalFile  # noqa: E402
from kolibri.core.content.utils.annotation import update_content_metadata  # noqa: E402
from kolibri.core.content.utils.paths import get_content_storage_file_path  # noqa: E402
from kolibri.core.device.models import ContentCacheKey  # noqa: E402
from kolibri.utils.time_utils import local_now  # noqa: E402

CHANNEL = "Sales academy"


def stable_id(*words: str) -> str:
    """The same identifier for the same words on every machine."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("flowbridge-live", *words))).hex


CHANNEL_ID = stable_id("channel", CHANNEL)


def seed(
    admin: str, admin_password: str, learners: dict[str, dict[str, str]], topics: dict[str, list[dict[str, Any]]]
) -> None:
    call_command(
        "provisiondevice",
        facility="Acme",
        preset="formal",
        superusername=admin,
        superuserpassword=admin_password,
        language_id="en",
        interactive=False,
    )
    facility = Facility.get_default_facility()
    for username, learner in learners.items():
        user = FacilityUser(username=username, full_name=learner["full_name"], facility=facility)
        user.set_password(learner["password"])
        user.save()
    root = save_node(CHANNEL, None, "topic", description="What Acme's sales people need to know")
    ChannelMetadata.objects.create(
        id=CHANNEL_ID, name=CHANNEL, description=root.description, author="Acme", min_schema_version="5", root=root
    )
    for topic, resources in topics.items():
        save_node(topic, root, "topic")
        for resource in resources:
            save_resource(topic=topic, **resource)
    publish()


def add(**resource: Any) -> None:
    wait_for_a_new_cache_key()
    save_resource(**resource)
    publish()


def remove(title: str) -> None:
    wait_for_a_new_cache_key()
    call_command("deletecontent", CHANNEL_ID, node_ids=[stable_id("node", title)])


def save_node(title: str, parent: Any, kind: str, **fields: Any) -> Any:
    language, _ = Language.objects.get_or_create(
        id="en", defaults={"lang_code": "en", "lang_name": "English", "lang_direction": "ltr"}
    )
    node_id = stable_id("node", title)
    fields = {
        "title": title,
        "parent": parent,
        "kind": kind,
        "channel_id": CHANNEL_ID,
        "content_id": stable_id("content", title),
        "lang": language,
        "license_name": "CC BY",
        "license_owner": "Acme",
        **fields,
    }
    node, _ = ContentNode.objects.update_or_create(id=node_id, defaults=fields)
    return node


def save_resource(title: str, topic: str, description: str, duration: int, text: str) -> None:
    parent = ContentNode.objects.get(channel_id=CHANNEL_ID, kind="topic", title=topic)
    node = save_node(title, parent, "html5", description=description, duration=duration)
    content = zipped_page(title, text)
    checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = Path(get_content_storage_file_path(f"{checksum}.zip"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    local_file, _ = LocalFile.objects.update_or_create(
        id=checksum, defaults={"extension": "zip", "available": True, "file_size": len(content)}
    )
    File.objects.update_or_create(
        id=stable_id("file", title),
        defaults={"local_file": local_file, "contentnode": node, "preset": "html5_zip", "priority": 1},
    )


def zipped_page(title: str, text: str) -> bytes:
    title, text = html.escape(title), html.escape(text)
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{text}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.html"), page)
    return buffer.getvalue()


def publish() -> None:
    """What follows the import of a new version of a channel: version, counts, availability and a new cache key."""
    channel = ChannelMetadata.objects.get(id=CHANNEL_ID)
    channel.version += 1
    channel.last_updated = local_now()
    channel.save()
    update_content_metadata(CHANNEL_ID, public=True)


def wait_for_a_new_cache_key() -> None:
    """The key of Kolibri's page cache is a whole second: of two changes in one, the later would stay unseen."""
    last = ContentCacheKey.objects.get().key
    while int(time.time()) <= last:
        time.sleep(0.05)


def write_facts() -> None:
    nodes = ContentNode.objects.filter(channel_id=CHANNEL_ID, available=True)
    facts = {
        "channel_id": CHANNEL_ID,
        "facility_id": Facility.get_default_facility().id,
        "node_ids": {node.title: node.id for node in nodes},
    }
    Path(os.environ["KOLIBRI_HOME"], "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    actions: dict[str, Callable[..., None]] = {"seed": seed, "add": add, "remove": remove}
    actions[sys.argv[1]](**json.load(sys.stdin))
    write_facts()
