"""A model hub on this machine: as much of its HTTP interface as downloading needs, over folders of a test.

with LocalHub({"owner/name": {"main": folder}}) as hub:   # revision name -> folder with the files
    hub.url; hub.requests   # "GET /api/models/...", in the order they came
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")  # what a hub keeps in LFS


def commit_of(folder: Path) -> str:
    """Return the commit of a folder's content: 40 hexadecimal digits."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [f"{path.relative_to(folder)} {hashlib.sha1(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha1("\n".join(names).encode()).hexdigest()


class LocalHub:
    """A hub at ``url`` while the block runs."""

    def __init__(self, repositories: dict[str, dict[str, Path]]) -> None:
        """Serve ``repositories``; the commit of each revision is that of its files now."""
        self.revisions = {
            (name, key): (commit_of(folder), folder)
            for name, revisions in repositories.items()
            for revision, folder in revisions.items()
            for key in (revision, commit_of(folder))
        }
        self.requests: list[str] = []
        # What goes wrong on the way: file name -> bytes that arrive instead.
        self.spoiled: dict[str, bytes] = {}
        self._listed = {commit: listing(folder) for commit, folder in self.revisions.values()}

    def __enter__(self) -> LocalHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloads(self) -> list[str]:
        """Return the names of the files whose content was asked for."""
        return [line.rsplit("/", 1)[1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]

    def files(self, commit: str) -> list[dict[str, Any]]:
        """Return path, size, git name and (large files) SHA-256 of a commit's files."""
        return self._listed[commit]


def listing(folder: Path) -> list[dict[str, Any]]:
    """Return what a hub says of each file."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        entry: dict[str, Any] = {"type": "file", "path": str(path.relative_to(folder)), "size": len(content)}
        if path.suffix in LARGE:
            entry["oid"] = hashlib.sha1(b"pointer" + content).hexdigest()
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        else:
            entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        found.append(entry)
    return found


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Headers of a file."""
        self._answer(with_content=False)

    def do_GET(self) -> None:
        """Information, listings and files."""
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        patterns = {
            self._information: r"/api/models/(?P<name>[\w.-]+/[\w.-]+)/revision/(?P<revision>.+)",
            self._tree: r"/api/models/(?P<name>[\w.-]+/[\w.-]+)/tree/(?P<revision>.+)",
            self._file: r"/(?P<name>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
        }
        for answer, pattern in patterns.items():
            if match := re.fullmatch(pattern, path):
                name, revision = match["name"], match["revision"]
                if not any(known == name for known, _ in self.hub.revisions):
                    return self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, with_content)
                if (name, revision) not in self.hub.revisions:
                    return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, with_content)
                commit, folder = self.hub.revisions[name, revision]
                return answer(name, commit, folder, match.groupdict().get("file", ""), with_content)
        return self._send(404, b"", {}, with_content)

    def _information(self, name: str, commit: str, folder: Path, _: str, with_content: bool) -> None:
        siblings = [
            {"rfilename": f["path"], "size": f["size"], "blobId": f["oid"]}
            | ({"lfs": {"sha256": f["lfs"]["oid"], "size": f["size"], "pointerSize": 130}} if "lfs" in f else {})
            for f in self.hub.files(commit)
        ]
        self._json({"id": name, "modelId": name, "sha": commit, "siblings": siblings}, with_content)

    def _tree(self, name: str, commit: str, folder: Path, _: str, with_content: bool) -> None:
        self._json(self.hub.files(commit), with_content)

    def _file(self, name: str, commit: str, folder: Path, file: str, with_content: bool) -> None:
        listed = next((f for f in self.hub.files(commit) if f["path"] == file), None)
        if listed is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_content)
        etag = listed["lfs"]["oid"] if "lfs" in listed else listed["oid"]
        content = self.hub.spoiled.get(file, (folder / file).read_bytes())
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"'}
        headers["X-Linked-Size"] = str(listed["size"])
        return self._send(200, content, headers, with_content)

    def _json(self, value: Any, with_content: bool) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, with_content)

    def _send(self, status: int, content: bytes, headers: dict[str, str], with_content: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_content:
            self.wfile.write(content)


class Listener:
    """A port that notes every connection and answers none, where nothing should connect."""

    def __enter__(self) -> Listener:
        import socket

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._count, daemon=True).start()
        return self

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def __exit__(self, *_: Any) -> None:
        self._socket.close()
