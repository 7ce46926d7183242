"""`python -m release`: build, list, sign and verify, as the release workflow does and as anybody can by hand."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import click

from release import build, images, lock, provenance, sbom, signing

PASSWORD: Final = "RELEASE_KEY_PASSWORD"  # noqa: S105 - the variable's name
PROVENANCE: Final = "provenance.intoto.json"
ENVELOPE: Final = ".dsse"
SBOM: Final = "sbom.cdx.json"
FILES: Final = click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
FOLDER: Final = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
PUBLIC: Final = click.option(
    "--key", required=True, type=click.Path(exists=True, path_type=Path), help="the public key"
)
PRIVATE: Final = click.option(
    "--key", required=True, type=click.Path(exists=True, path_type=Path), help=f"its password is in {PASSWORD}"
)


SIGNED: Final = frozenset({signing.SUFFIX, ENVELOPE})
"""What signing writes: it is neither signed again nor part of what a statement is about."""


class Commands(click.Group):
    """Commands whose failure is a line: a key, a password, a folder or a program that is not as it must be."""

    def invoke(self, ctx: click.Context) -> Any:
        """As any group's."""
        try:
            return super().invoke(ctx)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode() if isinstance(error.stderr, bytes) else error.stderr or ""
            raise click.ClickException(f"{error.cmd[0]} failed: {said.strip()}") from error


@click.group(cls=Commands)
def main() -> None:
    """What a release is made of, and how it is checked."""


@main.command(name="build")
@FOLDER
def build_both(folder: Path) -> None:
    """Build wheel and source archive into FOLDER."""
    for path in build.build(folder):
        click.echo(f"{provenance.digest(path)}  {path.name}")


@main.command()
@click.argument("one", type=click.Path(exists=True, path_type=Path))
@click.argument("other", type=click.Path(exists=True, path_type=Path))
def same(one: Path, other: Path) -> None:
    """Refuse two builds that are not the same bytes."""
    _refuse("not reproducible", build.unlike(one, other))


@main.command(name="sbom")
@FOLDER
def list_wheel(folder: Path) -> None:
    """Write the wheel's bill of materials from the lock, held against CycloneDX's schema and the lock."""
    bill = sbom.of_lock(validate=True)
    _refuse("not as locked", sbom.unlike(bill, lock.read()))
    _write(folder / SBOM, bill)


@main.command()
@click.argument("image")
@click.option("--base", required=True, help="the image it is built on, by its digest")
@FOLDER
def image_sbom(image: str, base: str, folder: Path) -> None:
    """Write what is in IMAGE, held against the lock; needs docker."""
    if not images.DIGEST.fullmatch(base):
        raise click.ClickException(f"{base} has no digest")
    try:
        bill = sbom.of_image(
            sbom.of_lock(), base, images.python_packages(image), images.debian_packages(image), lock.read()
        )
    except sbom.Differs as error:
        raise click.ClickException(f"not as locked: {error}") from error
    _write(folder / f"image.{SBOM}", bill)


@main.command()
@FOLDER
def state(folder: Path) -> None:
    """Write the provenance of the files in FOLDER, unsigned."""
    files = [path for path in folder.iterdir() if path.suffix not in SIGNED and path.name != PROVENANCE]
    builder = os.environ.get("RELEASE_BUILDER", provenance.LOCAL)
    said = provenance.statement(files, commit=build.commit(), epoch=build.epoch(), locked=lock.read(), builder=builder)
    _write(folder / PROVENANCE, said)


@main.command()
@click.argument("private", type=click.Path(path_type=Path))
@click.argument("public", type=click.Path(path_type=Path))
def new_key(private: Path, public: Path) -> None:
    """Make a key of P-256; its password is in RELEASE_KEY_PASSWORD."""
    if not _password():
        raise click.ClickException(f"{PASSWORD} is not set: the key would lie open")
    sealed, opened = signing.new_key(_password())
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(sealed)
    public.write_bytes(opened)


@main.command()
@PRIVATE
@FILES
def sign(key: Path, files: tuple[Path, ...]) -> None:
    """Write a signature beside each file, signatures left aside; what states provenance becomes a signed envelope."""
    opened = signing.private_key(key.read_bytes(), _password())
    for path in files:
        if path.suffix in SIGNED:
            continue
        if path.name == PROVENANCE:
            path.with_suffix(ENVELOPE).write_bytes(signing.attest(json.loads(path.read_bytes()), opened))
        else:
            signing.sign_file(path, opened)


@main.command()
@PUBLIC
@FILES
def verify(key: Path, files: tuple[Path, ...]) -> None:
    """Check each file by the signature beside it, and all of them by the envelope among them."""
    opened = signing.public_key(key.read_bytes())
    bad: list[str] = []
    for path in files:
        try:
            if path.suffix == ENVELOPE:
                said = signing.attested(path.read_bytes(), opened)
                subjects = {one["name"] for one in said["subject"]}
                bad += provenance.unlike(said, [one for one in files if one.name in subjects])
            else:
                signing.verify_file(path, opened)
        except signing.BadSignature as error:
            bad.append(f"{path.name}: {error}")
    _refuse("not what was signed", bad)
    click.echo(f"{len(files)} files are what was signed")


@main.command(name="images")
def list_images() -> None:
    """Print every image that is used; refuse one without a digest."""
    for image, places in sorted(images.used().items()):
        click.echo(f"{image}  {', '.join(places)}")
    _refuse("without a digest", images.floating())


def _password() -> str:
    return os.environ.get(PASSWORD, "")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    click.echo(path)


def _refuse(why: str, what: Any) -> None:
    if what:
        raise click.ClickException(f"{why}: {', '.join(what)}")


if __name__ == "__main__":
    main(prog_name="python -m release")
