"""The command line: run, check, audit, health, version, demo.

Flags and exit statuses are KrakenD's.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import math
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio import Event
from msgspec.structs import replace

from .app.audit import audit
from .app.audit.report import as_json, as_table
from .app.catalog import CATALOG
from .app.check.dump import dump
from .app.service import Gateway, log_warnings, open_gateway
from .components.log.logging_settings import LEVELS
from .components.log.outputs import open_log
from .config.findings import SEVERITIES, ConfigError, lines
from .config.load import Loaded, load, survey
from .core.component import uses_metrics
from .core.rule import SEVERITIES as AUDIT_SEVERITIES
from .core.tasks import open_tasks
from .core.version import VERSION
from .errors import GatewayError
from .server.health import ask, page_url
from .server.notify import ServiceManager, Watcher, keep_alive
from .server.prepare import prepare
from .server.serve import chosen_server, serve, suits_uvloop
from .server.settings import ServeSettings, serve_settings
from .server.signals import CLEANUP_TIMEOUT, call_on_hangup, prepare_signals, stop_on_signals
from .server.sockets import address, open_sockets
from .server.workers import ParentProcess, stop_with_parent, supervise
from .telemetry.logs import get_logger

GC_THRESHOLD = 5_000
"""Python's collector runs when so many more objects were made than freed. For so many objects it
stops the event loop for 1-2 ms; requests in flight have fewer."""

INTERRUPTED = 130
"""The exit status of a process that SIGINT ended, as shells report it."""

MANAGEMENT_GRACE = 1.0
"""Seconds for requests of the management port at a stop. It stops last, so they are added to the
grace period of the public port."""


KEEP_LINES = argparse.RawDescriptionHelpFormatter

EXAMPLES = """\
examples:
  gateway demo
  gateway check -c gateway.json
  gateway run -c gateway.json

"gateway COMMAND --help" explains a command. Exit status: 0 success, 1 failure, 2 wrong arguments.
"""
RUN_EPILOG = """\
example:
  gateway run -c gateway.json -p 8080 --workers 4

exit status:
  0    stopped by a signal
  1    an error in the configuration, a port in use, or stopped by a second signal
  2    wrong arguments
  130  Ctrl-C before the start was complete
"""
CHECK_EPILOG = """\
example:
  gateway check -l -c gateway.json

exit status:
  0  "gateway run" accepts the configuration
  1  an error in the configuration; with -l also a warning of the loader
  2  wrong arguments
"""
AUDIT_EPILOG = """\
example:
  gateway audit -s CRITICAL,HIGH -c gateway.json

exit status:
  0  no recommendation
  1  a recommendation, or an error in the configuration
  2  wrong arguments
"""
HEALTH_EPILOG = """\
examples:
  gateway health -c gateway.json
  gateway health --ready --url https://10.0.0.7:8443

The address, the port, TLS and the paths are those of the configuration, and those of its
management_port if it has one. Certificates are not verified. A path in --url replaces /__health.

exit status:
  0  the status of the response is 200
  1  another status, no response, or an error in the configuration
  2  wrong arguments
"""
DEMO_EPILOG = """\
example:
  gateway demo --port 9000

exit status:
  0  stopped, and every request succeeded
  1  no broker, or a request failed
  2  wrong arguments
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sys.path.append(str(Path.cwd()))  # for modules of hooks; last, so that it hides no other module
    command: Callable[[argparse.Namespace], int] | None = options.command
    if command is None:
        parser.print_help()
        return 0
    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
    except GatewayError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:  # before the server handles signals
        return INTERRUPTED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway",
        formatter_class=KEEP_LINES,
        description="An HTTP gateway for RabbitMQ. It reads the configuration files of KrakenD.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"gateway {VERSION}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_command = partial(commands.add_parser, formatter_class=KEEP_LINES)

    run = add_command(
        "run",
        help="start the gateway",
        description="Start the gateway. It runs until SIGTERM or Ctrl-C. Then it finishes\n"
        "the running requests.",
        epilog=RUN_EPILOG,
    )
    _add_config(run)
    run.add_argument(
        "-d",
        "--debug",
        action="count",
        default=0,
        help="log debug messages, and serve /__debug/ on the public port",
    )
    run.add_argument(
        "-p", "--port", type=_port, metavar="N", help="listen on port N instead of the file's port"
    )
    run.add_argument(
        "--server",
        choices=("auto", "http1", "hypercorn", "uvicorn"),
        default="auto",
        help="the HTTP server (default: http1, the gateway's own; hypercorn for HTTP/2 and on "
        "Trio; uvicorn is an old name of http1)",
    )
    run.add_argument(
        "--async-library",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="the library that runs the event loop (default: asyncio)",
    )
    run.add_argument(
        "--workers",
        type=_at_least_one,
        default=1,
        metavar="N",
        help="the number of processes that serve the port (default: 1)",
    )
    run.add_argument(
        "--log-level",
        type=str.upper,
        choices=tuple(LEVELS),
        metavar="LEVEL",
        help=f"the lowest level that is logged: {', '.join(LEVELS)} (default: that of "
        "telemetry/logging, or INFO)",
    )
    run.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    run.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    run.add_argument("--watchdog", type=float, help=argparse.SUPPRESS)
    run.add_argument("--shared-memory", type=int, help=argparse.SUPPRESS)
    run.add_argument("--shared-metrics", type=_numbers, default=(), help=argparse.SUPPRESS)
    run.add_argument("--shared-reports", type=_numbers, default=(), help=argparse.SUPPRESS)
    run.set_defaults(command=run_command)

    check = add_command(
        "check",
        help="find errors and warnings in a configuration",
        description="Find every error and warning in a configuration. The command builds all\n"
        "endpoints, but it listens on no port and connects to no broker.",
        epilog=CHECK_EPILOG,
    )
    _add_config(check)
    check.add_argument(
        "-d",
        "--debug",
        action="count",
        default=0,
        help="also print routes and backends; -dd: with headers and filters",
    )
    check.add_argument(
        "-i",
        "--indent",
        default="\t",
        metavar="TEXT",
        help="the indentation of the output of -d (default: a tab)",
    )
    check.add_argument("-l", "--lint", action="store_true", help="fail if the loader has a warning")
    check.add_argument("-n", "--lint-no-network", action="store_true", help="the same as -l")
    check.add_argument(
        "-t",
        "--test-gin-routes",
        action="store_true",
        help="no effect: all endpoints are always built",
    )
    check.set_defaults(command=check_command)

    auditing = add_command(
        "audit",
        help="recommend improvements of a configuration",
        description="Recommend improvements of security and reliability in a valid configuration.",
        epilog=AUDIT_EPILOG,
    )
    _add_config(auditing)
    auditing.add_argument("-d", "--debug", action="count", default=0, help="no effect")
    auditing.add_argument(
        "-s",
        "--severity",
        default=",".join(AUDIT_SEVERITIES),
        metavar="A,B",
        help=f"only these severities (default: {','.join(AUDIT_SEVERITIES)})",
    )
    auditing.add_argument(
        "-i", "--ignore", default="", metavar="RULES", help="rules to skip, such as 1.2.1,8.1.3"
    )
    auditing.add_argument(
        "-I", "--ignore-file", metavar="FILE", help="a file with rules to skip, one on each line"
    )
    auditing.add_argument(
        "-f",
        "--format",
        choices=("table", "json"),
        default="table",
        help="the format of the output (default: table)",
    )
    auditing.set_defaults(command=audit_command)

    health = add_command(
        "health",
        help="ask a running gateway whether it is healthy",
        description="Ask a running gateway for /__health, and print one line. For the health\n"
        "checks of containers. Without -c and --url the gateway is on this machine, on\n"
        "the port KRAKEND_PORT of the environment, or 8080.",
        epilog=HEALTH_EPILOG,
    )
    health.add_argument(
        "--ready", action="store_true", help="ask for /__ready: connections and queues, too"
    )
    health.add_argument("-c", "--config", metavar="FILE", help="the configuration of the gateway")
    where = health.add_mutually_exclusive_group()
    where.add_argument(
        "-p", "--port", type=_port, metavar="N", help="the port, as in -p of gateway run"
    )
    where.add_argument(
        "--url",
        type=_http_url,
        metavar="URL",
        help="the gateway at this URL, such as http://10.0.0.7:8080",
    )
    health.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="the longest time to wait for the gateway (default: 5)",
    )
    health.set_defaults(command=health_command)

    version = add_command("version", help="print the version", description="Print the version.")
    version.set_defaults(command=version_command)

    demo = add_command(
        "demo",
        help="show the gateway with example queues",
        description="Serve example queues until Ctrl-C, and print requests to try. Without --url\n"
        "it starts a private node of RabbitMQ, which must be installed.",
        epilog=DEMO_EPILOG,
    )
    demo.add_argument(
        "--url",
        type=_broker_url,
        metavar="URL",
        help="use this broker, such as amqp://guest:guest@localhost:5672/",
    )
    demo.add_argument(
        "-p",
        "--port",
        type=_port,
        default=8080,
        metavar="N",
        help="listen on port N (default: 8080)",
    )
    demo.add_argument("--once", action="store_true", help="stop after one request to each endpoint")
    demo.set_defaults(command=demo_command)
    return parser


def _whole_number(text: str, least: int, most: float = math.inf) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        bounds = f"from {least}" if most == math.inf else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f'expected a whole number {bounds}, found "{text}"')
    return int(text)


def _port(text: str) -> int:
    return _whole_number(text, 0, 65535)


def _at_least_one(text: str) -> int:
    return _whole_number(text, 1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f'expected seconds above 0, found "{text}"')
    return seconds


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number
        is_url = False
    if not is_url:
        raise argparse.ArgumentTypeError("expected a URL that begins with http:// or https://")
    return text


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _broker_url(text: str) -> str:
    if not text.startswith(("amqp://", "amqps://")):
        raise argparse.ArgumentTypeError("expected a URL that begins with amqp:// or amqps://")
    return text


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        required=True,
        metavar="FILE",
        help="the configuration: JSON, YAML (.yaml, .yml) or TOML (.toml)",
    )


def version_command(options: argparse.Namespace) -> int:
    print(f"gateway {VERSION}")
    return 0


def check_command(options: argparse.Namespace) -> int:
    """1 for an error; with ``-l`` also for a warning of the loader, as in KrakenD's linter."""
    try:
        loaded, _ = prepare(options.config)
    except ConfigError as error:
        print(*lines(error.findings, SEVERITIES), sep="\n")
        return 1
    for line in lines(loaded.all_findings, SEVERITIES):
        print(line)
    if options.debug:
        print(*dump(loaded.service, options.indent, options.debug), sep="\n")
    warnings = sum(each.severity == "warning" for each in loaded.findings)
    if warnings and (options.lint or options.lint_no_network):
        print(f"Lint failed: {count(warnings, 'warning')}.")
        return 1
    print("Syntax OK!")
    return 0


def audit_command(options: argparse.Namespace) -> int:
    """1 when there is a recommendation."""
    loaded = load(options.config, CATALOG)
    severities = options.severity.upper().replace(" ", "").split(",")
    if unknown := set(severities) - set(AUDIT_SEVERITIES):
        known = ", ".join(AUDIT_SEVERITIES)
        raise GatewayError(f"unknown severity {', '.join(sorted(unknown))}; there are: {known}")
    ignored = options.ignore.replace(" ", "").split(",")
    if options.ignore_file:
        try:
            ignored += Path(options.ignore_file).read_text(encoding="utf-8").split()
        except OSError as error:
            raise GatewayError(f"cannot read {options.ignore_file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise GatewayError(f"cannot read {options.ignore_file}: it is not UTF-8") from error
    found = list(audit(loaded, CATALOG, ignored, severities))
    if options.format == "json":
        print(as_json(found))
    else:
        has_colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(as_table(found, loaded.places, shutil.get_terminal_size().columns, has_colours))
    return 1 if found else 0


def health_command(options: argparse.Namespace) -> int:
    """0 if the status of the page is 200."""
    url = _health_url(options)
    try:
        ask(url, options.timeout)
    except GatewayError as error:
        print(f"unhealthy: {url}: {error}", file=sys.stderr)
        return 1
    print(f"healthy: {url}")
    return 0


def _health_url(options: argparse.Namespace) -> str:
    file: str | bytes = options.config or b'{"version": 3}'
    service = survey(file, CATALOG, _environment(options)).service
    return page_url(service, is_ready=options.ready, base=options.url or "")


def demo_command(options: argparse.Namespace) -> int:
    from .demo.show import run_demo

    return run_demo(options.url, options.port, is_once=options.once)


def run_command(options: argparse.Namespace) -> int:
    prepare_signals()
    manager = ServiceManager(os.environ)
    environ = _environment(options)
    level: int | None = LEVELS.get(options.log_level)
    if level is None and options.debug:
        level = LEVELS["DEBUG"]
    with open_log(level=level):
        if options.worker is None:
            loaded, settings = prepare(options.config, environ, options.server)
        else:  # the parent process has checked it
            loaded = load(options.config, CATALOG, environ)
            settings = serve_settings(loaded.service, options.server)
    chosen_server(settings, options.async_library)  # raises before a port is opened
    with open_log(loaded.service, level=level):
        if options.worker is None:
            log_warnings(loaded)
        if options.workers > 1 and options.worker is None:
            command = [sys.executable, "-m", "gateway", *sys.argv[1:]]
            has_metrics = uses_metrics(loaded.service, CATALOG)
            run = partial(supervise, uses_metrics=has_metrics, manager=manager)
            return anyio.run(run, command, options.workers, settings.grace)
        watcher: Watcher = manager
        if options.parent is not None:
            watcher = ParentProcess(options.parent, options.watchdog)
        if watcher.watchdog is not None:
            faulthandler.enable()  # SIGABRT, which ends a process that hangs, writes tracebacks
        backend_options: dict[str, object] = {}
        if options.async_library == "asyncio":
            backend_options["use_uvloop"] = suits_uvloop(settings, options.async_library)
        return anyio.run(
            partial(_run, loaded, settings, options, watcher),
            backend=options.async_library,
            backend_options=backend_options,
        )


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """The environment with ``-p`` and ``-d`` in it: both replace the values of the file."""
    environ = dict(os.environ)
    if options.port is not None:
        environ["KRAKEND_PORT"] = str(options.port)
    if getattr(options, "debug", 0):
        environ["KRAKEND_DEBUG_ENDPOINT"] = "true"
    return environ


async def _run(
    loaded: Loaded, settings: ServeSettings, options: argparse.Namespace, watcher: Watcher
) -> int:
    sockets = open_sockets(
        settings.host,
        settings.port,
        answer_time=settings.limits.answer_time,
        is_shared=options.workers > 1,
    )
    stop = Event()
    scheme = "http" if settings.tls is None else "https"
    where = f"{scheme}://{address(sockets[0])}"
    worker = options.worker or 0
    async with open_tasks() as tasks:
        await tasks.start(stop_on_signals, stop, settings.grace)
        await tasks.start(call_on_hangup, partial(_reload_certificates, settings))
        if options.parent is not None:
            tasks.start_soon(stop_with_parent, options.parent, stop, settings.grace)
        async with open_gateway(
            loaded,
            worker=worker,
            workers=options.workers,
            shared_memory=options.shared_memory,
            shared_metrics=options.shared_metrics,
            shared_reports=options.shared_reports,
        ) as gateway:
            stop_time = settings.grace + CLEANUP_TIMEOUT
            tasks.start_soon(_announce_stop, gateway, watcher, stop, stop_time)

            async with (
                _serving_others(gateway, settings, is_shared=options.workers > 1),
                open_tasks() as watched,
            ):

                def started() -> None:
                    _reduce_collections()
                    banner = _banner(where, settings, options, loaded)
                    if worker == 0:
                        print(banner, file=sys.stderr, flush=True)
                    watcher.ready(banner)
                    watched.start_soon(keep_alive, watcher, gateway.reach_loops)

                await serve(gateway.asgi, settings, stop=stop, sockets=sockets, started=started)
                watched.cancel_scope.cancel()
        tasks.cancel_scope.cancel()
    get_logger("gateway.server").info("stopped")
    return 0


async def _announce_stop(gateway: Gateway, watcher: Watcher, stop: Event, seconds: float) -> None:
    await stop.wait()
    watcher.stopping(seconds)
    gateway.stopping()


def _reload_certificates(settings: ServeSettings) -> None:
    if settings.tls is None:
        get_logger("gateway.server").info("SIGHUP: there are no certificates to reload")
    else:
        settings.tls.reload()


def _reduce_collections() -> None:
    """Exclude all present objects from collections, and make collections rarer.

    The hot path makes no reference cycles (measured: collections took 8 % of the CPU of a publish).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


@asynccontextmanager
async def _serving_others(
    gateway: Gateway, settings: ServeSettings, *, is_shared: bool
) -> AsyncGenerator[None]:
    """Serve ``management_port``, if there is one, and the ports of exporters, until the block has
    ended. ``is_shared``: other workers serve ``management_port``, too."""
    own = gateway.service.gateway
    plain = replace(settings, tls=None, http3=False, grace=min(settings.grace, MANAGEMENT_GRACE))
    served = [
        (replace(plain, host=each.host, port=each.port), each.app, False)
        for each in gateway.listeners
    ]
    if own.management_port is not None:
        tls = settings.tls if own.management_tls else None
        management = replace(plain, port=own.management_port, tls=tls)
        served.append((management, gateway.management, is_shared))
    ended = Event()
    async with open_tasks() as servers:
        for listening, app, is_port_shared in served:
            sockets = open_sockets(
                listening.host,
                listening.port,
                answer_time=listening.limits.answer_time,
                is_shared=is_port_shared,
            )
            servers.start_soon(partial(serve, app, listening, stop=ended, sockets=sockets))
        yield
        ended.set()


def _banner(
    where: str, settings: ServeSettings, options: argparse.Namespace, loaded: Loaded
) -> str:
    library = options.async_library
    parts = (
        chosen_server(settings),
        "asyncio, uvloop" if suits_uvloop(settings, library) else library,
        count(options.workers, "worker"),
        count(len(loaded.service.endpoints), "endpoint"),
    )
    return f"gateway {VERSION} on {where} ({', '.join(parts)})"


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
