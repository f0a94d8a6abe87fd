"""Who works on a job whose parts lie on object storage, where no lock dies with its process: whoever came last.

A process that begins writes its name there, and looks from time to time whether it still stands there. Where another
was started on the same job, that one takes over and the first ends; a part that both have made by then is the same. So
nothing is stale after a kill, and no clock is asked.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from dataclasses import dataclass

from kaggle_tools.errors import UserError
from kaggle_tools.remote import RemoteFile


@dataclass(frozen=True)
class Claim:
    """That this process is the one at work.

    Attributes:
        place: Where that is written; None where a lock on a disk says it.
        job: The job's id.
        token: Differs between processes.
    """

    place: RemoteFile | None
    job: str
    token: str

    @classmethod
    def make(cls, shared: RemoteFile | None, job: str) -> Claim:
        """Write it down, in the place of whoever was at work before.

        Raises:
            UserError: No such bucket, no access, no connection.
        """
        claim = cls(None if shared is None else shared / "holder.json", job, uuid.uuid4().hex)
        if claim.place is not None:
            who = {"token": claim.token, "pid": os.getpid(), "host": platform.node()}
            claim.place.write_bytes(json.dumps(who).encode())
        return claim

    def check(self) -> None:
        """Make sure that nobody took over.

        Raises:
            UserError: Somebody did; no access, no connection.
        """
        if self.place is None:
            return
        try:
            who = json.loads(self.place.read_bytes())
        except (FileNotFoundError, ValueError):
            who = {}
        if who.get("token") != self.token:
            raise UserError(
                f"job {self.job} was taken over by process {who.get('pid', '?')} on {who.get('host', '?')}",
                where=self.place,
                next="wait for that one; what this one has committed counts there",
            )
