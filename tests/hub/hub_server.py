"""An HTTPS server that behaves as the Hugging Face Hub does, with a storage host of its own, and faults on request.

    server = HubServer(directory)            # writes its certificate there: server.certificate
    server.add("owner/name", files_directory)
    server.add("owner/gated", files_directory, gated=True)
    server.add("owner/odd", files_directory, fault=function)   # see Repository.fault

The hub redirects each file to the storage host (another port), with a signature in the query, and tells X-Repo-Commit,
X-Linked-Size and X-Linked-Etag before. All requests are recorded in `server.requests`.
"""

import hashlib
import json
import ssl
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "hf_secret"


@dataclass
class Repository:
    name: str
    directory: Path
    gated: bool = False
    ranges: bool = True
    # fault(handler, host, file) may answer instead and return True; host: "api", "hub" or "storage".
    fault: object = None
    fixed_commit: str = ""
    told_commit: str = ""  # with the files

    @property
    def commit(self):
        if self.fixed_commit:
            return self.fixed_commit
        names = sorted(f"{p.relative_to(self.directory)} {p.stat().st_mtime_ns}" for p in self.files())
        return hashlib.sha1("\n".join([self.name, *names]).encode()).hexdigest()

    def files(self):
        return [p for p in self.directory.rglob("*") if p.is_file()]

    def etag(self, path):
        """Stands for SHA-256: that of sparse files of hundreds of gigabytes would take too long."""
        stat = path.stat()
        return hashlib.sha256(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()


@dataclass
class Record:
    host: str
    method: str
    path: str
    headers: dict
    status: int = 0
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=None, length=None):
        self.record.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.record.sent += len(body)
        self.wfile.flush()

    def raw(self, text):
        """Sends bytes as they are and closes."""
        self.close_connection = True
        self.wfile.write(text)
        self.wfile.flush()

    def error(self, status, code, message, headers=None):
        self.reply(status, json.dumps({"error": message}).encode(),
                   {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json", **(headers or {})})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        host = self.server.role
        self.record = Record(host, self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        with hub.lock:
            hub.requests.append(self.record)
        if hub.delay:
            time.sleep(hub.delay)
        parts = urllib.parse.urlsplit(self.path)
        path = [urllib.parse.unquote(part) for part in parts.path.strip("/").split("/")]
        try:
            if host == "storage":
                self.storage(path)
            elif path[:2] == ["api", "models"]:
                self.api(path[2:])
            elif len(path) > 4 and path[2] == "resolve":
                self.resolve("/".join(path[:2]), path[3], "/".join(path[4:]))
            else:
                self.error(404, "NotFound", "not found")
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def allowed(self, repository):
        """Answers for a request without access to a repository, and returns False."""
        token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None:
            if token:
                self.error(404, "RepoNotFound", "Repository not found")
            else:
                self.error(401, "RepoNotFound", "Invalid username or password.")
            return False
        return True

    def api(self, path):
        repository = self.server.hub.repositories.get("/".join(path[:2]))
        if not self.allowed(repository):
            return
        if repository.fault and repository.fault(self, "api", ""):
            return
        revision = path[3] if len(path) > 3 else "main"
        if revision not in ("main", repository.commit, "refs/pr/1"):
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        siblings = []
        for file in sorted(repository.files()):
            sibling = {"rfilename": str(file.relative_to(repository.directory))}
            if "blobs" in urllib.parse.urlsplit(self.path).query:
                etag = repository.etag(file)
                sibling |= {"size": file.stat().st_size, "blobId": etag[:40]}
                if file.suffix == ".safetensors":
                    sibling["lfs"] = {"sha256": etag, "size": file.stat().st_size, "pointerSize": 135}
            siblings.append(sibling)
        answer = {"id": repository.name, "modelId": repository.name, "sha": repository.commit, "private": False,
                  "gated": "manual" if repository.gated else False, "disabled": False, "tags": [], "downloads": 0,
                  "likes": 0, "siblings": siblings, "_id": "0"}
        self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def resolve(self, name, revision, file):
        repository = self.server.hub.repositories.get(name)
        if not self.allowed(repository):
            return
        if repository.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.error(401, "GatedRepo", f"Access to model {name} is restricted.")
            return
        if repository.fault and repository.fault(self, "hub", file):
            return
        path = repository.directory / file
        headers = {"X-Repo-Commit": repository.told_commit or repository.commit}
        if revision not in ("main", repository.commit, "refs/pr/1"):
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif not path.is_file():
            self.error(404, "EntryNotFound", "Entry not found", headers)
        else:
            etag = repository.etag(path)
            etag = etag if path.suffix == ".safetensors" else etag[:40]
            query = urllib.parse.urlencode({"X-Amz-Signature": "0123abcd", "Expires": 3600})
            self.reply(302, b"Found. Redirecting", {
                **headers, "X-Linked-Size": path.stat().st_size, "X-Linked-Etag": f'"{etag}"',
                "ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Vary": "Origin, Accept",
                "Location": f"{self.server.hub.storage_url}/{name}/{urllib.parse.quote(file)}?{query}"})

    def storage(self, path):
        repository = self.server.hub.repositories.get("/".join(path[:2]))
        file = "/".join(path[2:])
        if repository and repository.fault and repository.fault(self, "storage", file):
            return
        if repository is None or not (repository.directory / file).is_file():
            self.reply(404, b"<Error>NoSuchKey</Error>")
            return
        self.send_file(repository, repository.directory / file)

    def send_file(self, repository, path):
        size = path.stat().st_size
        etag = f'"{repository.etag(path)}"'
        if self.headers.get("If-None-Match") == etag:
            self.reply(304, headers={"ETag": etag})
            return
        begin, end, status = 0, size, 200
        headers = {"ETag": etag, "Content-Type": "application/octet-stream"}
        asked = self.headers.get("Range") if repository.ranges else None
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(first), min(size, int(last) + 1 if last else size)
            if begin >= size:
                self.reply(416, headers={"Content-Range": f"bytes */{size}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self.record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        with open(path, "rb") as stream:
            stream.seek(begin)
            while begin < end and (piece := stream.read(min(1 << 16, end - begin))):
                self.wfile.write(piece)
                self.record.sent += len(piece)
                begin += len(piece)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub, role, context):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.role, self.context = hub, role, context

    def finish_request(self, request, client_address):  # the handshake in the connection's own thread
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # clients that hang up, and those that distrust the certificate


def make_certificate(directory, names="DNS:localhost,IP:127.0.0.1"):
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}", "-keyout", key,
                    "-out", certificate], check=True, capture_output=True)
    return key, certificate


class HubServer:
    def __init__(self, directory, names="DNS:localhost,IP:127.0.0.1", tls=True):
        self.lock = threading.Lock()
        self.requests = []
        self.repositories = {}
        self.delay = 0
        context = None
        if tls:
            key, self.certificate = make_certificate(Path(directory), names)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, key)
        self.servers = [Server(self, role, context) for role in ("hub", "storage")]
        scheme = "https" if tls else "http"
        self.url, self.storage_url = (f"{scheme}://localhost:{server.server_port}" for server in self.servers)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def add(self, name, directory, **options):
        self.repositories[name] = Repository(name, Path(directory), **options)
        return self.repositories[name]

    def take_requests(self):
        with self.lock:
            taken, self.requests = self.requests, []
        return taken

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
