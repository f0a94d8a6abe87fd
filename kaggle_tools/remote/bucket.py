"""What we ask of object storage, and the one module that knows the library which asks (obstore, the extra `remote`).

A bucket that never answered is tried for some seconds; one that did is given five minutes to come back, since a job
should not end with a network that fails for a moment. What goes wrong is told by `problems.explain`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kaggle_tools.errors import UserError
from kaggle_tools.remote.access import settings
from kaggle_tools.remote.problems import explain

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")

_PARTS = 9_000  # of an upload; storage takes 10,000
_PART_BYTES = 8 << 20
_PATIENT = {"max_retries": 12, "retry_timeout": timedelta(minutes=5)}
_IMPATIENT = {"max_retries": 4, "retry_timeout": timedelta(seconds=10)}

Found = TypeVar("Found")


@dataclass(frozen=True)
class Bucket:
    """A bucket of a service; keys are of objects in it.

    All methods raise UserError where there is no such bucket, no access or no connection, and FileNotFoundError where
    there is no such object.
    """

    scheme: str
    name: str

    def head(self, key: str) -> ObjectMeta:
        """Size, time and version of an object."""
        import obstore

        return self._call(key, lambda store: obstore.head(store, key))

    def get(self, key: str, start: int | None = None, end: int | None = None, etag: str | None = None) -> bytes:
        """An object's bytes, all or from `start` to `end`; of the version `etag`, or it is an error."""
        import obstore

        options: Any = {} if start is None else {"range": (start, end)}
        if etag is not None:
            options["if_match"] = etag
        return self._call(key, lambda store: bytes(obstore.get(store, key, options=options).bytes()))

    def put(self, key: str, data: bytes | memoryview) -> None:
        """An object, whole or not at all; what was there is replaced."""
        import obstore

        self._call(key, lambda store: obstore.put(store, key, data, use_multipart=False))

    def create(self, key: str, data: bytes) -> bool:
        """An object where there is none, and whether there was none: of several callers one succeeds."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def put(store: ObjectStore) -> bool:
            try:
                obstore.put(store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        return self._call(key, put)

    def upload(self, key: str, file: Path) -> None:
        """A file as an object, whole or not at all: its pieces become one when the last has arrived."""
        import obstore

        size = max(_PART_BYTES, -(-file.stat().st_size // _PARTS))
        self._call(key, lambda store: obstore.put(store, key, file, chunk_size=size, max_concurrency=4))

    def delete(self, key: str) -> None:
        """Remove an object."""
        import obstore

        self._call(key, lambda store: obstore.delete(store, key))

    def below(self, prefix: str, chunk: int = 1000) -> Iterator[ObjectMeta]:
        """All objects whose key begins with `prefix/`, in the order of keys."""
        import obstore

        pages = self._call(prefix, lambda store: iter(obstore.list(store, prefix or None, chunk_size=chunk)))
        while page := self._call(prefix, lambda _: next(pages, None)):
            yield from page

    def right_below(self, prefix: str) -> list[ObjectMeta]:
        """Those of them without a further `/`."""
        import obstore

        found = self._call(prefix, lambda store: obstore.list_with_delimiter(store, prefix or None))
        return list(found["objects"])

    def _call(self, key: str, ask: Callable[[ObjectStore], Found]) -> Found:
        from obstore.exceptions import BaseError

        try:
            found = ask(_open(self, patient=self in _answered))
        except (BaseError, FileNotFoundError) as exc:
            # Not as its cause: what services answer may repeat parts of the request, and ends in logs.
            raise explain(exc, self.scheme, self.name, key) from None
        _answered.add(self)
        return found


_answered: set[Bucket] = set()


@functools.cache
def _open(bucket: Bucket, *, patient: bool) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as exc:
        raise UserError(f"{bucket.scheme}:// needs one more package", next="pip install 'kaggle-jobs[remote]'") from exc
    found = settings(bucket.scheme)
    retry: Any = _PATIENT if patient else _IMPATIENT
    client: Any = {"connect_timeout": "5s", "timeout": "90s", **found.client}
    config: Any = found.store
    provider: Any = {} if found.provider is None else {"credential_provider": found.provider}
    url = f"{bucket.scheme}://{bucket.name}"
    return from_url(url, config=config, client_options=client, retry_config=retry, **provider)
