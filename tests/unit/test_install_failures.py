"""What went wrong in a build, from its log."""

from __future__ import annotations

import pytest

from lambent_platform.contracts.runtimes import Language
from lambent_platform.core.install_failures import Diagnosis, of_image, of_install

UNREACHABLE = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object>: Failed to establish a new "
    "connection: [Errno -3] Temporary failure in name resolution')': /simple/idna/\n"
)


@pytest.mark.parametrize(
    ("language", "log", "reason", "permanent"),
    [
        (
            "python",
            "Collecting x\nERROR: Could not find a version that satisfies the requirement nope (from versions: none)\n"
            "ERROR: No matching distribution found for nope\n",
            "ERROR: No matching distribution found for nope",
            True,
        ),
        (
            "python",
            UNREACHABLE
            + "ERROR: Could not find a version that satisfies the requirement idna (from versions: none)\n"
            + "ERROR: No matching distribution found for idna\n",
            "ERROR: No matching distribution found for idna",
            False,
        ),
        (
            "python",
            "error: subprocess-exited-with-error\nlots of output\nERROR: Failed building wheel for nativething\n",
            "ERROR: Failed building wheel for nativething",
            True,
        ),
        (
            "python",
            "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='files.example'): "
            "Max retries exceeded (Caused by ReadTimeoutError('timed out'))\n",
            "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='files.example'): "
            "Max retries exceeded (Caused by ReadTimeoutError('timed out'))",
            False,
        ),
        (
            "python",
            "ERROR: Invalid requirement: '==1' (from line 1 of requirements.txt)\n",
            "ERROR: Invalid requirement: '==1' (from line 1 of requirements.txt)",
            True,
        ),
        (
            "nodejs",
            "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found for is-odd@99.\n"
            "npm ERR! notarget In most cases",
            "npm error ETARGET: notarget No matching version found for is-odd@99.",
            True,
        ),
        (
            "nodejs",
            "npm error code E404\nnpm error 404 Not Found - GET https://registry.npmjs.org/nope\n",
            "npm error E404: 404 Not Found - GET https://registry.npmjs.org/nope",
            True,
        ),
        (
            "nodejs",
            "npm error code EAI_AGAIN\nnpm error syscall getaddrinfo\nnpm error errno EAI_AGAIN\n"
            "npm error request to https://registry.npmjs.org/x failed, reason: getaddrinfo EAI_AGAIN "
            "registry.npmjs.org\n",
            "npm error EAI_AGAIN: request to https://registry.npmjs.org/x failed, reason: getaddrinfo EAI_AGAIN "
            "registry.npmjs.org",
            False,
        ),
        ("python", "", "The install failed without a word.", True),
        ("nodejs", "sh: 1: npm: not found\n", "sh: 1: npm: not found", True),
    ],
)
def test_the_tools_own_line_is_the_reason(language: Language, log: str, reason: str, permanent: bool) -> None:
    """pip and npm each say what failed; only an unreachable network is worth another try."""
    assert of_install(language, log) == Diagnosis(reason, permanent)


def test_an_image_that_cannot_be_had_is_permanent_and_a_registry_that_is_away_is_not() -> None:
    """The engine's own message tells the two apart."""
    assert of_image("manifest for python:9-slim not found: manifest unknown", "").permanent
    assert not of_image("Get https://registry-1.docker.io/v2/: net/http: TLS handshake timeout", "").permanent
    apt = "The command '/bin/sh -c apt-get update' returned a non-zero code: 100"
    assert not of_image(apt, "Err:1 http://deb.debian.org\n  Temporary failure resolving 'deb.debian.org'\n").permanent
    assert of_image(apt, "E: Unable to locate package nope\n").permanent


def test_a_very_long_line_is_cut() -> None:
    """StateReason is read by people."""
    assert len(of_install("python", "ERROR: " + "x" * 10_000).reason) == 500
