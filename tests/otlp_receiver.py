"""A collector of OpenTelemetry as a process of its own: what it gets, as plain data.

``with receiving() as receiver:`` starts it. It can also be killed, hang, and respond slowly.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

Plain: TypeAlias = dict[str, Any]

MODES = ("accept", "refuse", "slow", "hang", "trickle")
"""What it does with requests: 401; 200 after :data:`SLOW` seconds; no response; a response that
arrives byte by byte and never ends."""
SLOW = 0.5
TRICKLE = 0.05
"""Seconds between two bytes."""
SECONDS = 30
"""Longer than any wait takes."""
ROOT = Path(__file__).parent.parent


class Receiver:
    """``port``: of the collector. ``requests``: those that have arrived, in order: ``signal``
    ("traces" or "metrics"), ``path`` (of HTTP), ``headers``, ``resource``, ``spans``,
    ``metrics``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = process.stdout
        self.port = int(self._output.readline())
        self.requests: list[Plain] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._output:
            self.requests.append(json.loads(line))

    def of(self, kind: str) -> list[Plain]:
        """The requests with traces, or with metrics."""
        return [each for each in self.requests if each["signal"] == kind]

    def spans(self) -> list[Plain]:
        """All spans: ``name``, ``kind``, ``trace_id``, ``span_id``, ``parent_id`` ("" for none),
        ``state``, ``start`` and ``end`` (nanoseconds), ``attributes``, ``links`` (pairs of trace id
        and span id), ``events``, ``error`` (None: not set), ``resource``, ``scope``."""
        return [span for each in self.of("traces") for span in each["spans"]]

    def metrics(self) -> dict[str, list[Plain]]:
        """Of the last report: the points of each metric, with ``attributes`` and ``value``."""
        reports = self.of("metrics")
        return dict(reports[-1]["metrics"]) if reports else {}

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.requests
            time.sleep(0.01)

    def pause(self) -> None:
        """It hangs: its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._output.close()


@contextmanager
def receiving(
    *,
    use_http: bool = True,
    port: int = 0,
    mode: str = "accept",
    certificate: Path | None = None,
) -> Generator[Receiver]:
    """``port``: 0 chooses a free one. ``certificate``: a file with key and chain, for TLS."""
    command = [sys.executable, "-m", "tests.otlp_receiver", "--port", str(port), "--mode", mode]
    command += [] if use_http else ["--grpc"]
    command += [] if certificate is None else ["--certificate", str(certificate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    receiver = Receiver(process)
    try:
        yield receiver
    finally:
        receiver.kill()


# Below: what runs in the process.


def write(headers: dict[str, str], path: str, request: Any) -> None:
    """Print a request as one line."""
    is_traces = type(request).__name__ == "ExportTraceServiceRequest"
    groups = request.resource_spans if is_traces else request.resource_metrics
    line: Plain = {
        "signal": "traces" if is_traces else "metrics",
        "path": path,
        "headers": headers,
        "resource": attributes(groups[0].resource.attributes),
        "spans": [*plain_spans(groups)] if is_traces else [],
        "metrics": {} if is_traces else plain_metrics(groups),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def attributes(pairs: Iterable[Any]) -> Plain:
    return {each.key: value_of(each.value) for each in pairs}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


def plain_spans(groups: Iterable[Any]) -> Iterator[Plain]:
    for group in groups:
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": KINDS[span.kind],
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_id": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "links": [[each.trace_id.hex(), each.span_id.hex()] for each in span.links],
                    "events": [
                        [each.name, each.time_unix_nano, attributes(each.attributes)]
                        for each in span.events
                    ],
                    "error": span.status.message if span.status.code == 2 else None,
                    "has_remote_parent": bool(span.flags & 0x200),
                    "resource": attributes(group.resource.attributes),
                    "scope": scope.scope.name,
                }


KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""https://github.com/open-telemetry/opentelemetry-proto, trace.proto"""


def plain_metrics(groups: Iterable[Any]) -> dict[str, list[Plain]]:
    found = [
        metric for group in groups for scope in group.scope_metrics for metric in scope.metrics
    ]
    return {each.name: [*plain_points(each)] for each in found}


def plain_points(metric: Any) -> Iterator[Plain]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        is_histogram = kind == "histogram"
        value = point.count if is_histogram else getattr(point, point.WhichOneof("value"))
        yield {"attributes": attributes(point.attributes), "value": value}


def serve_http(port: int, mode: str, certificate: str | None) -> None:
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

    requests: dict[str, Any] = {
        "/v1/metrics": metrics.ExportMetricsServiceRequest,
        "/v1/traces": traces.ExportTraceServiceRequest,
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            write(headers, self.path, requests[self.path].FromString(body))
            act(mode)
            if mode == "trickle":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(TRICKLE)
            self.send_response(401 if mode == "refuse" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """A client that has gone away."""

    server = Server(("127.0.0.1", port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()


def serve_grpc(port: int, mode: str, certificate: str | None) -> None:
    import grpc
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

    if mode == "trickle":
        trickle(port)
    server = grpc.server(ThreadPoolExecutor(4))

    def export(request: Any, context: Any) -> Any:
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        write(headers, "", request)
        act(mode)
        if mode == "refuse":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return b""

    for service, kind in (
        ("metrics.v1.MetricsService", metrics.ExportMetricsServiceRequest),
        ("trace.v1.TraceService", traces.ExportTraceServiceRequest),
    ):
        method = grpc.unary_unary_rpc_method_handler(export, kind.FromString, lambda body: body)
        name = f"opentelemetry.proto.collector.{service}"
        handler = grpc.method_handlers_generic_handler(name, {"Export": method})
        server.add_generic_rpc_handlers((handler,))
    address = f"127.0.0.1:{port}"
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        pem = Path(certificate).read_bytes()  # gRPC finds in it what it needs
        port = server.add_secure_port(address, grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def act(mode: str) -> None:
    time.sleep({"slow": SLOW, "hang": 3600}.get(mode, 0))


def trickle(port: int) -> None:
    """A server for gRPC that sends the first frame of HTTP/2, the settings, byte by byte."""
    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    size = 16_380  # the largest: settings have 6 bytes (RFC 9113, 4.2 and 6.5)
    frame = size.to_bytes(3) + b"\x04" + bytes(5) + bytes(size)

    def send(connection: socket.socket) -> None:
        try:
            for byte in frame:
                connection.send(bytes([byte]))
                time.sleep(TRICKLE)
        except OSError:  # the client has gone away
            connection.close()

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=send, args=(connection,), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, default="accept")
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--certificate")
    chosen = parser.parse_args()
    serve = serve_grpc if chosen.grpc else serve_http
    serve(chosen.port, chosen.mode, chosen.certificate)


if __name__ == "__main__":
    main()
