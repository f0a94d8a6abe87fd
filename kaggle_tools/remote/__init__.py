"""Files on object storage (S3 and what speaks it, Google Cloud Storage, Azure) beside those on disks.

    file = place("s3://bucket/tables/test.csv")     # a RemoteFile; place("tables/test.csv") is a Path
    with file.open("rb") as handle: ...

Needs the extra `remote`. Who we are is told by the environment and the profiles of the service's own tools; nothing of
that is kept, written anywhere or put into a message.
"""

from kaggle_tools.remote.file import (
    Place,
    RemoteFile,
    RemoteStat,
    is_remote,
    open_bytes,
    place,
    refuse_address,
    shared_place,
)

__all__ = ["Place", "RemoteFile", "RemoteStat", "is_remote", "open_bytes", "place", "refuse_address", "shared_place"]
