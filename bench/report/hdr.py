"""Latencies in the log format of HdrHistogram (V2), which the tools of HdrHistogram read."""

from __future__ import annotations

from datetime import datetime

from ..document import Document, Run

HEADER = """\
#[Hutch Gateway {version}: values in microseconds, Interval_Max in milliseconds]
#[Histogram log format version 1.3]
#[StartTime: {seconds:.3f} (seconds since epoch), {started}]
"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
"""


def log(document: Document) -> str:
    """A line for each valid open loop; its tag is the scenario, the candidate and the mode, and in
    a sweep the rate. The document has no times of single loads: they follow each other here."""
    started = document.started
    seconds = datetime.fromisoformat(started).timestamp()
    lines = [HEADER.format(version=document.version, seconds=seconds, started=started)]
    position = 0.0
    for run in document.runs:
        if run.latency is None or run.refused or run.mode == "closed":
            continue
        length, longest = run.seconds, run.latency.max
        lines.append(f"Tag={_tag(run)},{position:.3f},{length:.3f},{longest:.3f},{run.histogram}\n")
        position += length
    return "".join(lines)


def _tag(run: Run) -> str:
    rate = f"-{run.offered:.0f}" if run.mode == "sweep" else ""
    return f"{run.scenario}.{run.candidate}.{run.mode}{rate}"
