"""What modelcontextprotocol/conformance#116 asks of every protected server, from the specification, in both eras.

2026-07-28 authorization §Token Requirements, §Token Handling; RFC 6750 §3; RFC 8725 §3.1, §3.2.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.eras import ERAS, asked, challenged
from tests.kit.stack import Stack, running_stack
from tests.kit.tokens import OUT, Forge, part

OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    ("tools/list", {}),
    ("tools/call", {"name": "list_orders", "arguments": {}}),
]
OPENINGS = ("initialize", "server/discover")


@pytest.fixture(scope="module")
async def forge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Forge]:
    async with running_stack(Path(tmp_path_factory.mktemp("baseline"))) as stack:
        yield Forge(stack)


async def everything(stack: Stack, **headers: str) -> list[httpx.Response]:
    """Each operation in each era, discovery and opening among them."""
    first = [await asked(stack, era, name, {}, **headers) for era, name in zip(ERAS, OPENINGS, strict=True)]
    return first + [await asked(stack, era, method, params, **headers) for era in ERAS for method, params in OPERATIONS]


async def test_a_good_token_is_served(forge: Forge) -> None:
    """Else the refusals below would prove nothing; one without any scope may ask what there is."""
    for scope in ("mcp:read", OUT):
        answers = await everything(forge.stack, authorization=f"Bearer {forge.token(scope=scope)}")
        wanted = [200, 200, 200, 200] if scope is not OUT else [200, 403, 200, 403]
        assert [one.status_code for one in answers] == [200, 200, *wanted]


@pytest.mark.requirement("25.3", "25.13")
async def test_no_token_is_challenged_and_shown_the_way(forge: Forge) -> None:
    """RFC 6750 §3: no error where nothing came; RFC 9728 §5.1 and §3.3: the metadata's `resource` is what was asked."""
    for answer in await everything(forge.stack):
        assert answer.status_code == 401
        scheme, said = challenged(answer)
        assert (scheme, said.keys() & {"error"}) == ("Bearer", set())
        metadata = (await forge.stack.http.get(said["resource_metadata"])).json()
        assert metadata["resource"] == forge.stack.resource
        assert metadata["authorization_servers"] == [forge.stack.url]


@pytest.mark.parametrize(
    ("header", "status"),
    [("foo", 401), ("Basic Zm9vOmJhcg==", 401), ("", 400), ("Bearer", 400), ("Bearer a b", 400)],
)
async def test_a_malformed_header_is_refused(forge: Forge, header: str, status: int) -> None:
    """RFC 6750 §3.1: a malformed request is 400; a scheme that is not ours is no token of ours at all."""
    for answer in await everything(forge.stack, authorization=header):
        assert (answer.status_code, challenged(answer)[0]) == (status, "Bearer")


def forged(forge: Forge) -> dict[str, str]:
    """What is no token of the issuer's, each otherwise right."""
    head, claims = forge.header(), forge.claims()
    unsigned = f"{part(forge.header(alg='none'))}.{part(claims)}"
    public = forge.foreign.as_dict(private=False)
    return {
        "garbage": "foo",
        "three parts of garbage": "foo.bar.baz",
        "without a signature": f"{part(head)}.{part(claims)}",
        "with an empty signature": f"{part(head)}.{part(claims)}.",
        "alg none": f"{unsigned}.",
        "alg none in two parts": unsigned,
        "alg None": f"{part(forge.header(alg='None'))}.{part(claims)}.",
        "alg none with a signature": f"{unsigned}.{forge.token().rpartition('.')[2]}",
        "signed by itself": forge.token(key=forge.foreign),
        "signed by itself, its key in it": forge.token({"jwk": public, "kid": OUT}, forge.foreign),
        "signed by itself, a kid of its own": forge.token({"kid": "mine"}, forge.foreign),
        "the public key as a secret": forge.hmac_with_public_key("pem"),
    }


@pytest.mark.requirement("25.10", "25.17")
async def test_what_the_issuer_did_not_sign_is_refused(forge: Forge) -> None:
    for name, token in forged(forge).items():
        for answer in await everything(forge.stack, authorization=f"Bearer {token}"):
            assert answer.status_code == 401, name
            scheme, said = challenged(answer)
            assert (scheme, said["error"]) == ("Bearer", "invalid_token"), name
            assert said["resource_metadata"], name
