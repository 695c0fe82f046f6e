"""Collectors of OpenTelemetry: small servers that keep what they get."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from trustme import LeafCert

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"


class Received(NamedTuple):
    """``path``: of HTTP. ``headers``: under lower-case names."""

    path: str
    headers: dict[str, str]
    request: ExportMetricsServiceRequest

    @property
    def resource(self) -> dict[str, str]:
        [metrics] = self.request.resource_metrics
        return attributes(metrics.resource.attributes)

    @property
    def metrics(self) -> dict[str, Metric]:
        """By name."""
        [metrics] = self.request.resource_metrics
        return {each.name: each for scope in metrics.scope_metrics for each in scope.metrics}


def attributes(pairs: Iterator[KeyValue]) -> dict[str, str]:
    return {each.key: each.value.string_value for each in pairs}


class Collector:
    """``port``: of the server. ``status``: what it responds over HTTP."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        self.received: list[Received] = []


@contextmanager
def open_http_collector(port: int = 0, certificate: LeafCert | None = None) -> Generator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = ExportMetricsServiceRequest.FromString(body)
            collector.received.append(Received(self.path, headers, request))
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    collector.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def open_grpc_collector(port: int = 0, certificate: LeafCert | None = None) -> Generator[Collector]:
    collector = Collector()

    def export(
        request: ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        collector.received.append(Received("", headers, request))
        return ExportMetricsServiceResponse()

    method = grpc.unary_unary_rpc_method_handler(
        export,
        ExportMetricsServiceRequest.FromString,
        ExportMetricsServiceResponse.SerializeToString,
    )
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        handler = grpc.method_handlers_generic_handler(SERVICE, {"Export": method})
        server.add_generic_rpc_handlers((handler,))
        address = f"127.0.0.1:{port}"
        if certificate is None:
            collector.port = server.add_insecure_port(address)
        else:
            key, chain = certificate.private_key_pem, certificate.cert_chain_pems
            pair = (key.bytes(), b"".join(each.bytes() for each in chain))
            collector.port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        server.start()
        try:
            yield collector
        finally:
            server.stop(0).wait()


COLLECTORS = {True: open_http_collector, False: open_grpc_collector}
"""By ``use_http``."""
