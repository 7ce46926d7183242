"""The pages a person sees: log in, allow, and what went wrong."""

from collections.abc import Sequence
from html import escape
from typing import Final

from devstack.realm.model import Scope

_STYLE: Final = """
:root { color-scheme: light dark; --ink:#1c2430; --soft:#5b6675; --line:#d8dee6; --card:#fff; --page:#eef1f5;
  --go:#1f5fbf }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e8ecf2; --soft:#9aa6b5; --line:#36404d; --card:#1b222c; --page:#11161d; --go:#5b97ee } }
* { box-sizing:border-box } body { margin:0; min-height:100vh; display:grid; place-items:center; padding:1rem;
  background:var(--page); color:var(--ink); font:16px/1.5 system-ui, sans-serif }
main { width:100%; max-width:26rem; background:var(--card); border:1px solid var(--line); border-radius:12px;
  padding:2rem; box-shadow:0 8px 24px rgb(0 0 0 / .08) }
h1 { font-size:1.35rem; margin:0 0 .25rem } p { margin:.25rem 0 1rem; color:var(--soft) } strong { color:var(--ink) }
label { display:block; margin:.75rem 0 .25rem; font-weight:600 }
input { width:100%; padding:.6rem .7rem; font:inherit; color:inherit; background:transparent;
  border:1px solid var(--line); border-radius:8px }
input:focus, button:focus { outline:3px solid var(--go); outline-offset:1px }
ul { list-style:none; margin:0 0 1rem; padding:0; border:1px solid var(--line); border-radius:8px }
li { padding:.6rem .8rem } li + li { border-top:1px solid var(--line) }
li code { color:var(--soft); font-size:.85rem; display:block }
.row { display:flex; gap:.75rem; margin-top:1.25rem }
button { flex:1; padding:.65rem 1rem; font:inherit; font-weight:600;
  border-radius:8px; border:1px solid var(--line); background:transparent; color:inherit; cursor:pointer }
button.go { background:var(--go); border-color:var(--go); color:#fff } .error { color:#c0392b; font-weight:600 }
footer { margin-top:1.5rem; font-size:.85rem; color:var(--soft) }
"""
_NOTE: Final = "Development server. Users alice, bob and carol; the password is the name."


def login(action: str, client: str, username: str = "", error: str = "") -> str:
    """The login form; after a wrong password it keeps the name, and the cursor stands in the password."""
    at_name, at_password = ("", " autofocus") if username else (" autofocus", "")
    wrong = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return _page(
        "Sign in",
        f"""<h1>Sign in</h1><p>to go on to <strong>{escape(client)}</strong></p>{wrong}
<form method="post" action="{escape(action)}" id="kc-form-login">
<label for="username">Username</label>
<input id="username" name="username" value="{escape(username[:100])}" autocomplete="username"{at_name}
required maxlength="100">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"{at_password}
required maxlength="100">
<div class="row"><button class="go" name="login" id="kc-login">Sign in</button></div></form>""",
    )


def second_factor(action: str, code: str, error: str = "") -> str:
    """The one-time code's form; the code stands on it, for nobody has an authenticator for alice."""
    wrong = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return _page(
        "One-time code",
        f"""<h1>One-time code</h1><p>For development it is <strong>{escape(code)}</strong>.</p>{wrong}
<form method="post" action="{escape(action)}" id="kc-otp-login-form">
<label for="otp">Code</label>
<input id="otp" name="otp" autocomplete="one-time-code" inputmode="numeric" autofocus required maxlength="6">
<div class="row"><button class="go" name="login" id="kc-login">Sign in</button></div></form>""",
    )


def consent(action: str, client: str, user: str, scopes: Sequence[Scope]) -> str:
    """The consent form: what the client asks, in words and as the scope's name."""
    asked = "".join(f"<li>{escape(one.consent)}<code>{escape(one.name)}</code></li>" for one in scopes)
    return _page(
        "Allow access",
        f"""<h1>Allow access?</h1><p><strong>{escape(client)}</strong> wants to act for
<strong>{escape(user)}</strong>:</p><ul>{asked}</ul>
<form method="post" action="{escape(action)}"><div class="row">
<button name="cancel" value="No" id="kc-cancel">Cancel</button>
<button class="go" name="accept" value="Yes" id="kc-login">Allow</button></div></form>""",
    )


def problem(text: str) -> str:
    """What a browser sees when the client cannot be sent an answer."""
    return _page("Sorry", f'<h1>We are sorry…</h1><p class="error" role="alert">{escape(text)}</p>')


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<main>{body}<footer>{_NOTE}</footer></main></html>"
    )
