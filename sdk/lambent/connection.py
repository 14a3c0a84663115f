"""Where the platform is and as whom to speak to it, by AWS's own variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from lambent.errors import SpecError
from lambent_platform.contracts.limits import DEFAULT_PORT, DEFAULT_REGION

DEFAULT_ENDPOINT = f"http://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, as AWS means it."""

    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """An endpoint, a region and, perhaps, credentials.

    A request is signed where there are credentials. The platform reads the region from the signature, so one that
    was asked for by name is also signed, with a key that says who made it.
    """

    endpoint: str = DEFAULT_ENDPOINT
    region: str = DEFAULT_REGION
    credentials: Credentials | None = None

    @classmethod
    def find(
        cls, *, endpoint: str | None = None, region: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Take what is given, else the environment, else the defaults.

        Variables: `AWS_ENDPOINT_URL_LAMBDA`, `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_DEFAULT_REGION`,
        `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`.

        Raises:
            SpecError: the endpoint is not an http or https URL, or the profile does not exist.
        """
        env = os.environ if environ is None else environ
        url = endpoint or env.get("AWS_ENDPOINT_URL_LAMBDA") or env.get("AWS_ENDPOINT_URL") or DEFAULT_ENDPOINT
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SpecError(f"the endpoint {url!r} is not a URL like {DEFAULT_ENDPOINT}")
        named_region = region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
        credentials: Credentials | None = None
        if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
            credentials = Credentials(
                env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN") or None
            )
        elif env.get("AWS_PROFILE"):
            credentials, profile_region = _from_profile(env["AWS_PROFILE"])
            named_region = named_region or profile_region
        if credentials is None and named_region:
            credentials = Credentials("lambent", "lambent")
        return cls(url.rstrip("/"), named_region or DEFAULT_REGION, credentials)

    def sign(self, service: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers with those of an AWS Signature Version 4 added, where there are credentials."""
        if self.credentials is None:
            return dict(headers)
        # Imported here: botocore takes a while, and most local use has no credentials.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials as SigningCredentials

        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
        keys = SigningCredentials(self.credentials.access_key, self.credentials.secret_key, self.credentials.token)
        SigV4Auth(keys, service, self.region).add_auth(request)
        return {str(name): str(value) for name, value in request.headers.items()}


def _from_profile(profile: str) -> tuple[Credentials | None, str | None]:
    """Read a profile of the shared credentials and config files."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session(profile=profile)
        keys = session.get_credentials()
        region = session.get_config_variable("region")
    except BotoCoreError as error:
        raise SpecError(str(error)) from error
    frozen = keys.get_frozen_credentials() if keys is not None else None
    found = Credentials(frozen.access_key, frozen.secret_key, frozen.token) if frozen is not None else None
    return found, region
