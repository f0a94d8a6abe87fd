"""What object storage says when something is wrong, told to a person.

Answers are long, and some repeat the key's id or the signed text: of each only its code and its sentence are taken.
"""

from __future__ import annotations

import re

from kaggle_tools.errors import UserError

_BAD_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_WHO = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket AWS_SKIP_SIGNATURE=true",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; for a public bucket GOOGLE_SKIP_SIGNATURE=true",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and a key, a token or a login of the Azure tools",
}
_WHERE = {
    "s3": "the network, AWS_REGION and, where the service is not Amazon's, AWS_ENDPOINT_URL",
    "gs": "the network",
    "az": "the network and AZURE_STORAGE_ACCOUNT_NAME",
}


def explain(problem: Exception, scheme: str, bucket: str, key: str) -> Exception:
    """The error to raise in place of what the library raised.

    Args:
        problem: What it raised.
        scheme: Of the service.
        bucket: What was asked.
        key: Of the object.

    Returns:
        A FileNotFoundError where there is no such object, else a UserError.
    """
    said, url = str(problem), f"{scheme}://{bucket}/{key}"
    code = _one(r"<Code>(\w+)</Code>", said)
    kind = type(problem).__name__
    if code == "NoSuchBucket":
        return UserError(f"there is no bucket '{bucket}'", where=url, next=f"check its name, {_WHERE[scheme]}")
    if kind == "FileNotFoundError":
        return FileNotFoundError(url)
    if code in _BAD_KEYS:
        return UserError(f"the credentials are not accepted: {code}", where=url, next=f"set {_WHO[scheme]}")
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return UserError(
            "access is denied",
            where=url,
            found=_one(r"<Message>([^<]{1,200})</Message>", said) or "status 403, which may also stand for no such key",
            next=f"ask for the right to read, list and write there, or set {_WHO[scheme]}",
        )
    if kind == "PreconditionError":
        return UserError(
            f"{key.rpartition('/')[2]} changed while it was read",
            where=url,
            next="run the same command again",
        )
    if re.search(r"Missing\w*AccessKey|169\.254\.169\.254|metadata\.google|metadata/identity", said):
        return UserError(f"no credentials for {scheme}:// were found", where=url, next=f"set {_WHO[scheme]}")
    if "edirect" in said:
        return UserError(f"the bucket '{bucket}' is in another region", where=url, next="set AWS_REGION to its region")
    if status := _one(r"status code: (\d{3} [A-Za-z ]+)", said):
        found = " ".join(filter(None, (status.strip(), code, _one(r"<Message>([^<]{1,200})</Message>", said))))
        return UserError(f"{scheme}:// could not do it", where=url, found=found, next="run the same command again")
    return UserError(
        f"no answer from {_one('https?://[^/ ?]+', said) or scheme + '://'}",
        where=url,
        found=_one(r'(?:message|error): "([^"]{1,200})"', said) or "the connection failed",
        next=f"check {_WHERE[scheme]}; then run the same command again",
    )


def _one(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[found.re.groups] if found else None
