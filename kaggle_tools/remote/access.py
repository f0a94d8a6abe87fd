"""Who we are to a service and where it is: by its usual environment variables, for S3 also by a profile of `~/.aws`.

What is found goes to the library and nowhere else. A profile without keys of its own (single sign-on, a role, a process
that tells them) is left to boto3 where that is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_INDIRECT = ("sso_session", "sso_start_url", "role_arn", "credential_process", "source_profile")


@dataclass(frozen=True)
class Settings:
    """What the library is told, besides what it reads in the environment itself.

    Attributes:
        store: Of the service: keys, region, endpoint.
        client: Of the connection.
        provider: Asked for keys that change, or None.
    """

    store: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: Mapping[str, bool] = field(default_factory=dict)
    provider: Any = field(default=None, repr=False)


def settings(scheme: str) -> Settings:
    """Where a service is and who we are there.

    Raises:
        UserError: A profile that is named and not there, or has no keys and boto3 is not installed.
    """
    if scheme != "s3":
        return Settings()
    profile = _profile()
    store = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint := endpoint or profile.get("endpoint_url"):
        store["endpoint"] = endpoint
    if not os.environ.get("AWS_REGION"):
        store["region"] = os.environ.get("AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1"
    provider = None
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        store |= {name: profile[name] for name in _KEYS if name in profile}
        if "aws_access_key_id" not in profile and any(name in profile for name in _INDIRECT):
            provider = _boto3()
    return Settings(store, {"allow_http": True} if (endpoint or "").startswith("http://") else {}, provider)


def _profile() -> dict[str, str]:
    """The profile that `AWS_PROFILE` names, else the default one; empty where there is none."""
    name = os.environ.get("AWS_PROFILE") or "default"
    files = [
        Path(os.environ.get(variable) or f"~/.aws/{file}").expanduser()
        for variable, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    ]
    found: dict[str, str] = {}
    known = False
    for path in files:
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (Error, ValueError, OSError):
            raise UserError(f"{path.name} cannot be read", where=path, expected="the format of the AWS tools") from None
        for section in (name, f"profile {name}"):
            if parser.has_section(section):
                known = True
                found |= dict(parser.items(section))
    if not known and "AWS_PROFILE" in os.environ:
        raise UserError(f"there is no profile '{name}'", where=", ".join(map(str, files)), next="set AWS_PROFILE")
    return found


def _boto3() -> Any:
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise UserError(
            "the profile has no keys of its own, and boto3, which could ask for them, is not installed",
            next="pip install boto3, or: eval $(aws configure export-credentials --format env)",
        ) from None
    return Boto3CredentialProvider()
