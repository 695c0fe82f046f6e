"""Run KrakenD's integration specs: one line for each, exit status 1 when one fails."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.process import running
from gateway.core.version import USER_AGENT, VERSION
from gateway.demo.broker import free_port

from .compare import Spec, differences, read_spec
from .runner import Decided, command, run_cases, send
from .service import serving

CONFIG, SPECS = "tests/fixtures/krakend.json", "tests/fixtures/specs"
GATEWAY, SERVICE, METRICS = "8080", "8081", ":8090"
FEEDS = "http://showrss.info/"
"""A service of the internet: ours answers in its place."""

_PRODUCT = re.compile(r"KrakenD Version [\w.\-]+")
_VERSION = re.compile(r'"Version [\w.\-]+"')


def read_specs(folder: Path, moved: Callable[[str], str]) -> Iterator[Spec]:
    """In the order of their names, with what this gateway calls itself."""
    for path in sorted(folder.glob("*.json")):
        text = _PRODUCT.sub(USER_AGENT.decode(), moved(path.read_text(encoding="utf-8")))
        yield read_spec(path.stem, _VERSION.sub(f'"Version {VERSION}"', text))


def run(clone: Path, decided: Decided) -> int:
    """The gateway runs with the configuration of the specs, in the folder of its Lua scripts.

    The ports of this run take the place of KrakenD's.
    """
    port = free_port()
    with serving() as service, tempfile.TemporaryDirectory() as folder:

        def moved(text: str) -> str:
            text = text.replace(FEEDS, f"http://127.0.0.1:{SERVICE}/")
            text = text.replace(f'"{METRICS}"', f'"127.0.0.1:{free_port()}"')
            return text.replace(f":{GATEWAY}", f":{port}").replace(f":{SERVICE}", f":{service}")

        config = json.loads(moved((clone / CONFIG).read_text(encoding="utf-8")))
        with running(config, Path(folder), "-d", port=port, cwd=clone / "tests"):
            return run_cases(
                read_specs(clone / SPECS, moved),
                lambda spec: send(spec.url, spec.method, spec.headers, spec.body),
                lambda spec, reply: differences(spec.wanted, reply),
                decided,
            )


def main() -> None:
    command("krakend-specs", "krakend-ce", [CONFIG], run, Path(__file__).parent)


if __name__ == "__main__":
    main()
