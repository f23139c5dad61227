"""Real HTTP servers for the tests of writers: a scripted model, and a proxy that breaks what passes through it."""

import http.client
import http.server
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status, content, announce=0, **headers):
        """Answer; ``announce`` more bytes than are sent."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) + announce))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = bool(announce)


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that hangs up, or is killed, is what these tests are about."""


@contextmanager
def running(handler, **state):
    """A server in a thread; gives it, with its ``url``."""
    server = Quiet(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    server.lock, server.requests = threading.Lock(), []
    for name, value in state.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Model(Handler):
    """An OpenAI-compatible server whose answers come from ``server.answer(messages)``; it knows one key and model."""

    def do_POST(self):
        asked, server = json.loads(self.body()), self.server
        with server.lock:
            server.requests.append(asked)
        if self.path != "/v1/chat/completions" or asked["model"] != "scripted":
            return self.reply(404, {"error": {"message": "no such model", "code": "model_not_found"}})
        if self.headers["Authorization"] != f"Bearer {server.key}":
            return self.reply(401, {"error": {"message": f"Incorrect API key: {self.headers['Authorization']}"}})
        text = server.answer(asked["messages"])
        reason = "length" if text.endswith(" ...") else "stop"
        message = {"role": "assistant", "content": text.removesuffix(" ...")}
        usage = getattr(server, "usage", {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340})
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "choices": choices, "usage": usage})


class Proxy(Handler):
    """Passes requests on to ``server.target``, but for the faults in ``server.faults``, one per request.

    A fault is a word that is known below, or a function of this handler.
    """

    def do_POST(self):
        body, server = self.body(), self.server
        with server.lock:
            fault = server.faults.pop(0) if server.faults else None
            server.requests.append(fault)
        if callable(fault):
            return fault(self)
        if fault == "429":
            return self.reply(429, {"error": {"message": "slow down"}}, Retry_After=server.retry_after)
        if fault == "quota":
            return self.reply(429, {"error": {"message": "no money", "code": "insufficient_quota"}})
        if fault == "500":
            return self.reply(500, b"<html>out of order</html>", Content_Type="text/html")
        if fault == "400":
            return self.reply(400, {"error": {"message": f"bad: {self.headers['Authorization']}"}})
        if fault == "other":
            return self.reply(200, b"<html>Welcome</html>", Content_Type="text/html")
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return self.connection.close()
        if fault == "timeout":
            server.released.wait(30)  # until the test is over: its client has long given up
            self.close_connection = True
            return None
        if fault == "half":
            return self.reply(200, b'{"id": "1", "choices": [{"index": 0, "mess', announce=100)
        if fault == "half json":
            return self.reply(200, b'{"id": "1", "choices": [{"index": 0, "mess')
        return self.reply(*self.forward(body))

    def forward(self, body):
        target = urlsplit(self.server.target)
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=120)
        headers = {name: self.headers[name] for name in ("Content-Type", "Authorization")}
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content


@contextmanager
def proxy(target, faults=(), retry_after="0"):
    """A :class:`Proxy` in front of a server's address."""
    released = threading.Event()
    with running(Proxy, target=target, faults=list(faults), retry_after=retry_after, released=released) as server:
        try:
            yield server
        finally:
            released.set()


def drip(*before, pause=0.05, pieces=10_000):
    """A fault: after ``before``, one byte at a time without end."""

    def send(handler):
        handler.wfile.write(b"".join(before))
        for _ in range(pieces):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(pause)

    return send
