"""Signatures, made and checked by edgepack and by the system's openssl, each for the other."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import edgepack
from edgepack.base.errors import RequestError, SafetyError
from edgepack.bundle.sign import sign
from edgepack.bundle.signature import beside
from edgepack.cli import main
from tests.unit.test_runtime_model import doubler

Private = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def write_keys(folder: Path, name: str, key: Private) -> tuple[Path, Path]:
    """Write ``NAME.pem`` and ``NAME.pub.pem``."""
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    spki = PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, spki))
    return secret, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "k", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return doubler(tmp_path)


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("openssl")
    if program is None:
        assert not os.environ.get("CI"), "scripts/setup installs openssl"
        pytest.skip("scripts/setup installs openssl")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def openssl_verifies(bundle: Path, public: Path) -> bool:
    raw = ("-rawin", "-in", bundle, "-sigfile", beside(bundle))
    return openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, *raw).returncode == 0


def test_openssl_accepts_our_signature_and_refuses_it_for_other_bytes(
    bundle: Path, keys: tuple[Path, Path]
) -> None:
    sign(bundle, keys[0])
    assert openssl_verifies(bundle, keys[1])
    bundle.write_bytes(bundle.read_bytes() + b"\0")
    assert not openssl_verifies(bundle, keys[1])


def test_keys_and_signatures_of_openssl_are_taken(bundle: Path, tmp_path: Path) -> None:
    secret, public = tmp_path / "made.pem", tmp_path / "made.pub.pem"
    assert openssl("genpkey", "-algorithm", "ed25519", "-out", secret).returncode == 0
    assert openssl("pkey", "-in", secret, "-pubout", "-out", public).returncode == 0
    raw = ("-rawin", "-in", bundle, "-out", beside(bundle))
    assert openssl("pkeyutl", "-sign", "-inkey", secret, *raw).returncode == 0
    assert edgepack.load(bundle, public_key=public).selftest().n == 1
    theirs = beside(bundle).read_bytes()
    sign(bundle, secret, replace=True)
    assert beside(bundle).read_bytes() == theirs, "Ed25519 leaves nothing to chance"


def test_a_key_can_be_built_into_an_app(bundle: Path, keys: tuple[Path, Path]) -> None:
    sign(bundle, keys[0])
    assert edgepack.load(str(bundle), public_key=keys[1].read_bytes()).selftest().n == 1


def test_what_is_not_signed_is_refused_where_a_key_is_given(
    bundle: Path, keys: tuple[Path, Path]
) -> None:
    with pytest.raises(SafetyError, match="is not signed") as caught:
        edgepack.load(bundle, public_key=keys[1])
    assert (caught.value.code, caught.value.exit_code) == ("E-SIGNATURE", 7)


def test_a_bundle_that_was_changed_soundly_is_refused(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """A forger can make all digests right; the signature is what cannot be made."""
    sign(bundle, keys[0])
    doubler(tmp_path, golden={"n": 1, "tolerance": {"y": 1.0}})
    assert edgepack.load(bundle).manifest.golden.tolerance == {"y": 1.0}
    with pytest.raises(SafetyError, match="changed after it was signed"):
        edgepack.load(bundle, public_key=keys[1])


def test_what_another_signed_is_refused(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other, _ = write_keys(tmp_path, "other", ed25519.Ed25519PrivateKey.generate())
    sign(bundle, other)
    with pytest.raises(SafetyError, match="with another key"):
        edgepack.load(bundle, public_key=keys[1])


@pytest.mark.parametrize("content", [b"", b"x" * 63, b"x" * 65, b"x" * 64])
def test_a_file_that_is_no_signature_is_refused(
    bundle: Path, keys: tuple[Path, Path], content: bytes
) -> None:
    beside(bundle).write_bytes(content)
    with pytest.raises(SafetyError) as caught:
        edgepack.load(bundle, public_key=keys[1])
    assert caught.value.code == "E-SIGNATURE"


def test_a_folder_for_a_signature_is_none(bundle: Path, keys: tuple[Path, Path]) -> None:
    beside(bundle).mkdir()
    with pytest.raises(SafetyError, match="is not signed"):
        edgepack.load(bundle, public_key=keys[1])


def bad_keys(folder: Path) -> dict[str, Path]:
    ours = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    secret, public = write_keys(folder, "ed", ours)
    rsa_secret, rsa_public = write_keys(folder, "rsa", rsa.generate_private_key(65537, 2048))
    locked = folder / "locked.pem"
    asked = BestAvailableEncryption(b"passphrase")
    locked.write_bytes(ours.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, asked))
    text = folder / "text.pem"
    text.write_text("not a key")
    return {
        "secret": secret,
        "public": public,
        "rsa": rsa_secret,
        "rsa public": rsa_public,
        "locked": locked,
        "text": text,
        "missing": folder / "none.pem",
        "folder": folder,
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("public", "is a public key"),
        ("rsa", "another kind than Ed25519"),
        ("locked", "is encrypted"),
        ("text", "holds no private key"),
        ("missing", "there is no key"),
        ("folder", "there is no key"),
    ],
)
def test_a_key_that_cannot_sign_is_named_and_nothing_is_written(
    bundle: Path, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        sign(bundle, bad_keys(tmp_path)[name])
    assert (caught.value.code, bool(caught.value.hint)) == ("E-KEY", True)
    assert not beside(bundle).exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("secret", "is a private key"),
        ("locked", "is a private key"),
        ("rsa public", "another kind than Ed25519"),
        ("text", "holds no public key"),
        ("missing", "there is no key"),
    ],
)
def test_a_key_that_cannot_verify_is_named(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path, name: str, words: str
) -> None:
    sign(bundle, keys[0])
    with pytest.raises(RequestError, match=words) as caught:
        edgepack.load(bundle, public_key=bad_keys(tmp_path)[name])
    assert (caught.value.code, bool(caught.value.hint)) == ("E-KEY", True)


def test_a_damaged_bundle_is_not_signed(bundle: Path, keys: tuple[Path, Path]) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-1])
    with pytest.raises(SafetyError):
        sign(bundle, keys[0])
    assert not beside(bundle).exists()


def test_the_command_line_signs_once_and_verifies(
    bundle: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    secret, public = map(str, keys)
    assert main(["verify", str(bundle), "--key", public]) == 7
    assert main(["sign", str(bundle), "--key", secret]) == 0
    assert main(["sign", str(bundle), "--key", secret]) == 2
    assert main(["sign", str(bundle), "--key", secret, "--force"]) == 0
    capsys.readouterr()
    assert main(["verify", str(bundle), "--key", public, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["signed"] is True
