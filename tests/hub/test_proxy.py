"""Requests by way of a proxy."""

import base64
import socket
import threading

import pytest


class Proxy:
    """A proxy that opens tunnels and counts them."""

    def __init__(self, user=None):
        self.user, self.tunnels = user, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"localhost:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.tunnel, args=(connection,), daemon=True).start()

    def tunnel(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        line, *fields = head.decode().split("\r\n")
        self.tunnels.append(line)
        login = "Proxy-Authorization: Basic " + base64.b64encode((self.user or "").encode()).decode()
        if self.user and login not in fields:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            connection.close()
            return
        host, port = line.split()[1].split(":")
        server = socket.create_connection((host, int(port)))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self.pump, args=(server, connection), daemon=True).start()
        self.pump(connection, server)

    @staticmethod
    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def proxy():
    made = []

    def make(**options):
        made.append(Proxy(**options))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


def test_connects_through_a_proxy(check, hub, proxy):
    through = proxy()
    assert check("hf://kjv/model", HTTPS_PROXY="http://" + through.url).status == 0
    port = hub.url.split(":")[-1]
    assert f"CONNECT localhost:{port} HTTP/1.1" in through.tunnels
    assert all(line.startswith("CONNECT localhost:") for line in through.tunnels)


def test_no_proxy(check, proxy):
    through = proxy()
    assert check("hf://kjv/model", HTTPS_PROXY="http://" + through.url, NO_PROXY="example.org,localhost").status == 0
    assert through.tunnels == []


def test_a_proxy_with_a_password(check, proxy):
    through = proxy(user="me:pa ss")
    assert check("hf://kjv/model", https_proxy=f"http://me:pa%20ss@{through.url}").status == 0
    result = check("hf://kjv/model@refs/pr/1", https_proxy=f"http://{through.url}")
    assert result.status == 2 and "asks for a user" in result.err


def test_a_proxy_that_is_none(check):
    result = check("hf://kjv/model", HTTPS_PROXY="socks5://localhost:1080")
    assert result.status == 2 and "only http:// proxies are supported" in result.err
    result = check("hf://kjv/model", HTTPS_PROXY="http://localhost:9")
    assert result.status == 2 and "cannot connect to proxy localhost:9" in result.err
