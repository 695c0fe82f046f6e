"""The command line: run, check, audit, version, demo. Flags and exit statuses as KrakenD's."""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import Event
from msgspec.structs import replace

from .app.audit import audit
from .app.audit.report import as_json, as_table
from .app.catalog import CATALOG
from .app.check.dump import dump
from .app.service import Gateway, log_warnings, open_gateway
from .config.findings import SEVERITIES, ConfigError, lines
from .config.load import Loaded, load
from .core.rule import SEVERITIES as AUDIT_SEVERITIES
from .core.tasks import open_tasks
from .core.version import VERSION
from .errors import GatewayError
from .server.prepare import prepare
from .server.serve import chosen_server, serve, suits_uvloop
from .server.settings import ServeSettings, serve_settings
from .server.signals import call_on_hangup, prepare_signals, stop_on_signals
from .server.sockets import address, open_sockets
from .server.workers import say_serving, stop_with_parent, supervise
from .telemetry.logs import escape_record, get_logger

GC_THRESHOLD = 5_000
"""So many more objects have come into being than have gone when the youngest are looked through.
Everybody waits for that: 1-2 ms for so many. What requests in flight hold is less."""

INTERRUPTED = 130
"""A shell's status for a process that SIGINT has ended."""

MANAGEMENT_GRACE = 1.0
"""Seconds. The management port answers until all else has ended: this comes behind the grace
period."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sys.path.append(str(Path.cwd()))  # hooks may stand here; behind everything else
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
    except KeyboardInterrupt:  # before anything is served
        return INTERRUPTED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway", description="An HTTP gateway for RabbitMQ that speaks KrakenD's language."
    )
    parser.add_argument("--version", action="version", version=f"gateway {VERSION}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = commands.add_parser("run", help="run the gateway")
    _add_config(run)
    run.add_argument(
        "-p", "--port", type=_port, metavar="N", help="listen on this port, whatever the file says"
    )
    run.add_argument(
        "--server",
        choices=("auto", "uvicorn", "hypercorn"),
        default="auto",
        help="default: uvicorn on asyncio; hypercorn on Trio and for HTTP/2",
    )
    run.add_argument(
        "--async-library", choices=("asyncio", "trio"), default="asyncio", help="default: asyncio"
    )
    run.add_argument(
        "--workers", type=_at_least_one, default=1, metavar="N", help="processes (default: 1)"
    )
    run.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    run.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    run.add_argument("--shared-memory", type=int, help=argparse.SUPPRESS)
    run.set_defaults(command=run_command)

    checking = commands.add_parser("check", help="say what is wrong or odd in a configuration")
    _add_config(checking)
    checking.add_argument("-i", "--indent", default="\t", help="of what -d tells (default: a tab)")
    checking.add_argument("-l", "--lint", action="store_true", help="warnings count as errors")
    checking.add_argument("-n", "--lint-no-network", action="store_true", help="as -l")
    checking.add_argument(
        "-t", "--test-gin-routes", action="store_true", help="always on: everything is built"
    )
    checking.set_defaults(command=check_command)

    auditing = commands.add_parser("audit", help="say what a configuration could do better")
    _add_config(auditing)
    auditing.add_argument("-s", "--severity", default=",".join(AUDIT_SEVERITIES), metavar="A,B")
    auditing.add_argument("-i", "--ignore", default="", metavar="RULES", help="e.g. 1.2.1,8.1.3")
    auditing.add_argument("-I", "--ignore-file", metavar="FILE", help="a rule on each line")
    auditing.add_argument("-f", "--format", choices=("table", "json"), default="table")
    auditing.set_defaults(command=audit_command)

    showing = commands.add_parser("version", help="print the version")
    showing.set_defaults(command=version_command)

    demo = commands.add_parser("demo", help="show it on a RabbitMQ (a private one by default)")
    demo.add_argument("--url", type=_broker_url, help="the broker to use, amqp://...")
    demo.add_argument(
        "-p", "--port", type=_port, default=8080, metavar="N", help="listen here (default: 8080)"
    )
    demo.add_argument("--once", action="store_true", help="end after the first round")
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


def _broker_url(text: str) -> str:
    if not text.startswith(("amqp://", "amqps://")):
        raise argparse.ArgumentTypeError("expected a URL that begins with amqp:// or amqps://")
    return text


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="JSON, YAML or TOML")
    parser.add_argument("-d", "--debug", action="count", default=0, help="tell more")


def version_command(options: argparse.Namespace) -> int:
    print(f"gateway {VERSION}")
    return 0


def check_command(options: argparse.Namespace) -> int:
    """1 for an error; with ``-l`` also for what the loader remarks on, as KrakenD's linter does."""
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
    """1 when there is something to recommend."""
    loaded = load(options.config, CATALOG)
    severities = options.severity.upper().replace(" ", "").split(",")
    if unknown := set(severities) - set(AUDIT_SEVERITIES):
        raise GatewayError(
            f"no severities: {', '.join(sorted(unknown))}; {', '.join(AUDIT_SEVERITIES)}"
        )
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


def demo_command(options: argparse.Namespace) -> int:
    from .demo.show import run_demo

    return run_demo(options.url, options.port, is_once=options.once)


def run_command(options: argparse.Namespace) -> int:
    prepare_signals()
    _configure_logging(options.debug)
    environ = _environment(options)
    if options.worker is None:
        loaded, settings = prepare(options.config, environ, options.server)
        log_warnings(loaded)
    else:  # the parent has looked at it
        loaded = load(options.config, CATALOG, environ)
        settings = serve_settings(loaded.service, options.server)
    chosen_server(settings, options.async_library)  # or an error, before anything is opened
    if options.workers > 1 and options.worker is None:
        command = [sys.executable, "-m", "gateway", *sys.argv[1:]]
        return anyio.run(supervise, command, options.workers, settings.grace)
    backend_options: dict[str, Any] = {}
    if options.async_library == "asyncio":
        backend_options["use_uvloop"] = suits_uvloop(settings, options.async_library)
    return anyio.run(
        partial(_run, loaded, settings, options),
        backend=options.async_library,
        backend_options=backend_options,
    )


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """``-p`` and ``-d`` count as the environment does: above the file."""
    environ = dict(os.environ)
    if options.port is not None:
        environ["KRAKEND_PORT"] = str(options.port)
    if options.debug:
        environ["KRAKEND_DEBUG_ENDPOINT"] = "true"
    return environ


async def _run(loaded: Loaded, settings: ServeSettings, options: argparse.Namespace) -> int:
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
        await tasks.start(call_on_hangup, partial(_read_again, settings))
        if options.parent is not None:
            tasks.start_soon(stop_with_parent, options.parent, stop, settings.grace)
        async with open_gateway(
            loaded,
            worker=worker,
            workers=options.workers,
            shared_memory=options.shared_memory,
        ) as gateway:
            tasks.start_soon(_announce_stop, gateway, stop)

            def started() -> None:
                _spare_collections()
                if options.parent is not None:
                    say_serving(options.parent)
                if worker == 0:
                    print(_banner(where, settings, options, loaded), file=sys.stderr, flush=True)

            async with _serving_management(gateway, settings, is_shared=options.workers > 1):
                await serve(gateway.asgi, settings, stop=stop, sockets=sockets, started=started)
        tasks.cancel_scope.cancel()
    return 0


async def _announce_stop(gateway: Gateway, stop: Event) -> None:
    await stop.wait()
    gateway.stopping()


def _read_again(settings: ServeSettings) -> None:
    if settings.tls is None:
        get_logger("gateway.server").info("SIGHUP: no certificates to read again")
    else:
        settings.tls.reload()


def _spare_collections() -> None:
    """What is here now stays; what requests in flight hold is not looked through again and again.

    The hot path leaves no cycles behind (measured: collections took 8 % of the CPU of a publish).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


@asynccontextmanager
async def _serving_management(
    gateway: Gateway, settings: ServeSettings, *, is_shared: bool
) -> AsyncGenerator[None]:
    """Health and readiness on their own port, when there is one, until the block has ended."""
    own = gateway.service.gateway
    if own.management_port is None:
        yield
        return
    tls = settings.tls if own.management_tls else None
    of_port = replace(
        settings,
        port=own.management_port,
        tls=tls,
        http3=False,
        grace=min(settings.grace, MANAGEMENT_GRACE),
    )
    sockets = open_sockets(
        of_port.host, of_port.port, answer_time=of_port.limits.answer_time, is_shared=is_shared
    )
    ended = Event()
    async with open_tasks() as servers:
        servers.start_soon(partial(serve, gateway.management, of_port, stop=ended, sockets=sockets))
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


def _configure_logging(debug: int) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(escape_record)  # for the loggers of libraries
    logging.basicConfig(
        handlers=[handler],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level=logging.DEBUG if debug else logging.INFO,
    )
    # The links tell themselves what a library would tell with a traceback.
    quiet = logging.WARNING if debug else logging.CRITICAL
    for name in ("aiormq", "uvicorn", "asyncio", "coredis", "quic", "http3"):
        logging.getLogger(name).setLevel(quiet)
