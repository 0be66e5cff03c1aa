"""Converters of plugins."""

from __future__ import annotations

from dataclasses import replace

from ingest.errors import PluginError
from ingest.plugins import Plugin, describe
from ingest.source.convert.page import Page
from ingest.source.fields import Unusable, plain_metadata


def plugin_page(plugin: Plugin, data: bytes) -> Page:
    """Return the page that a plugin makes of a file. Raises `Unusable`, which names the plugin, if it makes none."""
    try:
        found = plugin.make().convert(data)
    except (Unusable, PluginError) as exc:
        raise Unusable(str(exc)) from exc
    except Exception as exc:
        raise Unusable(f"{plugin} failed ({describe(exc)})") from exc
    page = Page(found) if isinstance(found, str) else found
    if not isinstance(page, Page) or not isinstance(page.text, str):
        raise Unusable(f"{plugin} returned a {type(found).__name__} instead of a text or an ingest.Page")
    return replace(page, metadata=plain_metadata(page.metadata))
