"""Step-up login as Keycloak has it (RFC 9470): levels of authentication in a browser flow.

Level 1 is the password, level 2 a one-time code besides. Neither is remembered (`loa-max-age` 0): who is asked for a
level shows all of it, and a session alone is level 0. A remembered level 1 would give `mcp-public`, which asks for that
level each time, a code without the person (`clients`).
"""

from typing import Any, Final

FLOW: Final = "mcp browser"
FORMS: Final = f"{FLOW} forms"
LEVELS: Final = {1: "auth-username-password-form", 2: "auth-otp-form"}
"""Level → what is shown for it."""
CONDITION: Final = "conditional-level-of-authentication"
LEVELS_BY_ACR: Final = "acr.loa.map"
ONE_TIME_CODES: Final = {
    "otpPolicyType": "totp",
    "otpPolicyAlgorithm": "HmacSHA1",
    "otpPolicyDigits": 6,
    "otpPolicyPeriod": 30,
    "otpPolicyLookAheadWindow": 1,
    "otpPolicyInitialCounter": 0,
}
"""Keycloak reads none of these without the first: what `in_development` says of codes would be lost."""


def fields(*, development: bool) -> dict[str, Any]:
    """What of the realm makes it; Keycloak makes its own flows beside those that a file lists (seen on 26.7.4).

    In development a code is good for as long as it is shown: tests log in more than once in 30 seconds.
    """
    return {
        **ONE_TIME_CODES,
        "otpPolicyCodeReusable": development,
        "browserFlow": FLOW,
        "authenticationFlows": [
            _flow(
                FLOW,
                _execution("auth-cookie", "ALTERNATIVE"),
                _execution("identity-provider-redirector", "ALTERNATIVE"),
                _subflow(FORMS, "ALTERNATIVE"),
                top=True,
            ),
            _flow(FORMS, *(_subflow(_level(level), "CONDITIONAL") for level in LEVELS)),
            *(
                _flow(_level(level), _execution(CONDITION, "REQUIRED", _level(level)), _execution(shown, "REQUIRED"))
                for level, shown in LEVELS.items()
            ),
        ],
        "authenticatorConfig": [
            {"alias": _level(level), "config": {"loa-condition-level": str(level), "loa-max-age": "0"}}
            for level in LEVELS
        ],
    }


def attributes() -> dict[str, str]:
    """Which `acr` stands for which level."""
    return {LEVELS_BY_ACR: "{" + ",".join(f'"{level}":{level}' for level in LEVELS) + "}"}


def _level(level: int) -> str:
    return f"{FLOW} level {level}"


def _flow(alias: str, *steps: dict[str, Any], top: bool = False) -> dict[str, Any]:
    return {
        "alias": alias,
        "providerId": "basic-flow",
        "topLevel": top,
        "builtIn": False,
        "authenticationExecutions": [{**step, "priority": 10 * place} for place, step in enumerate(steps, 1)],
    }


def _execution(authenticator: str, requirement: str, config: str | None = None) -> dict[str, Any]:
    told = {"authenticatorConfig": config} if config else {}
    return {"authenticator": authenticator, "authenticatorFlow": False, "requirement": requirement, **told}


def _subflow(alias: str, requirement: str) -> dict[str, Any]:
    return {"flowAlias": alias, "authenticatorFlow": True, "requirement": requirement}
