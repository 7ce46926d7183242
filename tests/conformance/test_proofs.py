"""What modelcontextprotocol/conformance#395 asks of a server that takes DPoP, from RFC 9449 §4.3 and §7, in both eras.

A nonce of the server's is optional there (§9), and none is given.
"""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.conformance.eras import ERAS, asked, challenged
from tests.kit import proofs
from tests.kit.proofs import KEY
from tests.kit.stack import running_stack
from tests.kit.tokens import OUT, Forge, part

CALL: tuple[str, dict[str, Any]] = ("tools/call", {"name": "list_orders", "arguments": {}})
OTHER = ECKey.generate_key("P-256")
WINDOW_S = 300
Bent = tuple[dict[str, Any], dict[str, Any]]
"""What is changed in a proof's header, and in its claims."""


@pytest.fixture(scope="module")
async def forge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Forge]:
    async with running_stack(Path(tmp_path_factory.mktemp("proofs"))) as stack:
        yield Forge(stack)


def bound(forge: Forge) -> str:
    return forge.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")


def proof(forge: Forge, token: str, header: dict[str, Any] | None = None, key: ECKey = KEY, **claims: Any) -> str:
    return proofs.made(token, header, key, **{"htu": forge.stack.resource, **claims})


async def sent(forge: Forge, era: str, token: str, *headers: str, scheme: str = "DPoP") -> Any:
    named = {"authorization": f"{scheme} {token}", **({"dpop": headers[0]} if headers else {})}
    return await asked(forge.stack, era, CALL[0], CALL[1], **named)


BENT: dict[str, Bent] = {
    "typ": ({"typ": "JWT"}, {}),
    "no typ": ({"typ": OUT}, {}),
    "alg none": ({"alg": "none"}, {}),
    "a symmetric alg": ({"alg": "HS256"}, {}),
    "no key": ({"jwk": OUT}, {}),
    "a private key": ({"jwk": KEY.as_dict(private=True)}, {}),
    **{f"no {name}": ({}, {name: OUT}) for name in ("jti", "htm", "htu", "iat", "ath")},
    "another method": ({}, {"htm": "GET"}),
    "another URL": ({}, {"htu": "https://elsewhere.example/mcp"}),
    "another path": ({}, {"htu": "http://localhost/other"}),
    "another token": ({}, {"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}),
    "too old": ({}, {"iat": time.time() - 2 * WINDOW_S}),
    "of the future": ({}, {"iat": time.time() + 86_400}),  # of when this is read: a whole run takes a while
}


@pytest.mark.parametrize("era", ERAS)
async def test_a_right_proof_is_accepted_and_only_once(forge: Forge, era: str) -> None:
    token = bound(forge)
    once = proof(forge, token)
    assert (await sent(forge, era, token, once)).status_code == 200
    again = await sent(forge, era, token, once)
    assert (again.status_code, challenged(again)[0]) == (401, "DPoP")
    assert (await sent(forge, era, token, proof(forge, token))).status_code == 200


@pytest.mark.requirement("25.24")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("bent", BENT)
async def test_a_broken_proof_is_refused_and_challenged_as_one(forge: Forge, era: str, bent: str) -> None:
    token = bound(forge)
    header, claims = BENT[bent]
    answer = await sent(forge, era, token, proof(forge, token, header, **claims))
    scheme, said = challenged(answer)
    assert (answer.status_code, scheme, said["error"]) == (401, "DPoP", "invalid_dpop_proof")
    assert said["algs"].split()
    assert "HS256" not in said["algs"]
    assert "dpop-nonce" not in answer.headers


@pytest.mark.parametrize("era", ERAS)
async def test_a_proof_by_another_key_or_of_no_key_or_broken_is_none(forge: Forge, era: str) -> None:
    token = bound(forge)
    foreign = proof(forge, token, {"jwk": OTHER.as_dict(private=False)}, OTHER)
    unbound = proof(forge, token, key=OTHER)  # signed by a key that is not the one it names
    cut = proof(forge, token).rpartition(".")[0]
    for bad in (foreign, unbound, cut, f"{cut}.", f"{part({})}.{part({})}.", "x", ""):
        answer = await sent(forge, era, token, bad)
        assert (answer.status_code, challenged(answer)[1]["error"]) == (401, "invalid_dpop_proof"), bad
    without = await sent(forge, era, token)
    assert (without.status_code, challenged(without)[0]) == (401, "DPoP")


@pytest.mark.parametrize("era", ERAS)
async def test_a_bound_token_is_no_bearer_token_and_the_other_way_round(forge: Forge, era: str) -> None:
    """RFC 9449 §7.2: a server that takes both schemes must not take a bound token as Bearer."""
    token, plain = bound(forge), forge.token()
    for held, scheme in ((token, "Bearer"), (plain, "DPoP")):
        answer = await sent(forge, era, held, proof(forge, held), scheme=scheme)
        assert (answer.status_code, challenged(answer)[1]["error"]) == (401, "invalid_token")
    assert (await sent(forge, era, plain, scheme="Bearer")).status_code == 200
