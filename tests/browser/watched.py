"""What a browser notices of a page: errors, violations of the policy, requests, dialogs; and what
axe-core finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Dialog, Error, Page, Request

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()

VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Watched:
    """``errors``: of scripts and of the console. ``hosts``: where requests went."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.add_init_script(VIOLATIONS)
        page.on("console", self._log)
        page.on("pageerror", self._fail)
        page.on("request", self._request)
        page.on("dialog", self._open)

    def _log(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _fail(self, error: Error) -> None:
        self.errors.append(error.message)

    def _request(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.hosts.add("/".join(request.url.split("/")[:3]))

    def _open(self, dialog: Dialog) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def violations(self) -> list[str]:
        return list(self.page.evaluate("window.violations"))


def axe_findings(page: Page) -> list[str]:
    """What axe-core finds: the impact, the rule, and where. The policy of the page does not bind
    ``evaluate``."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['impact']}: {each['id']}: {node['target']}: {node.get('failureSummary', '')}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]
