"""A server on this machine that speaks Kaggle's submission endpoints, with faults on demand.

The real client reaches it through `http_proxy`, believing that it talks to http://localhost.
"""

import base64
import http.server
import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TOKEN = "KGAT_planted_secret_0123456789abcdef"
USER, KEY = "ada", "planted_key_fedcba9876543210"
ACCEPTED = {f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()}


@dataclass
class FakeKaggle:
    """What the service knows, and how it shall behave.

    Attributes:
        faults: Method → faults of its next calls, first one first: an HTTP status, ``(status, message)``,
            ``(status, message, headers)``, ``drop before``, ``drop after`` (it has been carried out), ``hang after``,
            ``html`` or ``nonsense``.
        scores: Public scores given in order of arrival; None stays pending.
        looks_until_scored: How often a submission is listed as pending first.
    """

    slug: str = "spooky"
    left: int = 5
    today: int = 0
    limited_by_total: bool = False
    faults: dict = field(default_factory=dict)
    scores: list = field(default_factory=lambda: ["0.71234"] * 9)
    private: str = ""
    rejection: str = ""
    looks_until_scored: int = 0
    page_size: int = 100
    submissions: list = field(default_factory=list)
    uploads: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    port: int = 0

    def n_created(self):
        return len(self.submissions)

    def add(self, description, *, status="COMPLETE", public="0.5", private="", name="x.csv"):
        """A submission that somebody made."""
        self.submissions.append(
            {
                "ref": 1000 + len(self.submissions), "date": "2026-11-20T12:00:00.123Z", "fileName": name,
                "description": description, "status": status, "publicScore": public, "privateScore": private,
                "submittedBy": USER, "looks": 0,
            }
        )  # fmt: skip
        return self.submissions[-1]["ref"]

    # The endpoints.

    def IntrospectToken(self, request):
        return {"active": request["token"] == TOKEN, "username": USER}

    def GetSubmissionLimits(self, request):
        return {
            "numToday": self.today,
            "numTotal": self.today + 40 * bool(self.today),
            "numAllowedNow": self.left,
            "limitedByTotal": self.limited_by_total,
        }

    def ListSubmissions(self, request):
        newest_first = self.submissions[::-1]
        start = int(request.get("pageToken") or 0)
        page = newest_first[start : start + self.page_size]
        for item in page:
            item["looks"] += 1
            if item["status"] == "PENDING" and item["looks"] > self.looks_until_scored:
                if self.rejection:
                    item |= {"status": "ERROR", "errorDescription": self.rejection}
                elif item["score"] is not None:
                    item |= {"status": "COMPLETE", "publicScore": item["score"], "privateScore": self.private}
        more = start + self.page_size < len(newest_first)
        shown = [{key: value for key, value in item.items() if key not in ("looks", "score")} for item in page]
        return {"submissions": shown, "nextPageToken": str(start + self.page_size) if more else ""}

    def StartSubmissionUpload(self, request):
        token = f"blob{len(self.uploads)}"
        self.uploads[token] = {"name": request["fileName"], "length": request["contentLength"], "bytes": None}
        return {"token": token, "createUrl": f"http://localhost/upload/{token}?signature=signed_secret"}

    def CreateSubmission(self, request):
        upload = self.uploads[request["blobFileTokens"]]
        assert len(upload["bytes"]) == upload["length"]
        if self.left <= 0:
            return 400, "Submission not allowed: Your team has used its daily Submission allowance (5) today"
        self.left, self.today = self.left - 1, self.today + 1
        ref = self.add(request.get("submissionDescription", ""), status="PENDING", public="", name=upload["name"])
        self.submissions[-1]["score"] = self.scores[len(self.submissions) - 1]
        return {"message": "Successfully submitted", "ref": ref}


def serve(kaggle):
    """Start serving in a thread; gives the server, whose `shutdown` ends it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            method = urlsplit(self.path).path.rsplit("/", 1)[1]
            kaggle.calls.append(method)
            fault = next(iter(kaggle.faults.get(method, [])), None)
            if fault is not None:
                kaggle.faults[method] = kaggle.faults[method][1:]
            self.answer(method, json.loads(body), fault)

        def do_PUT(self):
            kaggle.calls.append("PUT")
            data = self.rfile.read(int(self.headers["Content-Length"]))
            fault = next(iter(kaggle.faults.get("PUT", [])), None)
            if fault is not None:
                kaggle.faults["PUT"] = kaggle.faults["PUT"][1:]
                return self.drop() if fault == "drop" else self.send(fault, {})
            kaggle.uploads[urlsplit(self.path).path.rsplit("/", 1)[1]]["bytes"] = data
            return self.send(200, {})

        def answer(self, method, request, fault):
            if fault == "drop before":
                return self.drop()
            if isinstance(fault, int):
                return self.send(fault, {})
            if isinstance(fault, tuple):
                status, message, headers = (*fault, {})[:3]
                return self.send(status, {"code": status, "message": message}, headers)
            if fault == "html":
                return self.send_text(502, "text/html", "<html><style>b{}</style><h1>Bad &amp; gateway</h1></html>")
            if fault == "nonsense":
                return self.send_text(200, "text/html", "<html>log in to the hotel network</html>")
            if method != "IntrospectToken" and self.headers.get("Authorization") not in ACCEPTED:
                said = self.headers.get("Authorization")
                return self.send(401, {"code": 401, "message": f"Unauthenticated: {said}"})
            if request.get("competitionName", kaggle.slug) != kaggle.slug:
                return self.send(404, {"code": 404, "message": "Not found"})
            outcome = getattr(kaggle, method)(request)
            if fault == "drop after":
                return self.drop()
            if fault == "hang after":
                time.sleep(30)
                return self.drop()
            if isinstance(outcome, tuple):
                return self.send(outcome[0], {"code": outcome[0], "message": outcome[1]})
            return self.send(200, outcome)

        def drop(self):
            self.close_connection = True

        def send(self, status, content, headers=None):
            self.send_text(status, "application/json", json.dumps(content), headers)

        def send_text(self, status, kind, text, headers=None):
            data = text.encode()
            self.send_response(status)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kaggle.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def environment(kaggle, home):
    """What makes the real client talk to it, with no credentials yet and nothing from the user's own settings."""
    return {
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": f"http://127.0.0.1:{kaggle.port}",
        "no_proxy": "",
        "NO_PROXY": "",
        "HTTP_PROXY": "",
        "KAGGLE_API_TOKEN": "",
        "VERBOSE": "true",  # the client would show its headers
    }
