"""Keys and tokens: RS256 and ES256, Keycloak's claim shapes, rotation on request."""

import secrets
import time
import uuid
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey

from devstack.authserver.faults import Faults
from devstack.authserver.pending import Login
from devstack.realm.model import Client, Realm, User

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_S: Final = 120
SigningAlgorithm = Literal["RS256", "ES256"]
ENCRYPTION_KEY: Final = {
    "kty": "RSA",
    "use": "enc",
    "alg": "RSA-OAEP",
    "kid": "encryption",
    "n": "u28z-NfHn_Ve_MM9liPJUTMAqLzbh646gR87SqBI7qZwE0N4bIwnqXGyqRD4YArditPc6Xd4f98ELfYTExkLHC4ShwObBzA6hxWIq_coulHhu"
    "HTvL7-XnIe3AGow014xF4xPObHdGg16uMXem9UPfhfdaXV36bCC4Xr4w8HAzlfVbtkjdbVSWcNbNc2tkx7nWso-ztXN_dUVet2etblzTPv2TLl6fgiJi-_"
    "cgIT7kwdSJYTL_ST5ZTEc5HYdJ9vliQjbPmMC76Cf9zxG1f-XPtxhztyht4MEe7IVgsxSyZyQVITgxhDuwMDMvhJiu9B8InaT-FpiRQk_Vq10qUrCIw",
    "e": "AQAB",
}
"""Published as Keycloak publishes one, and nobody has its other half. A right one: libraries read the whole set."""


def new_rsa() -> RSAPrivateKey:
    """A private key for one that signs."""
    return generate_private_key(65537, 2048)


class Keyring:
    """The signing keys, newest first; retired ones stay published until they are dropped."""

    def __init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = []
        self.refresh_key = OctKey.import_key(secrets.token_bytes(64))
        self.rotate()

    def rotate(self, *, drop_old: bool = False) -> None:
        """New keys sign from now on; with `drop_old` the former ones are no longer published."""
        rsa = RSAKey.import_key(new_rsa(), {"use": "sig", "alg": "RS256", "kid": secrets.token_urlsafe(16)})
        ec = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": secrets.token_urlsafe(16)})
        self.keys = [rsa, ec, *([] if drop_old else self.keys)][:8]

    def signing(self, algorithm: SigningAlgorithm) -> RSAKey | ECKey:
        """The key that signs now."""
        return next(key for key in self.keys if key.alg == algorithm)

    def document(self) -> dict[str, Any]:
        """The JWKS, with an encryption key beside ours as Keycloak has one."""
        return {"keys": [*(key.as_dict(private=False) for key in self.keys), ENCRYPTION_KEY]}


class TokenIssuer:
    """Makes tokens for a realm and reads its own back."""

    def __init__(self, realm: Realm, keyring: Keyring, faults: Faults) -> None:
        self._realm, self._keyring, self._faults = realm, keyring, faults
        self.algorithm: SigningAlgorithm = "RS256"

    def granted(self, asked: str, roles: tuple[str, ...]) -> str:
        """The asked scopes less those whose role is missing; nobody is told, as Keycloak does."""
        scopes = [self._realm.scope(name) for name in dict.fromkeys(asked.split())]
        return " ".join(one.name for one in scopes if one and one.in_token and (not one.roles or one.roles & {*roles}))

    def access_token(
        self,
        client: Client,
        user: User | None,
        scope: str,
        sid: str,
        login: Login | None = None,
        *,
        audiences: frozenset[str] | None = None,
    ) -> str:
        """An access token with Keycloak's header `JWT` and claim `typ: Bearer`; without a `login` it is a client's.

        Its audiences are those of its scopes unless they are said.
        """
        held = user.roles if user else client.roles
        granted = [found for one in scope.split() if (found := self._realm.scope(one))]
        roles = sorted(set(held) & {role for one in granted for role in one.roles})
        meant_for = sorted({one.audience for one in granted if one.audience} if audiences is None else audiences)
        claims = self._base("Bearer", client.client_id, user) | {"scope": scope, **_told(login)}
        if meant_for:
            claims["aud"] = meant_for[0] if len(meant_for) == 1 else meant_for
        if roles:
            claims["realm_access"] = {"roles": roles}
        if user and sid:
            claims["sid"] = sid
        return self._sign(claims)

    def id_token(self, client: Client, user: User, sid: str, nonce: str | None, login: Login | None = None) -> str:
        """An ID token, which a resource server must refuse."""
        claims = self._base("ID", client.client_id, user) | {"aud": client.client_id, "sid": sid, **_told(login)}
        return self._sign(claims | ({"nonce": nonce} if nonce else {}))

    def logout_token(self, client: Client, user: User, sid: str) -> str:
        """What a client is told when a login of its is over."""
        claims = self._base("Logout", client.client_id, user) | {"aud": client.client_id, "sid": sid}
        claims |= {"exp": claims["iat"] + LOGOUT_S, "events": {LOGOUT_EVENT: {}}}
        kept = {name: value for name, value in claims.items() if name not in ("azp", "preferred_username")}
        return self._sign(kept, typ="logout+jwt")

    def refresh_token(self, client: Client, user: User, sid: str) -> tuple[str, str]:
        """A refresh token and its id; signed with a key of the server's own, as Keycloak does."""
        claims = self._base("Refresh", client.client_id, user) | {"aud": self._realm.issuer, "sid": sid}
        claims["exp"] = int(time.time()) + self._realm.refresh_token_s
        header = {"alg": "HS512", "typ": "JWT", "kid": "refresh"}
        token = jwt.encode(header, claims, self._keyring.refresh_key, algorithms=["HS512"])
        return token, str(claims["jti"])

    def read_refresh(self, token: str) -> dict[str, Any] | None:
        """The claims of a refresh token of ours that has not run out."""
        return self._read(token, self._keyring.refresh_key, "HS512")

    def read_access(self, token: str) -> dict[str, Any] | None:
        """The claims of an access token of ours that has not run out."""
        return self._read_signed(token, "Bearer")

    def read_id(self, token: str) -> dict[str, Any] | None:
        """The claims of an ID token of ours that has not run out."""
        return self._read_signed(token, "ID")

    def _read_signed(self, token: str, typ: str) -> dict[str, Any] | None:
        for key in self._keyring.keys:
            claims = self._read(token, key, str(key.alg))
            if claims is not None:
                return claims if claims.get("typ") == typ else None
        return None

    def _read(self, token: str, key: RSAKey | ECKey | OctKey, algorithm: str) -> dict[str, Any] | None:
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm]).claims
        except (JoseError, ValueError):
            return None
        return claims if claims.get("exp", 0) > time.time() else None

    def _base(self, typ: str, client_id: str, user: User | None) -> dict[str, Any]:
        now = int(time.time() + self._faults.clock_ahead_s)
        name = user.username if user else f"service-account-{client_id}"
        return {
            "exp": now + self._realm.access_token_s,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "iss": self._realm.issuer,
            "sub": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._realm.issuer}/{name}")),
            "typ": typ,
            "azp": client_id,
            "preferred_username": name,
        }

    def _sign(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        key = self._keyring.signing(self.algorithm)
        header = {"alg": self.algorithm, "typ": typ, "kid": str(key.kid)}
        return jwt.encode(header, claims, key, algorithms=[self.algorithm])


def _told(login: Login | None) -> dict[str, Any]:
    """How and when a person logged in, as Keycloak's tokens say it; a client's own have an `acr` all the same."""
    return {"acr": "1"} if login is None else {"acr": str(login.level), "auth_time": login.auth_time}
