"""What every modern result carries, and the pages of lists (2026-07-28 basic §Results, server/utilities/caching)."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType


class Result(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A result; the members here are of the modern era and stay unset in the others."""

    result_type: str | UnsetType = UNSET
    meta: Any | UnsetType = msgspec.field(default=UNSET, name="_meta")


class Cacheable(Result, frozen=True, rename="camel", kw_only=True):
    """A result that may be kept: `ttl_ms` is in milliseconds, `cache_scope` is `public` or `private`."""

    ttl_ms: int | UnsetType = UNSET
    cache_scope: str | UnsetType = UNSET


class ListParams(msgspec.Struct, frozen=True):
    """What every list takes."""

    cursor: str | UnsetType = UNSET


class Page(Cacheable, frozen=True, rename="camel", kw_only=True):
    """A page of a list; entries are encoded at start."""

    next_cursor: str | UnsetType = UNSET


class ListToolsResult(Page, frozen=True, rename="camel", kw_only=True):
    """A page of tools."""

    tools: list[Raw]


class ListResourcesResult(Page, frozen=True, rename="camel", kw_only=True):
    """A page of resources that have a fixed address."""

    resources: list[Raw]


class ListResourceTemplatesResult(Page, frozen=True, rename="camel", kw_only=True):
    """A page of resource templates."""

    resource_templates: list[Raw]


class ListPromptsResult(Page, frozen=True, rename="camel", kw_only=True):
    """A page of prompts."""

    prompts: list[Raw]
