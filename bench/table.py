"""Figures as Markdown: medians over the rounds, the relay beside Postfix, and their ratio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

Row = dict[str, Any]


#: How many times Postfix's rate is wanted, by size and messages per connection (a: one, b: many).
RATE_WANTED = {
    ("1k", "a"): 3.0,
    ("1k", "b"): 5.0,
    ("10k", "a"): 3.0,
    ("10k", "b"): 4.0,
    ("100k", "a"): 2.0,
    ("100k", "b"): 2.0,
}
#: What share of Postfix's CPU a message may take, by size.
CPU_WANTED = {"1k": 0.25}


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def good(rows: Iterable[Row], peer: str, size: str, mode: str) -> list[Row]:
    """The complete runs of one cell."""
    return [
        r
        for r in rows
        if (r["peer"], r["size"], r["mode"]) == (peer, size, mode)
        and not r.get("error")
        and not r.get("timeout")
        and not r.get("source_failed")
    ]


def middle(rows: Sequence[Row], key: str) -> float | None:
    """Median of one figure; None without runs."""
    return median(r[key] for r in rows) if rows else None


def show(value: float | None, form: str = "{:.0f}") -> str:
    return "–" if value is None else form.format(value)


def ratio(top: float | None, bottom: float | None) -> float | None:
    return top / bottom if top is not None and bottom else None


def missed(rows: Sequence[Row], sizes: Sequence[str], modes: Sequence[str]) -> list[str]:
    """The ratios that are not what is wanted, a line each; cells without runs of both say nothing."""
    lines = []
    for size in sizes:
        for mode in modes:
            ours, theirs = good(rows, "zonerelay", size, mode), good(rows, "postfix", size, mode)
            rate = ratio(middle(ours, "e2e_rate"), middle(theirs, "e2e_rate"))
            cpu = ratio(middle(ours, "cpu_s_per_1000"), middle(theirs, "cpu_s_per_1000"))
            least, most = RATE_WANTED.get((size, mode)), CPU_WANTED.get(size)
            if rate is not None and least is not None and rate < least:
                lines.append(f"{size} {mode}: {rate:.2f} times Postfix's rate, wanted {least:g}")
            if cpu is not None and most is not None and cpu > most:
                lines.append(f"{size} {mode}: {cpu:.2f} of Postfix's CPU, wanted {most:g}")
    return lines


def throughput(rows: Sequence[Row], sizes: Sequence[str], modes: Sequence[str]) -> str:
    """End-to-end messages per second and CPU per 1,000, both relays, with the ratio of the medians."""
    lines = []
    for size in sizes:
        for mode in modes:
            ours, theirs = good(rows, "zonerelay", size, mode), good(rows, "postfix", size, mode)
            rate, their_rate = middle(ours, "e2e_rate"), middle(theirs, "e2e_rate")
            cpu, their_cpu = middle(ours, "cpu_s_per_1000"), middle(theirs, "cpu_s_per_1000")
            memory = middle(ours, "rss_peak")
            both = ours + theirs
            lines.append(
                [
                    size,
                    {"a": "one", "b": "many"}[mode],
                    show(rate),
                    show(their_rate),
                    show(ratio(rate, their_rate), "{:.1f} ×"),
                    show(RATE_WANTED.get((size, mode)), "≥ {:g}"),
                    show(middle(ours, "accept_rate")),
                    show(cpu, "{:.2f}"),
                    show(their_cpu, "{:.2f}"),
                    show(ratio(cpu, their_cpu), "{:.2f} ×"),
                    show(memory / 2**20 if memory else None),
                    f"{len(ours)}+{len(theirs)}",
                    "–"
                    if not both
                    else "{:.0f}–{:.0f}".format(*(f(r["cpu_score"] for r in both) for f in (min, max))),
                    "–" if not both else f"{max(r['machine']['steal'] for r in both):.1%}",
                ]
            )
    return grid(
        [
            "size",
            "messages per connection",
            "Zonerelay/s",
            "Postfix/s",
            "ratio",
            "wanted",
            "Zonerelay accepts/s",
            "CPU s/1,000",
            "Postfix's",
            "ratio",
            "peak RSS MiB",
            "runs",
            "cpu_score",
            "steal ≤",
        ],
        lines,
    )


def accept(rows: Sequence[Row], peers: Sequence[str], modes: Sequence[str]) -> str:
    """Messages taken per second and CPU per 1,000, a line for each peer."""
    lines = []
    for peer in peers:
        line = [peer]
        for mode in modes:
            runs = good(rows, peer, "1k", mode)
            line += [show(middle(runs, "accept_rate")), show(middle(runs, "cpu_s_per_1000"), "{:.2f}")]
        lines.append(line)
    words = {"a": "one message per connection", "b": "many"}
    heads = [head for mode in modes for head in (f"{words[mode]}: accepts/s", "CPU s/1,000")]
    return grid(["", *heads], lines)


def machine(facts: dict[str, str]) -> str:
    return grid(["measured on", ""], facts.items())
