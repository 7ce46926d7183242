"""Every bad token is refused with the right status and challenge, on the wire; the good variants pass."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import OctKey, RSAKey

from mcp_server import McpServer
from tests.kit import wire
from tests.kit.stack import Stack, running_stack
from tests.kit.tokens import OUT, Forge, Json, b64, part

NOW = time.time
Make = Callable[[Forge], str]


def claim(**changed: Any) -> Make:
    return lambda forge: forge.token(**changed)


def head(**changed: Any) -> Make:
    return lambda forge: forge.token(header=changed)


def raw(header: Any = None, payload: Any = None) -> Make:
    """A token whose parts are given as bytes."""
    return lambda f: f.sign(f.header() if header is None else header, f.claims() if payload is None else payload)


def duplicate(claims: Json, name: str, value: Any) -> bytes:
    return (json.dumps(claims)[:-1] + f', "{name}": {json.dumps(value)}}}').encode()


def tampered(forge: Forge) -> str:
    header, payload, signature = forge.token().split(".")
    changed = part(forge.claims(scope="mcp:admin"))
    assert changed != payload
    return f"{header}.{changed}.{signature}"


def flipped_signature(forge: Forge) -> str:
    header, payload, signature = forge.token().split(".")
    return f"{header}.{payload}.{('A' if signature[0] != 'A' else 'B') + signature[1:]}"


def respelt_signature(forge: Forge) -> str:
    """Another spelling of the same bytes: the last character's unused bits set."""
    token = forge.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def of_issuer(kind: str) -> Make:
    """A real token of another kind, made by the issuer itself."""

    def make(forge: Forge) -> str:
        running = forge.stack.issuer
        client, user = running.realm.clients[0], running.realm.users[1]
        if kind == "id":
            return running.mint.id_token(client, user, "sid", "nonce")
        return running.mint.refresh_token(client, user, "sid")[0]

    return make


def algorithm_of_other_key(forge: Forge) -> str:
    return forge.sign(forge.header(alg="ES256"), forge.claims(), forge.rsa)


def rsa_kid_for_ec(forge: Forge) -> str:
    return forge.sign(forge.header(alg="ES256"), forge.claims(), forge.ec, "ES256")


def der_signature(forge: Forge) -> str:
    signing_input = f"{part(forge.header(alg='ES256', kid=str(forge.ec.kid)))}.{part(forge.claims())}"
    private: Any = forge.ec.private_key
    return f"{signing_input}.{b64(private.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))}"


def nested(forge: Forge) -> str:
    return forge.sign(forge.header(cty="JWT"), forge.token().encode())


def weak(size: int) -> Make:
    return lambda f: f.sign(f.header(), f.claims(), RSAKey.generate_key(size))


BAD: dict[str, Make] = {
    "unsigned": lambda f: f"{part(f.header())}.{part(f.claims())}.",
    "alg none without signature": lambda f: f"{part(f.header(alg='none'))}.{part(f.claims())}.",
    "alg none with a signature": head(alg="none"),
    "alg None": head(alg="None"),
    "alg nOnE": head(alg="nOnE"),
    "alg missing": head(alg=OUT),
    "alg null": head(alg=None),
    "alg a list": head(alg=["RS256"]),
    "alg lower case": head(alg="rs256"),
    "alg empty": head(alg=""),
    "HS256 with the public key as PEM": lambda f: f.hmac_with_public_key("pem"),
    "HS256 with the public key as JWK": lambda f: f.hmac_with_public_key("jwk"),
    "HS256 with an empty key": lambda f: f.sign(
        f.header(alg="HS256"), f.claims(), OctKey.import_key(b"0" * 32), "HS256"
    ),
    "RS512, not on the list": lambda f: f.sign(f.header(alg="RS512"), f.claims(), f.rsa, "RS512"),
    "PS256, not on the list": lambda f: f.sign(f.header(alg="PS256"), f.claims(), f.rsa, "PS256"),
    "an encryption algorithm": head(alg="RSA-OAEP"),
    "wrong key under a known kid": lambda f: f.sign(f.header(), f.claims(), f.foreign),
    "short foreign key": weak(2048),
    "algorithm not of the key": algorithm_of_other_key,
    "kid of the RSA key, signed by the EC key": rsa_kid_for_ec,
    "ES256 with a DER signature": der_signature,
    "signature flipped": flipped_signature,
    "signature cut": lambda f: f.token()[:-8],
    "signature spelt otherwise": respelt_signature,
    "signature padded": lambda f: f.token() + "=",
    "claims tampered": tampered,
    "kid unknown": head(kid="nobody"),
    "kid missing": head(kid=OUT),
    "kid empty": head(kid=""),
    "kid a path": head(kid="../../etc/passwd"),
    "kid SQL": head(kid="' OR 1=1 --"),
    "kid a number": head(kid=1),
    "kid null": head(kid=None),
    "kid endless": head(kid="k" * 300),
    "kid of the encryption key": head(kid="encryption"),
    "jku": head(jku="http://127.0.0.1:1/keys"),
    "x5u": head(x5u="http://127.0.0.1:1/cert"),
    "jwk": lambda f: f.sign(f.header(jwk=f.foreign.as_dict(private=False)), f.claims(), f.foreign),
    "x5c": head(x5c=["MIIB"]),
    "x5t": head(x5t="abc"),
    "crit": head(crit=["exp"]),
    "crit with b64": head(crit=["b64"], b64=False),
    "zip": head(zip="DEF"),
    "header typ missing": head(typ=OUT),
    "header typ dpop+jwt": head(typ="dpop+jwt"),
    "header typ logout+jwt": head(typ="logout+jwt"),
    "header typ oauth-id-jag+jwt": head(typ="oauth-id-jag+jwt"),
    "header typ a number": head(typ=1),
    "header typ JOSE": head(typ="JOSE"),
    "header a list": raw(header=[]),
    "header not JSON": raw(header=b"{alg:RS256}"),
    "header twice the alg": lambda f: f.sign(duplicate(f.header(), "alg", "none"), f.claims()),
    "payload not JSON": raw(payload=b"hello"),
    "payload a list": raw(payload=[1]),
    "payload NaN": lambda f: f.sign(f.header(), json.dumps(f.claims(x=float("nan"))).encode()),
    "payload not UTF-8": raw(payload=b'{"iss":"\xff"}'),
    "payload nested endlessly": raw(payload=b'{"a":' * 1200 + b"1" + b"}" * 1200),
    "payload twice the aud": lambda f: f.sign(f.header(), duplicate(f.claims(aud="other"), "aud", f.stack.resource)),
    "payload empty": raw(payload=b""),
    "nested token": nested,
    "iss missing": claim(iss=OUT),
    "iss wrong": claim(iss="https://evil.example/realms/mcp"),
    "iss with a slash": lambda f: f.token(iss=f.stack.issuer.realm.issuer + "/"),
    "iss upper case": lambda f: f.token(iss=f.stack.issuer.realm.issuer.upper()),
    "iss a list": lambda f: f.token(iss=[f.stack.issuer.realm.issuer]),
    "iss null": claim(iss=None),
    "aud missing": claim(aud=OUT),
    "aud account": claim(aud="account"),
    "aud empty": claim(aud=""),
    "aud an empty list": claim(aud=[]),
    "aud null": claim(aud=None),
    "aud a number": claim(aud=1),
    "aud an object": lambda f: f.token(aud={f.stack.resource: True}),
    "aud with a slash": lambda f: f.token(aud=f.stack.resource + "/"),
    "aud the origin only": lambda f: f.token(aud=f.stack.resource.removesuffix("/mcp")),
    "aud a list of mixed types": lambda f: f.token(aud=[1, f.stack.resource]),
    "aud a prefix": lambda f: f.token(aud=f.stack.resource[:-1]),
    "exp missing": claim(exp=OUT),
    "exp past the leeway": lambda f: f.token(exp=NOW() - 31),
    "exp a text": claim(exp="9999999999"),
    "exp null": claim(exp=None),
    "exp true": claim(exp=True),
    "exp negative": claim(exp=-1),
    "exp endless": claim(exp=1e300),
    "iat missing": claim(iat=OUT),
    "iat in the future": lambda f: f.token(iat=NOW() + 90),
    "iat a text": claim(iat="now"),
    "nbf in the future": lambda f: f.token(nbf=NOW() + 90),
    "nbf a text": claim(nbf="soon"),
    "claim typ missing under JWT": claim(typ=OUT),
    "claim typ ID": claim(typ="ID"),
    "claim typ Refresh": claim(typ="Refresh"),
    "claim typ Logout": claim(typ="Logout"),
    "claim typ Offline": claim(typ="Offline"),
    "claim typ a list": claim(typ=["Bearer"]),
    "at+jwt with claim typ ID": lambda f: f.token(header={"typ": "at+jwt"}, typ="ID"),
    "a nonce, as ID tokens have": claim(nonce="n"),
    "at_hash, as ID tokens have": claim(at_hash="h"),
    "events, as logout tokens have": claim(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "a real ID token": of_issuer("id"),
    "a real refresh token": of_issuer("refresh"),
    "sub missing": claim(sub=OUT),
    "sub missing, of a person": claim(sub=OUT, preferred_username="alice", auth_time=1),
    "sub missing, of a service account": claim(sub=OUT, azp="mcp-agent", sid=OUT),
    "sub null": claim(sub=None),
    "neither sub nor client": claim(sub=OUT, azp=OUT),
    "sub a number": claim(sub=1),
    "sub empty": claim(sub=""),
    "client_id a list": claim(client_id=["a"]),
    "cnf without proof": claim(cnf={"jkt": "abc"}),
    "cnf of a certificate": claim(cnf={"x5t#S256": "abc"}),
    "cnf a text": claim(cnf="jkt"),
    "cnf empty": claim(cnf={}),
    "cnf null": claim(cnf=None),
    "claim typ DPoP without cnf": claim(typ="DPoP"),
    "claim typ DPoP with cnf null": claim(typ="DPoP", cnf=None),
    "two parts": lambda f: f.token().rsplit(".", 1)[0],
    "four parts": lambda f: f.token() + ".abc",
    "five parts, as JWE has": lambda f: ".".join(["abc"] * 5),
    "dots alone": lambda f: "..",
    "standard Base64": lambda f: f.token()[:-2] + "+/",
    "opaque": lambda f: "b3BhcXVl",
    "an undefined scheme of parts": lambda f: "eyJ.eyJ.eyJ",
}
GOOD: dict[str, Make] = {
    "as Keycloak makes them": claim(),
    "at+jwt without the claim": lambda f: f.token(header={"typ": "at+jwt"}, typ=OUT),
    "application/at+jwt": lambda f: f.token(header={"typ": "application/at+jwt"}, typ=OUT, client_id="c"),
    "AT+JWT in capitals": lambda f: f.token(header={"typ": "AT+JWT"}, typ=OUT),
    "ES256": lambda f: f.token(header={"alg": "ES256", "kid": str(f.ec.kid)}, key=f.ec, algorithm="ES256"),
    "aud a list": lambda f: f.token(aud=["account", f.stack.resource]),
    "expired within the leeway": lambda f: f.token(exp=NOW() - 20),
    "nbf within the leeway": lambda f: f.token(nbf=NOW() + 20),
    "iat within the leeway": lambda f: f.token(iat=NOW() + 20),
    "times as fractions": lambda f: f.token(exp=NOW() + 60.5, iat=NOW() - 0.5),
    "a scope that implies the one needed": claim(scope="mcp:write"),
    "a scope that implies it by another": claim(scope="mcp:admin"),
    "unknown claims": claim(x={"deep": [1, {"er": None}]}),
}
CALL = wire.legacy("tools/call", {"name": "list_orders", "arguments": {}})


@pytest.fixture(scope="module")
async def forge(stack: Stack) -> Forge:
    return Forge(stack)


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 80


@pytest.mark.parametrize("name", BAD)
@pytest.mark.requirement("25.13", "25.15", "25.16", "25.17", "25.19", "25.26", "27.6")
async def test_a_bad_token_is_refused(forge: Forge, name: str, log_file: TextIO) -> None:
    forge.stack.plugin.authenticator.issuers[forge.stack.issuer.realm.issuer]._allowance.spent.clear()
    token = BAD[name](forge)
    answer = await forge.stack.post(CALL, token)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    assert "resource_metadata=" in challenge
    said = challenge + answer.text
    forge.stack.plugin._audit.flush()
    written = Path(log_file.name).read_text() + forge.stack.audit.read_text()  # noqa: ASYNC240 - a small file
    assert '"reason":"' in written
    secret = max(token.split("."), key=len)
    assert len(secret) < 12 or secret not in written
    assert not any(word in said for word in ("kid", "signature", "aud ", "exp ", "Traceback", "joserfc"))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.requirement("25.16")
async def test_a_good_variant_passes(forge: Forge, name: str) -> None:
    answer = await forge.stack.post(CALL, GOOD[name](forge))
    assert answer.status_code == 200, answer.text
    assert "teapot" in answer.text


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer a b",
        "Bearer\ta",
        'Bearer "abc"',
        "Bearer a,Bearer b",
        "eyJhbGciOiJub25lIn0.e30.",
    ],
)
@pytest.mark.requirement("25.10")
async def test_a_malformed_header_is_a_bad_request(stack: Stack, value: str) -> None:
    answer = await stack.post(CALL, authorization=value)
    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "value",
    [
        "Basic dXNlcjpwYXNz",
        "Negotiate YIIabc==",
        'Digest username="a", uri="/"',
        "Negotiate",
        "basic x",
        "Bearers abc",
        "Token abc",
    ],
)
async def test_another_scheme_is_challenged_like_no_token(stack: Stack, value: str) -> None:
    """RFC 9110 §11.6.1: 401 says which scheme to use; a 400 would say that the request can never be right."""
    answer = await stack.post(CALL, authorization=value)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge == (await stack.post(CALL)).headers["www-authenticate"]
    assert "error" not in challenge


async def test_a_public_tool_is_not_served_to_credentials_that_nobody_reads(tmp_path: Path) -> None:
    server = McpServer("open")

    @server.tool(public=True)
    def hello() -> str:
        """Greet."""
        return "hello"

    async with running_stack(tmp_path, server) as stack:
        call = wire.legacy("tools/call", {"name": "hello"})
        assert (await stack.post(call)).status_code == 200
        assert (await stack.post(call, authorization="Basic dXNlcjpwYXNz")).status_code == 401


@pytest.mark.parametrize(("size", "status"), [(8, 200), (15, 200), (16, 431), (60, 431)])
async def test_a_token_over_the_bound_sends_nobody_to_log_in(forge: Forge, size: int, status: int) -> None:
    """RFC 6585 §5: the next token would be as large, so no challenge and no `invalid_token`."""
    answer = await forge.stack.post(CALL, forge.token(pad="x" * (size * 768)))
    assert answer.status_code == status
    assert "www-authenticate" not in answer.headers
    assert "invalid_token" not in answer.text


async def test_the_bound_on_a_token_is_a_setting(tmp_path: Path) -> None:
    async with running_stack(tmp_path, max_token_bytes="65536") as stack:
        forge = Forge(stack)
        assert (await stack.post(CALL, forge.token(pad="x" * 30_000))).status_code == 200
        assert (await stack.post(CALL, forge.token(pad="x" * 50_000))).status_code == 431


@pytest.mark.parametrize(
    "scope",
    [
        "mcp:read\u2003mcp:admin", "mcp:read\x1cmcp:admin", "mcp:read\tmcp:admin", "mcp:read\nmcp:admin", "mcp:read\x85mcp:admin",
        "mcp:read\u200b", "mcp:read\xa0", "\uff4dcp:read", "m\u0441p:read", 'mcp:read"', "mcp:read\\", "mcp:read,mcp:admin", "MCP:READ",
        "\ufeffmcp:read",
    ],
)  # fmt: skip
async def test_what_is_no_scope_token_grants_nothing(forge: Forge, scope: str) -> None:
    answer = await forge.stack.post(CALL, forge.token(scope=scope))
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_an_odd_scope_of_the_realm_does_not_take_the_others_away(forge: Forge) -> None:
    assert (await forge.stack.post(CALL, forge.token(scope=" openid  \u00e9t\u00e9 mcp:read "))).status_code == 200


async def test_two_authorization_headers_are_a_bad_request(forge: Forge) -> None:
    token = f"Bearer {forge.token()}"
    headers = [("content-type", "application/json"), ("authorization", token), ("authorization", token)]
    answer = await forge.stack.http.post(forge.stack.resource, json=CALL, headers=headers)
    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("query", ["access_token=", "a=1&access_token=", "ACCESS_TOKEN=", "access%5Ftoken="])
@pytest.mark.requirement("25.9")
async def test_a_token_in_the_query_is_refused_even_beside_a_good_one(forge: Forge, query: str) -> None:
    token = forge.token()
    headers = {"authorization": f"Bearer {token}"}
    answer = await forge.stack.http.post(f"{forge.stack.resource}?{query}{token}", json=CALL, headers=headers)
    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


@pytest.mark.requirement("25.3", "25.11", "25.13")
async def test_no_token_is_challenged_without_an_error_code(stack: Stack) -> None:
    answer = await stack.post(CALL)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer resource_metadata=")
    assert 'scope="mcp:admin mcp:read mcp:write"' in challenge
    assert "error" not in challenge
