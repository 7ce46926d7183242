"""Where settings come from, and which place wins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.identity import ScopeRules
from mcp_server.settings import SettingsError, catalogue

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}
KEYS = "k" * 32
NO_ISSUER = "MCP_ISSUER: is required: the URL of the issuer, such as https://keycloak.example.com/realms/NAME"


def problems(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load({**GOOD, **given})
    return found.value.problems


def secret(**given: str) -> str:
    found = settings.load({**GOOD, **given}).auth.client_secret
    assert found is not None
    return found.get_secret_value()


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\ufeffs3cret\r\n", "utf-8")  # as an editor of Windows writes it
    found = settings.load({**GOOD, "MCP_CLIENT_SECRET_FILE": str(tmp_path / "secret")})
    asked = found.auth.config(ScopeRules()).introspection
    assert asked is not None
    assert (asked.client_id, asked.secret) == (GOOD["MCP_RESOURCE"], "s3cret")
    told = "MCP_CLIENT_SECRET_FILE: cannot be read (No such file or directory)"
    assert problems({"MCP_CLIENT_SECRET_FILE": "/nowhere"}) == [told]


def test_a_file_that_is_named_and_empty_is_no_wish_to_do_without(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    told = "MCP_CLIENT_SECRET_FILE: the file is empty"
    assert problems({"MCP_CLIENT_SECRET_FILE": str(tmp_path / "secret")}) == [told]


@pytest.mark.parametrize("setting", [row.name for row in catalogue.rows()])
def test_a_setting_and_its_file_in_one_place_are_a_problem(setting: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    told = f"{setting}: is set, and so is {setting}_FILE: leave one out"
    assert told in problems({setting: "y", f"{setting}_FILE": str(tmp_path / "file")})


def test_of_two_places_the_upper_one_wins_by_either_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("of-the-file")
    env = tmp_path / ".env"
    env.write_text("MCP_ISSUER=https://file.example\nMCP_CLIENT_SECRET=of-dotenv\nMCP_PORT=9000\nOTHER=1\n")
    monkeypatch.setenv("MCP_ISSUER", "https://environment.example")
    monkeypatch.setenv("MCP_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    found = settings.load(env_file=env)
    assert (found.auth.issuer[0].issuer, found.http.port) == ("https://environment.example", 9000)
    assert found.auth.client_secret
    assert found.auth.client_secret.get_secret_value() == "of-the-file"
    monkeypatch.setenv("MCP_CLIENT_SECRET_FILE", "")
    assert "of-dotenv" in str(settings.load(env_file=env).auth.config(ScopeRules()).introspection.secret)  # type: ignore[union-attr]


def test_a_secret_in_dotenv_is_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_OF", "of the environment")
    env = tmp_path / ".env"
    env.write_text("MCP_ISSUER=https://file.example\nMCP_CLIENT_SECRET='a${HOME_OF}$b'\n")
    secret = settings.load(env_file=env).auth.client_secret
    assert secret
    assert secret.get_secret_value() == "a${HOME_OF}$b"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("MCP_CLIENT_SECRET= a b # a comment", "a b"),
        ("MCP_CLIENT_SECRET=a#b", "a#b"),
        (r"MCP_CLIENT_SECRET=a\tb", r"a\tb"),
        (r'MCP_CLIENT_SECRET="a # \"b\\c" # a comment', 'a # "b\\c'),
        (r"MCP_CLIENT_SECRET='a # \"b\'\\c\t'", "a # \\\"b'\\c\\t"),
    ],
)
def test_a_line_of_dotenv_is_read_as_the_page_says(
    line: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MCP_CLIENT_SECRET", raising=False)
    (tmp_path / ".env").write_text(f"MCP_ISSUER=https://file.example\n{line}\n")
    secret = settings.load(env_file=tmp_path / ".env").auth.client_secret
    assert secret
    assert secret.get_secret_value() == value


def test_quoted_values_in_dotenv_go_over_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_SCOPE_IMPLIES", raising=False)
    env = tmp_path / ".env"
    env.write_text('MCP_ISSUER=https://file.example\nMCP_SCOPE_IMPLIES=\'{\n"mcp:write": ["mcp:read"]}\'\n')
    assert settings.load(env_file=env).scopes.scope_implies == {"mcp:write": {"mcp:read"}}


@pytest.mark.parametrize("content", [b"MCP_ISSUER=\xff\xfe", None])
def test_a_dotenv_that_cannot_be_read_is_in_the_report(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_PORT", "x")
    monkeypatch.delenv("MCP_ISSUER", raising=False)
    env = tmp_path / ".env"
    if content is None:
        env.mkdir()  # no file, so none that anybody wrote
        told = []
    else:
        env.write_bytes(content)
        told = [f"{env}: cannot be read (not UTF-8)"]
    with pytest.raises(SettingsError) as found:
        settings.load(env_file=env)
    assert found.value.problems[: len(told)] == told
    assert any(one.startswith("MCP_PORT") for one in found.value.problems)


def test_a_folder_of_secrets_stands_for_what_nothing_else_names(tmp_path: Path) -> None:
    mounted = {"MCP_CLIENT_SECRET": "mounted\n", "MCP_STATE_KEYS": f"{KEYS}\n", "other": ""}
    for name, text in mounted.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "MCP_FOLDER").mkdir()
    folder = {"MCP_SECRETS_DIR": str(tmp_path)}
    found = settings.load({**GOOD, **folder})
    assert (secret(**folder), found.http.port) == ("mounted", 8000)
    assert found.engine_config().state_keys == (KEYS.encode(),)
    assert secret(**folder, MCP_CLIENT_SECRET="named") == "named"
    (tmp_path / "MCP_CLIENT_SECRETS").write_text("x")
    assert problems(folder) == ["MCP_CLIENT_SECRETS: no such setting; did you mean MCP_CLIENT_SECRET?"]
    (tmp_path / "MCP_CLIENT_SECRETS").write_bytes(b"\xff")
    assert problems(folder) == ["MCP_SECRETS_DIR: cannot be read (not UTF-8)"]
    assert problems({"MCP_SECRETS_DIR_FILE": "/x"}) == [
        "MCP_SECRETS_DIR_FILE: no such setting; did you mean MCP_SECRETS_DIR?"
    ]
    told = ["MCP_SECRETS_DIR: cannot be read (No such file or directory)"]
    assert problems({"MCP_SECRETS_DIR": "/nowhere"}) == told


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("MCP_ISSUER: https://kc.example", []),
        ("MCP_ISSUER https://kc.example", []),
        ("MCP_ISSUER", []),
        ("MCP_ISSUER:https://kc.example", []),
        ('MCP_ISSUER="https://kc.example', []),
        ("- MCP_WORKERS=2\nMCP_ISSUER=https://kc.example", []),
        ("- MCP_WORKERS=2", [NO_ISSUER]),
    ],
)
def test_a_line_of_dotenv_that_cannot_be_read_is_in_the_report(
    line: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was a warning of the library's, to a log that nobody had set up, and the setting was at its default."""
    for name in list(os.environ):
        if name.startswith("MCP_"):
            monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(f"MCP_PORT=9000\nnot ours\n\n \n{line}\n")
    with pytest.raises(SettingsError) as found:
        settings.load(env_file=tmp_path / ".env")
    told = f"{tmp_path / '.env'}: line 5 is no NAME=value, or a quotation mark is missing"
    assert found.value.problems == [told, *more]
    assert not caplog.records
    (tmp_path / ".env").write_text("not ours\nDEBUG # beside MCP_PORT\nMCP_ISSUER=https://kc.example\n")
    settings.load(env_file=tmp_path / ".env")


def test_an_empty_file_in_the_folder_is_one_that_is_not_written_yet(tmp_path: Path) -> None:
    """Who writes in place truncates first: keys of this start would stand in place of the stated ones for a moment."""
    (tmp_path / "MCP_STATE_KEYS").write_text("\n")
    (tmp_path / "MCP_CLIENT_SECRET").write_text("")
    (tmp_path / "MCP_NOTHING_OF_OURS").write_text("")
    folder = {"MCP_SECRETS_DIR": str(tmp_path)}
    told = [f"{name}: its file in MCP_SECRETS_DIR is empty" for name in ("MCP_CLIENT_SECRET", "MCP_STATE_KEYS")]
    assert problems(folder) == told
    assert {"MCP_CLIENT_SECRET", "MCP_STATE_KEYS"} <= settings.read({**GOOD, **folder}).unread
    assert problems({**folder, "MCP_CLIENT_SECRET": "stated above"}) == told[1:]


def test_what_a_command_presumes_yields_to_all_else(tmp_path: Path) -> None:
    presumed = {"MCP_ISSUER": "http://localhost", "MCP_STATE_KEYS": KEYS}
    alone = settings.load({}, presumed)
    assert (alone.auth.issuer[0].issuer, alone.engine.sealing_keys()) == ("http://localhost", (KEYS.encode(),))
    (tmp_path / "MCP_ISSUER").write_text("https://mounted.example")
    found = settings.load({"MCP_SECRETS_DIR": str(tmp_path)}, presumed)
    assert found.auth.issuer[0].issuer == "https://mounted.example"


def test_without_keys_each_server_seals_with_one_of_its_own() -> None:
    one, other = (settings.load(GOOD).engine for _ in range(2))
    assert one.sealing_keys() == one.sealing_keys() != other.sealing_keys()


def test_nothing_that_is_read_is_put_where_children_inherit_it(tmp_path: Path) -> None:
    """And what is there already is taken out when the server is loaded."""
    (tmp_path / ".env").write_text("MCP_CLIENT_SECRET=from-dotenv\n")
    code = (
        "import os, subprocess\n"
        "from mcp_server import McpServer, create_app, settings\n"
        "before = set(os.environ)\n"
        "create_app(McpServer('s'))\n"
        "settings.load().engine_config()\n"
        "assert set(os.environ) == before, set(os.environ) - before\n"
        "settings.withdraw_secrets()\n"
        "print(subprocess.run(['env'], capture_output=True, text=True, check=True).stdout)\n"
    )
    given = {**GOOD, "MCP_ACCESS_TOKEN": "of-the-environment", "MCP_STATE_KEYS": KEYS, "MCP_AUDIT_FILE": "audit.jsonl"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("MCP_")}, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MCP_RESOURCE=" in done.stdout
    for hidden in ("from-dotenv", "of-the-environment", KEYS, "MCP_ACCESS_TOKEN"):
        assert hidden not in done.stdout
