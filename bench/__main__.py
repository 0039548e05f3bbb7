"""`make bench`: the relay and Postfix in turn on the same work, then latency and scale; writes a table.

    python -m bench [--only throughput,accept,steady,scale] [--rounds 3] [--sizes 1k,10k,100k] [--modes a,b]
                        [--n 1k=8000,10k=6000,100k=1500] [--out bench/results/latest]

Machines are noisy: peers alternate, medians are taken, and the ratio is what can be compared. Look at
cpu_score (the spread of the machine's own speed over the runs) and steal before believing a figure.
Writes OUT.jsonl (every run) and OUT.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from typing import Any

from bench import machine, peers, rig, table

COUNTS = "1k=8000,10k=6000,100k=1500"
#: What is compared where mail comes in: name, peer, options.
ACCEPT = (
    ("Zonerelay", "zonerelay", {}),
    ("Zonerelay, 2 receivers", "zonerelay", {"processes": "2"}),
    ("Postfix", "postfix", {}),
    ("Zonerelay, TLS", "zonerelay", {"tls": "starttls"}),
    ("Zonerelay, TLS, 2 receivers", "zonerelay", {"tls": "starttls", "processes": "2"}),
    ("Postfix, TLS", "postfix", {"tls": "starttls"}),
)


def child(*arguments: str) -> dict[str, Any]:
    """One run in a process (and network) of its own; its last line is the result."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=peers.REPOSITORY,
        env=peers.environment(),
    )
    try:
        result: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        result = {"error": (done.stderr or done.stdout)[-1500:]}
    return result


def throughput(a: argparse.Namespace, keep: list[dict[str, Any]], out: Any) -> str:
    counts = {**dict(p.split("=") for p in COUNTS.split(",")), **dict(p.split("=") for p in a.n.split(","))}
    names = [peer for peer in a.peers.split(",") if not peers.available(peer)]
    for name in a.peers.split(","):
        if why := peers.available(name):
            print(f"bench: without {name}: {why}", file=sys.stderr)
    for number in range(a.rounds):
        for size in a.sizes.split(","):
            for mode in a.modes.split(","):
                for peer in names if number % 2 == 0 else names[::-1]:
                    result = child("bench.rig", peer, size, counts.get(size, "1000"), mode)
                    result = {"peer": peer, "size": size, "mode": mode, **result, "round": number + 1}
                    keep.append(result)
                    out.write(json.dumps(result) + "\n")
                    out.flush()
                    print(
                        f"round {number + 1} {size:>4} {mode} {peer:10}",
                        result.get("error")
                        or f"{result['e2e_rate']:8.1f}/s {result['cpu_s_per_1000']:.3f} CPU s/1,000"
                        + (" TIMEOUT" if result.get("timeout") else ""),
                        flush=True,
                    )
    shown = table.throughput(keep, a.sizes.split(","), a.modes.split(","))
    return f"## Throughput\n\n20 sessions; {counts}; medians of {a.rounds} alternating rounds.\n\n{shown}"


def accept(a: argparse.Namespace, keep: list[dict[str, Any]], out: Any) -> str:
    """How fast mail is taken, in plain and by STARTTLS; one source for all. What can't run is left out."""
    counts = {"a": a.accept // 2, "b": a.accept}
    for number in range(a.rounds):
        for mode in a.modes.split(","):
            for name, peer, options in ACCEPT if number % 2 == 0 else ACCEPT[::-1]:
                words = [word for item in {"source": "own", **options}.items() for word in ("--set", "=".join(item))]
                result = {"error": peers.available(peer)}
                if not result["error"]:
                    result = child("bench.rig", peer, "1k", str(counts[mode]), mode, *words)
                result = {**result, "peer": name, "size": "1k", "mode": mode, "round": number + 1}
                keep.append(result)
                out.write(json.dumps(result) + "\n")
                out.flush()
                figure = result.get("error") or result.get("source_said") or f"{result['accept_rate']:8.1f} accepted/s"
                print(f"accept, round {number + 1} {mode} {name:28}", figure, flush=True)
    names = [name for name, _, _ in ACCEPT]
    shown = table.accept(keep, names, a.modes.split(","))
    return (
        "## Accept rate\n\n1 KiB, 20 sessions, delivery going on meanwhile; TLS by STARTTLS with an RSA key of "
        f"2,048 bits, a whole handshake for each connection; medians of {a.rounds} rounds.\n\n{shown}"
    )


def checks(title: str, results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        verdict = "error" if "error" in r else "yes" if r.get("ok") else "**no**"
        figures = r.get("error") or ", ".join(f"{k} {v}" for k, v in r.get("figures", {}).items())
        rows.append([r.get("check", title), r.get("wanted", ""), figures, verdict])
    return f"## {title}\n\n" + table.grid(["what", "wanted", "measured", "holds"], rows)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="throughput,accept,steady,scale")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--sizes", default="1k,10k,100k")
    p.add_argument("--modes", default="a,b")
    p.add_argument("--peers", default="zonerelay,postfix")
    p.add_argument("--n", default=COUNTS, help="messages per size")
    p.add_argument("--accept", type=int, default=6000, help="messages of the part accept, with many per connection")
    p.add_argument("--out", default=os.path.join(peers.REPOSITORY, "bench", "results", "latest"))
    a = p.parse_args()
    os.makedirs(os.path.dirname(a.out), exist_ok=True)
    parts = a.only.split(",")
    text = [
        "# Figures of the last run\n",
        table.machine(machine.facts(rig.home())),
        f"Taken {datetime.date.today()} by `python -m bench {' '.join(sys.argv[1:])}`.\n",
    ]
    failed = False
    with open(a.out + ".jsonl", "w") as out:
        if "throughput" in parts:
            runs: list[dict[str, Any]] = []
            text.append(throughput(a, runs, out))
            failed |= any("error" in r or r.get("timeout") for r in runs)
            if missed := table.missed(runs, a.sizes.split(","), a.modes.split(",")):
                failed = True
                text.append("Not reached:\n\n" + "".join(f"- {line}\n" for line in missed))
        if "accept" in parts:
            runs = []
            text.append(accept(a, runs, out))
        for part, cases in (
            ("steady", [()]),
            ("scale", [("queue",), ("hanging",), ("large",), ("recipients",)]),
        ):
            if part not in parts:
                continue
            results = []
            for case in cases:
                results.append({"check": " ".join((part, *case)), **child(f"bench.{part}", *case)})
                out.write(json.dumps(results[-1]) + "\n")
                print(json.dumps(results[-1]), flush=True)
            failed |= not all(r.get("ok") for r in results)
            text.append(checks(part.capitalize(), results))
    with open(a.out + ".md", "w") as file:
        file.write("\n".join(text))
    print("\n".join(text))
    print(f"bench: wrote {a.out}.md and .jsonl", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
