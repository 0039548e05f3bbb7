#!/usr/bin/env python3
"""crash_audit - does a relay keep every message it answered with 250, while being killed?

  crash_audit.py --start 'CMD that stays in the foreground' --smtp 127.0.0.1:587
                 --mx-log mx.jsonl --queue-dir /var/lib/relay/queue
                 --rounds 30 --sessions 8 --rate 40 --kinds master,child,all,freeze

With --http-url and --http-body (a JSON template with {id}, {rcpt}, {from}; it must carry {id} as
X-Audit-Id or as Message-ID <{id}@audit.test>) every second session submits by HTTP: 2xx = accepted.

K sessions send numbered messages; R times, at random moments, processes of the relay's OWN
tree (never anything else) are hit:
  master  kill -9 the root (or --master-re); its orphans get --grace s to leave by themselves
  child   kill -9 one random other process of the tree (--child-re narrows the choice)
  all     kill -9 the whole tree at once (what a kernel panic does to processes; for lost
          page cache add --between 'powercut.py ...', run while everything is dead)
  freeze  SIGSTOP one child for --freeze s, then SIGCONT
  term    SIGTERM the root: a clean stop must lose nothing either
  stall   SIGSTOP the root for --stall s, so that nobody hears what the children did, then `all`
A dead root is restarted. At the end the relay is left to drain, and the journal of 250s is
compared with the evil_mx log, by (X-Audit-Id, recipient, body hash).

With --bounced every recipient in --to refuses, and what has to arrive is the notice to the sender, each of whom has
an address of their own: sent+ID@sender.test. Two notices of one refusal are REPEATED, which fails.

LOST       answered 250, never arrived          CORRUPT  arrived with another body
DUPLICATE  surplus copies: excused when a copy reached the MX within --dup-window s of a
           fault (it was in flight), else UNEXCUSED; keep --min-gap > 2 x --dup-window
GHOST      refused with 4xx/5xx, arrived anyway UNKNOWN  no answer to the dot: either is right
UNTOLD     answered 250, and its events (read at --api) are not one that it was queued and one
           for the end of each delivery
Exit status 1 for any LOST, CORRUPT, GHOST or UNTOLD, a relay that did not come back, more than
--max-unexcused duplicates, or more than --max-dups excused ones at a single fault.
"""

import argparse
import asyncio
import base64
import collections
import ctypes
import hashlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

#: Kinds of events that tell of the end of a delivery.
ENDS = {"delivered", "bounced", "expired", "dropped", "suppressed", "deleted"}

A = R = None  # arguments, run state


class Run:
    def __init__(self):
        self.rng, self.n, self.tag = random.Random(A.seed), 0, f"{os.getpid()}-{int(time.time()) % 100000}"
        self.sent, self.outcome, self.latency = {}, {}, []  # id -> (sha, rcpts); id -> (state, time)
        self.mx, self.mx_pos = (
            collections.defaultdict(list),
            os.path.getsize(A.mx_log) if os.path.exists(A.mx_log) else 0,
        )
        self.notices = collections.defaultdict(set)  # id -> Message-IDs
        self.kills, self.recovery, self.orphans, self.stop, self.pause, self.root = (
            [],
            [],
            0,
            False,
            False,
            None,
        )
        self.journal = open(A.journal, "w", buffering=1)

    def note(self, mid, state, text=""):
        self.outcome[mid] = (state, time.time())
        self.journal.write(
            json.dumps({"t": round(time.time(), 4), "id": mid, "state": state, "reply": text[:80]}) + "\n"
        )

    def read_mx(self):
        try:
            with open(A.mx_log, "rb") as f:
                f.seek(self.mx_pos)
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self.mx_pos += len(line)
                    r = json.loads(line)
                    if A.bounced:
                        about = r["rcpt"].partition("@")[0].removeprefix("sent+")
                        self.notices[about].add(r["id"])
                        r["id"], r["sha256"] = about, None
                    r["id"] = re.sub(r"^<(.*)@audit\.test>$", r"\1", r.get("id") or "")
                    if r["id"] in self.sent:
                        self.mx[(r["id"], r["rcpt"])].append((r["t"], r["sha256"]))
        except FileNotFoundError:
            pass


# ---- the relay's process tree: everything below us (we are the subreaper of its orphans)
def tree():
    procs = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            procs[int(p)] = (int(f[1]), f[0], int(f[19]))
        except OSError:
            pass
    out, todo = [], [os.getpid()]
    while todo:
        me = todo.pop()
        kids = [p for p, (pp, st, _) in procs.items() if pp == me and st != "Z"]
        out += kids
        todo += kids
    return sorted(out, key=lambda p: procs[p][2])  # oldest first


def cmdline(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
    except OSError:
        return ""


def master():
    pids = tree()
    if A.master_re:
        return next((p for p in pids if re.search(A.master_re, cmdline(p))), None)
    return R.root.pid if R.root and R.root.poll() is None else None


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def hit(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def start():
    log = open(A.relay_log, "ab")
    R.root = subprocess.Popen(
        shlex.split(A.start), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


async def banner():
    try:
        r, w = await asyncio.wait_for(asyncio.open_connection(A.host, A.port), 3)
        ok = (await asyncio.wait_for(r.readline(), 3)).startswith(b"220")
        w.close()
        return ok
    except (TimeoutError, OSError):
        return False


async def up(limit):
    t = time.time()
    while time.time() - t < limit:
        if await banner():
            return time.time() - t
        if R.root.poll() is not None and not master():  # it refused to start (stale lock?): try again
            await asyncio.sleep(1)
            start()
        await asyncio.sleep(0.1)
    return None


# ---- one sending session
async def http_session(k):
    """one POST per connection; the MIME body is the relay's own, so no body hash is kept"""
    rng, u = random.Random(A.seed * 1000 + k), urllib.parse.urlsplit(A.http_url)
    while not R.stop:
        await asyncio.sleep(rng.expovariate(A.rate / A.sessions))
        if R.pause:
            continue
        R.n += 1
        mid, w, state, text = f"{R.tag}-{R.n}", None, "unsent", ""
        rcpt = rng.choice(A.to).replace("{id}", f"{mid}.h")
        body = (
            A.http_template.replace("{id}", mid).replace("{rcpt}", rcpt).replace("{from}", A.sender).encode()
        )
        R.sent[mid] = (None, [rcpt])
        try:
            r, w = await asyncio.wait_for(asyncio.open_connection(u.hostname, u.port or 80), 5)
            head = [
                f"POST {u.path or '/'} HTTP/1.1",
                f"Host: {u.netloc}",
                *A.http_header,
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            w.write("\r\n".join([*head, "", ""]).encode() + body)
            await w.drain()
            state, t = "unknown", time.time()
            text = (await asyncio.wait_for(r.readline(), A.timeout)).decode("latin-1").strip()
            if m := re.match(r"HTTP/1\.[01] (\d)", text):
                state = "accepted" if m[1] == "2" else "refused"
                R.latency.append(time.time() - t)
        except (TimeoutError, OSError):
            await asyncio.sleep(0.2)
        finally:
            R.note(mid, state, text)
            if w:
                w.close()


async def session(k):
    rng = random.Random(A.seed * 1000 + k)
    while not R.stop:
        if R.pause:
            await asyncio.sleep(0.1)
            continue
        w = None
        try:
            r, w = await asyncio.wait_for(asyncio.open_connection(A.host, A.port), 5)

            async def reply(r=r):
                while True:
                    line = await asyncio.wait_for(r.readline(), A.timeout)
                    if not line:
                        raise ConnectionError("closed")
                    if line[3:4] != b"-":
                        return int(line[:3]), line.decode("latin-1").strip()

            async def cmd(text, w=w):
                w.write(text.encode() + b"\r\n")
                return await reply()

            if (await reply())[0] != 220:
                raise ConnectionError("no 220")
            await cmd("EHLO audit.test")
            if A.user:
                await cmd("AUTH PLAIN " + base64.b64encode(f"\0{A.user}\0{A.password}".encode()).decode())
            for _ in range(rng.randint(1, 30)):
                if R.stop or R.pause:
                    break
                await one(cmd, w, rng)
                await asyncio.sleep(rng.expovariate(A.rate / A.sessions))
            await cmd("QUIT")
        except (TimeoutError, OSError, ValueError):
            await asyncio.sleep(0.2)
        finally:
            if w:
                w.close()


async def one(cmd, w, rng):
    R.n += 1
    mid = f"{R.tag}-{R.n}"
    rcpts = [rng.choice(A.to).replace("{id}", f"{mid}.{i}") for i in range(A.rcpts)]
    lines = [f"{rng.getrandbits(32):08x} " * 7 for _ in range(max(1, int(rng.expovariate(1 / A.size)) // 64))]
    body = "\r\n".join(line.strip() for line in lines) + "\r\n.dot line\r\n"
    sender = f"sent+{mid}@sender.test" if A.bounced else A.sender
    R.sent[mid] = (None, [sender]) if A.bounced else (hashlib.sha256(body.encode()).hexdigest(), rcpts)
    state = "unsent"
    try:
        for text, want in [
            (f"MAIL FROM:<{sender}>", (250,)),
            *((f"RCPT TO:<{x}>", (250, 251)) for x in rcpts),
            ("DATA", (354,)),
        ]:
            code, full = await cmd(text)
            if code not in want:
                R.note(mid, "refused", full)
                await cmd("RSET")
                return
        w.write(
            (
                f"From: <{A.sender}>\r\nTo: <{rcpts[0]}>\r\nSubject: audit {mid}\r\nMessage-ID: <{mid}@audit.test>\r\n"
                f"X-Audit-Id: {mid}\r\n\r\n" + body.replace("\r\n.", "\r\n..")
            ).encode()
        )
        await w.drain()
        state, t = "unknown", time.time()
        code, full = await cmd(".")
        state = "accepted" if code == 250 else "refused"
        R.latency.append(time.time() - t)
        R.note(mid, state, full)
    except (TimeoutError, OSError, ValueError):
        R.note(mid, state)
        raise


# ---- faults
async def fault(kind):
    root, pids = master(), tree()
    kids = [
        p for p in pids if p != root and p != (R.root and R.root.pid) and re.search(A.child_re, cmdline(p))
    ]
    victim = (
        root
        if kind in ("master", "term", "stall")
        else R.rng.choice(kids)
        if kids and kind in ("child", "freeze")
        else None
    )
    what = {
        "t": round(time.time(), 3),
        "kind": kind,
        "pid": victim,
        "cmd": cmdline(victim)[:60] if victim else "",
        "tree": len(pids),
    }
    if kind in ("child", "freeze", "master", "term", "stall") and not victim:
        what["kind"] = kind + "-no-target"
    elif kind == "freeze":
        hit(victim, signal.SIGSTOP)
        await asyncio.sleep(A.freeze)
        hit(victim, signal.SIGCONT)
    elif kind == "child":
        hit(victim, signal.SIGKILL)
    else:
        if kind == "stall":
            hit(victim, signal.SIGSTOP)
            await asyncio.sleep(A.stall)
        if kind in ("all", "stall"):
            for p in pids:
                hit(p, signal.SIGSTOP)  # nobody may react to another's death
            for p in pids:
                hit(p, signal.SIGKILL)
        else:
            hit(victim, signal.SIGKILL if kind == "master" else signal.SIGTERM)
        end = time.time() + (A.grace if kind != "term" else 30)
        while time.time() < end and (R.root.poll() is None or tree()):
            reap()
            await asyncio.sleep(0.05)
        if left := tree():
            what["orphans"] = [cmdline(p)[:60] for p in left][:5]
            R.orphans += len(left)
            for p in left if not A.leave_orphans else []:
                hit(p, signal.SIGKILL)
        await asyncio.sleep(A.down)
        reap()
        if A.between:
            R.pause = True
            what["between"] = subprocess.run(A.between, shell=True, capture_output=True, text=True).stdout[
                -300:
            ]
            R.pause = False
        if R.root.poll() is not None or not master():
            start()
    back = await up(A.up_limit)
    what["recovery_s"] = None if back is None else round(back, 2)
    R.kills.append(what)
    print(
        f"  {len(R.kills):3}/{A.rounds} {what['kind']:8} pid {victim} {what['cmd'][:40]:40} "
        f"back in {what['recovery_s']} s; "
        f"{sum(s == 'accepted' for s, _ in R.outcome.values())} accepted"
        + (f"; ORPHANS {what['orphans']}" if "orphans" in what else ""),
        flush=True,
    )
    if back is None:
        raise SystemExit("relay did not come back: see " + A.relay_log)


def untold():
    """Accepted mails whose events are not what they have to be, in words; none are looked for without --api."""
    if not A.api:
        return []
    queued, ends, after = collections.defaultdict(list), collections.Counter(), 0
    while True:
        with urllib.request.urlopen(f"{A.api}/v1/events?after={after}&limit=1000", timeout=60) as answer:
            page = json.load(answer)
        if page["next"] == after:
            break
        after = page["next"]
        for event in page["events"]:
            if event["kind"] == "queued":
                queued[event.get("message_id", "")].append(event["id"])
            elif event["kind"] in ENDS:
                ends[event["id"], event["seq"]] += 1
    wrong = []
    for mid in (mid for mid, (state, _) in R.outcome.items() if state == "accepted"):
        ids = queued[f"<{mid}@audit.test>"]
        told = [ends[one, seq] for one in ids for seq in range(1, A.rcpts + 1)]
        if len(ids) != 1 or set(told) != {1}:
            wrong.append(f"{mid}: queued {len(ids)} times, ends {told}")
    return wrong


def verdict(t_drain):
    R.read_mx()
    by = collections.Counter(s for s, _ in R.outcome.values())
    lost, corrupt, ghost, unexcused, excused, extra, unknown_in = [], [], [], [], collections.Counter(), 0, 0
    windows = [
        (i, k["t"] - A.dup_window, k["t"] + A.dup_window + (A.freeze if k["kind"] == "freeze" else 0))
        for i, k in enumerate(R.kills)
    ]
    for mid, (sha, rcpts) in R.sent.items():
        state, t = R.outcome.get(mid, ("unsent", 0))
        for rcpt in rcpts:
            got = R.mx.get((mid, rcpt), [])
            extra += max(0, len(got) - 1)
            if len(got) > 1:
                at = next((i for i, lo, hi in windows if any(lo <= t1 <= hi for t1, _ in got)), None)
                unexcused += [mid] if at is None else []
                excused[at] += len(got) - 1 if at is not None else 0
            if state == "accepted" and not got:
                near = min((k["t"] - t for k in R.kills), key=abs, default=None)
                lost.append(
                    {"id": mid, "rcpt": rcpt, "t": round(t, 3), "nearest_kill_s": near and round(near, 3)}
                )
            corrupt += [mid] if sha and any(s != sha for _, s in got) else []
            ghost += [mid] if state in ("refused", "unsent") and got else []
            unknown_in += state == "unknown" and bool(got)
    silent = untold()
    lat, q = sorted(R.latency), lambda v, p: round(v[min(len(v) - 1, int(len(v) * p))], 4) if v else None
    rec = sorted(k["recovery_s"] for k in R.kills if k["recovery_s"] is not None)
    kills = sum("no-target" not in k["kind"] for k in R.kills)
    rep = {
        "attempted": R.n,
        "accepted": by["accepted"],
        "accepted_deliveries": sum(len(R.sent[m][1]) for m, (s, _) in R.outcome.items() if s == "accepted"),
        "refused": by["refused"],
        "unknown": by["unknown"],
        "unknown_but_delivered": unknown_in,
        "unsent": by["unsent"],
        "delivered_unique": len(R.mx),
        "LOST": len(lost),
        "CORRUPT": len(corrupt),
        "GHOST": len(ghost),
        "DUPLICATES": extra,
        "duplicates_unexcused": len(unexcused),
        "duplicates_worst_fault": max(excused.values(), default=0),
        "max_copies": max(map(len, R.mx.values()), default=0),
        "UNTOLD": len(silent),
        "REPEATED": sum(len(ids) > 1 for ids in R.notices.values()),
        "kills": kills,
        "kills_by_kind": collections.Counter(k["kind"] for k in R.kills),
        "orphans_left": R.orphans,
        "recovery_s": {"p50": q(rec, 0.5), "max": rec[-1] if rec else None},
        "reply_to_dot_s": {"p50": q(lat, 0.5), "p99": q(lat, 0.99), "max": lat[-1] if lat else None},
        "drain_s": round(t_drain, 1),
        "seed": A.seed,
        "lost_first": lost[:20],
        "corrupt_first": corrupt[:20],
        "ghost_first": ghost[:20],
        "unexcused_first": unexcused[:20],
        "untold_first": silent[:20],
    }
    ok = (
        not (lost or corrupt or ghost or silent or rep["REPEATED"])
        and len(R.kills) == A.rounds
        and by["accepted"]
        and len(unexcused) <= A.max_unexcused
        and rep["duplicates_worst_fault"] <= A.max_dups
    )
    return dict(rep, verdict="PASS" if ok else "FAIL", faults=R.kills), ok


async def main():
    global R
    R = Run()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    start()
    if await up(A.up_limit) is None:
        raise SystemExit("relay did not start: see " + A.relay_log)
    jobs = [
        asyncio.create_task((http_session if A.http_url and k % 2 else session)(k)) for k in range(A.sessions)
    ]
    kinds = A.kinds.split(",")
    try:
        for i in range(A.rounds):
            await asyncio.sleep(R.rng.uniform(A.min_gap, A.max_gap))
            await fault(kinds[i % len(kinds)])
        await asyncio.sleep(2)
    finally:
        R.stop = True
        await asyncio.wait(jobs, timeout=A.timeout + 5)
    due = {(m, r) for m, (s, _) in R.outcome.items() if s == "accepted" for r in R.sent[m][1]}
    t0 = last = time.time()
    have = -1
    while due - R.mx.keys() and time.time() - last < A.drain:  # give up after --drain s without progress
        R.read_mx()
        have, last = (len(R.mx), time.time()) if len(R.mx) != have else (have, last)
        await asyncio.sleep(0.5)
    t_drain = time.time() - t0
    await asyncio.sleep(A.settle)  # late duplicates
    rep, ok = verdict(t_drain)
    if A.queue_dir and os.path.isdir(A.queue_dir):
        rep["queue_bytes_after"] = sum(
            os.path.getsize(os.path.join(d, f))
            for d, _, fs in os.walk(A.queue_dir)
            for f in fs
            if os.path.isfile(os.path.join(d, f))
        )
    hit(master() or R.root.pid, signal.SIGTERM)
    for _ in range(100):
        reap()
        if not tree():
            break
        await asyncio.sleep(0.1)
    for p in tree():
        hit(p, signal.SIGKILL)
    json.dump(rep, open(A.out, "w"), indent=1)
    print(json.dumps({k: v for k, v in rep.items() if k != "faults"}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, kw in {
        "start": {"required": True},
        "smtp": {"default": "127.0.0.1:587"},
        "mx-log": {"required": True},
        "queue-dir": {},
        "http-url": {},
        "http-body": {"help": "file with the JSON template"},
        "http-header": {"action": "append", "default": []},
        "user": {},
        "password": {"default": ""},
        "sender": {"default": "audit@sender.test"},
        "to": {"action": "append", "help": "template(s) with {id}; default ok+{id}@evil.test"},
        "rcpts": {"type": int, "default": 1},
        "rounds": {"type": int, "default": 20},
        "sessions": {"type": int, "default": 8},
        "rate": {"type": float, "default": 40, "help": "messages/s offered"},
        "size": {"type": int, "default": 3000, "help": "mean body bytes"},
        "kinds": {"default": "master,child,all,child"},
        "master-re": {},
        "child-re": {"default": "."},
        "min-gap": {"type": float, "default": 1},
        "max-gap": {"type": float, "default": 5},
        "grace": {"type": float, "default": 5},
        "down": {"type": float, "default": 0.5},
        "freeze": {"type": float, "default": 10},
        "stall": {"type": float, "default": 2.5},
        "leave-orphans": {"action": "store_true", "help": "restart beside surviving children"},
        "between": {},
        "bounced": {"action": "store_true"},
        "api": {"help": "http://HOST:PORT of the relay's API"},
        "up-limit": {"type": float, "default": 60},
        "timeout": {"type": float, "default": 30},
        "drain": {"type": float, "default": 120},
        "settle": {"type": float, "default": 10},
        "dup-window": {"type": float, "default": 2},
        "max-unexcused": {"type": int, "default": 0},
        "max-dups": {"type": int, "default": 50, "help": "at one fault: the relay's delivery concurrency"},
        "seed": {"type": int, "default": 1},
        "journal": {"default": "accepted.jsonl"},
        "out": {"default": "crash_audit.json"},
        "relay-log": {"default": "relay.out"},
    }.items():
        p.add_argument("--" + flag, **kw)
    A = p.parse_args()
    A.to, A.http_template = A.to or ["ok+{id}@evil.test"], open(A.http_body).read() if A.http_body else ""
    A.host, A.port = A.smtp.rsplit(":", 1)[0], int(A.smtp.rsplit(":", 1)[1])
    sys.exit(asyncio.run(main()))
