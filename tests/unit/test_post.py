"""Mail that is posted to a URL: one request for each, the end that needs leave, and every kind of answer."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import Any

from twisted.internet import error
from twisted.internet.defer import succeed
from werkzeug.formparser import MultiPartParser

from relay.config.urls import read as read_url
from relay.delivery.exchangers import Host
from relay.delivery.post import MOST, REST, Post
from relay.delivery.security import Approach, Policy
from relay.delivery.session import Session
from relay.message.values import Result
from tests.unit.test_session import Case, Peer, offer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntaken\n"


class Posting(Case):
    hosts = (Host("web.test", "192.0.2.10"), Host("web.test", "192.0.2.20"))
    url = "http://me:secret@web.test:8080/in?key=k"
    policy = Policy.NONE

    def make(self, **changes: Any) -> Session:
        url = read_url(self.url)
        need = Approach(self.policy, self.implicit)
        more = {
            "port": url.port,
            "contact": partial(Post, url, "Zonerelay"),
            "serves": lambda domain, host: True,
            "need": lambda offer, host: need,
        }
        return super().make(**(more | changes))

    def called(self, **changes: Any) -> Peer:
        """An attempt up to the request."""
        self.session.deliver(offer(**changes))
        peer = self.peer()
        peer.connect()
        self.session.go()
        return peer

    def told(self, code: int, answer: bytes = b"", phrase: str = "Words") -> None:
        """A whole attempt with this answer."""
        peer = self.called()
        peer.say(f"HTTP/1.1 {code} {phrase}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)


def parsed(request: bytes) -> tuple[bytes, dict[bytes, bytes], dict[str, str], bytes]:
    """Of one whole request: its first line, its header, the fields of the form, and the message."""
    header, _, body = request.partition(b"\r\n\r\n")
    first, *lines = header.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines)
    assert int(fields[b"Content-Length"]) == len(body), (fields, len(body))
    boundary = fields[b"Content-Type"].partition(b"boundary=")[2]
    form, files = MultiPartParser().parse(BytesIO(body), boundary, len(body))
    return first, fields, form.to_dict(), files["message"].read()


class Requests(Posting):
    def test_one_message(self) -> None:
        self.session.deliver(offer())
        peer = self.peer()
        self.assertEqual((peer.address, peer.port, peer.bind), ("192.0.2.10", 8080, None))
        peer.connect()
        self.assertEqual((peer.line.read(), self.book.told), (b"", ["answered"]))
        self.assertFalse(self.session.in_dot)
        self.session.go()
        first, header, form, message = parsed(peer.line.read())
        self.assertEqual(first, b"POST /in?key=k HTTP/1.1")
        self.assertEqual(header[b"Host"], b"web.test:8080")
        self.assertEqual(header[b"User-Agent"], b"Zonerelay")
        self.assertEqual(header[b"Authorization"], b"Basic bWU6c2VjcmV0")
        self.assertEqual(form["id"], "0123456789abcdef01.001")
        self.assertTrue(message.startswith(b"Received: from "))
        self.assertTrue(message.endswith(b"\r\nSubject: x\r\n\r\nhello\r\n.dot\r\n"), message)
        self.assertTrue(self.session.in_dot)
        peer.say(OK)
        self.assertEqual(self.book.told, ["answered", "accepted", "done"])
        self.assertEqual(self.book.kept, [True])
        outcome = self.outcome
        self.assertEqual((outcome.response, outcome.code, outcome.stage), ("200 OK: taken", 200, "dot"))
        self.assertEqual((outcome.host, outcome.host_address), ("web.test", "192.0.2.10"))
        self.assertEqual(outcome.local_address, "10.0.0.1")
        self.assertNotIn("secret", repr(outcome))

    def test_it_is_never_told_who_may_come_in(self) -> None:
        """No Authorization where the URL has none."""
        self.url = "http://web.test/"
        self.session = self.make()
        _, header, _, _ = parsed(self.called().line.read())
        self.assertEqual((header[b"Host"], b"Authorization" in header), (b"web.test", False))

    def test_one_connection_for_several(self) -> None:
        peer = self.called()
        peer.line.read()
        peer.say(OK)
        for number in (2, 3):
            self.session.deliver(offer(seq=number, domain=f"to{number}.test"))
            _, _, form, _ = parsed(peer.line.read())
            self.assertEqual(form["id"], f"0123456789abcdef01.{number:03x}")
            peer.say(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(self.book.kept, [True, True, False], "reuse = 3")
        self.reactor.advance(0)
        self.assertEqual(self.book.told[-1], "closed")

    def test_a_body_in_chunks_no_faster_than_it_is_taken(self) -> None:
        chunks = [b"a" * 1000 + b"\r\n", b"b" * 1000 + b"\r\n", b"c\r\n"]
        size = sum(map(len, chunks))
        peer = self.called(body=None, body_size=size, chunks=3)
        request = b""
        producer = peer.line.producer
        for number, chunk in enumerate(chunks):
            asked, came = self.book.asked[-1]
            self.assertEqual((asked, len(self.book.asked)), (number, number + 1))
            self.assertFalse(self.session.in_dot)
            producer.pauseProducing()
            came.callback(chunk)
            self.assertEqual(len(self.book.asked), number + 1, "asked for more while there is no room")
            producer.resumeProducing()
        self.assertTrue(self.session.in_dot)
        request += peer.line.read()
        self.assertTrue(parsed(request)[3].endswith(b"\r\n\r\n" + b"".join(chunks)))
        self.assertIsNone(peer.line.producer)
        peer.say(OK)
        self.check(Result.DELIVERED, "dot", "")

    def test_chunks_that_are_there_at_once(self) -> None:
        """However many: none is asked for from within the one before."""
        self.book.chunk = lambda offer, number: succeed(b"%04d\n" % number)  # type: ignore[method-assign]
        peer = self.called(body=None, body_size=5 * 3000, chunks=3000)
        self.assertTrue(parsed(peer.line.read())[3].endswith(b"".join(b"%04d\n" % number for number in range(3000))))
        self.assertTrue(self.session.in_dot)

    def test_a_body_that_is_not_as_long_as_it_should_be_never_ends(self) -> None:
        peer = self.called(body_size=999)
        self.check(Result.DEFERRED, "body", "ours")
        self.assertTrue(peer.line.aborted)

    def test_a_body_that_can_not_be_read(self) -> None:
        peer = self.called(body=None, body_size=8, chunks=2)
        self.book.asked[0][1].errback(OSError("gone"))
        self.check(Result.DEFERRED, "body", "ours")
        self.assertTrue(peer.line.aborted)

    def test_N08_the_end_needs_leave(self) -> None:
        self.book.allow = False
        peer = self.called()
        before = peer.line.read()
        self.assertNotIn(b"hello", before)
        self.assertFalse(self.session.in_dot)
        self.book.allow = True
        self.session.resume()
        self.assertTrue(self.session.in_dot)
        parsed(before + peer.line.read())
        peer.say(OK)
        self.check(Result.DELIVERED, "dot", "")

    def test_leave_that_never_comes(self) -> None:
        self.book.allow = False
        self.called()
        self.pass_time(71)
        self.check(Result.DEFERRED, "body", "ours")

    def test_in_the_clear_goes_nothing_that_must_not(self) -> None:
        for asked in ({"require_tls": True}, {"tls": "must"}, {"tls": "dane"}):
            self.setUp()
            self.called(**asked)
            self.check(Result.BOUNCED, "mail", "message")
            self.assertEqual(self.outcome.response[:7], "5.7.10 ")

    def test_a_bounce_had_rather_arrive(self) -> None:
        """Nobody would hear that it was lost (RFC 8689 5)."""
        peer = self.called(require_tls=True, sender="")
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.check(Result.DELIVERED, "dot", "")


class Answers(Posting):
    def test_what_each_means(self) -> None:
        for code, result in (
            (201, Result.DELIVERED), (302, Result.DEFERRED), (404, Result.BOUNCED), (429, Result.DEFERRED),
            (503, Result.DEFERRED),
        ):  # fmt: skip
            self.setUp()
            self.told(code, b"why \x1b[31m\n")
            self.check(result, "dot", "" if code == 201 else "reply")
            self.assertEqual(self.outcome.code, code)
            self.assertTrue(self.outcome.response.startswith(f"{code} Words: why ?[31m"), self.outcome)
            self.assertEqual(self.book.kept, [True])

    def test_a_redirect_is_not_followed(self) -> None:
        peer = self.called()
        peer.say(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:25/\r\nContent-Length: 0\r\n\r\n")
        self.check(Result.DEFERRED, "dot", "reply")
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.assertIn("not followed", self.outcome.response)

    def test_in_any_split(self) -> None:
        answer = b"HTTP/1.1 202 Later\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\nd\r\n0\r\n\r\n"
        answer = b"HTTP/1.1 100 Continue\r\n\r\n" + answer
        for step in (1, 2, 7, len(answer)):
            self.setUp()
            peer = self.called()
            for at in range(0, len(answer), step):
                peer.say(answer[at : at + step])
            self.check(Result.DELIVERED, "dot", "")
            self.assertEqual((self.outcome.response, self.book.kept), ("202 Later: abc", [True]))

    def test_the_end_of_the_connection_ends_the_answer(self) -> None:
        for header in (b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"):
            self.setUp()
            peer = self.called()
            peer.say(header + b"\r\ngood")
            self.assertEqual(self.book.outcomes, [])
            peer.close()
            self.check(Result.DELIVERED, "dot", "")
            self.assertEqual((self.outcome.response, self.book.kept), ("200 OK: good", [False]))

    def test_who_wants_to_close_is_not_asked_again(self) -> None:
        for header in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: Keep-Alive, Close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        ):
            self.setUp()
            self.called().say(header)
            self.check(Result.DELIVERED, "dot", "")
            self.assertEqual(self.book.kept, [False])

    def test_the_status_is_enough(self) -> None:
        """An answer that goes on for ever, or stands still, or breaks off, has been given."""
        for end in ("endless", "still", "broken"):
            self.setUp()
            peer = self.called()
            peer.say(b"HTTP/1.1 200 OK\r\n\r\nyes\n")
            if end == "endless":
                while not self.book.outcomes:
                    peer.say(b"x" * 10_000)
            elif end == "still":
                self.pass_time(REST)
            else:
                peer.close(error.ConnectionLost())
            self.check(Result.DELIVERED, "dot", "")
            self.assertEqual((self.outcome.response, self.book.kept), ("200 OK: yes", [False]))

    def test_no_answer_that_can_be_understood(self) -> None:
        for said, category in (
            (b"220 mx.test ESMTP\r\n", "protocol"),
            (b"\0\xff" * 40 + b"\r\n", "protocol"),
            (b"HTTP/1.1 OK\r\n\r\n", "protocol"),
            (b"ICY/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "protocol"),
            (b"HTTP/1.1 99 x\r\nContent-Length: 0\r\n\r\n", "protocol"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "protocol"),
            (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "protocol"),
            (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MOST // 6), "protocol"),
        ):
            self.setUp()
            self.called().say(said)
            self.check(Result.DEFERRED, "dot", category, doubtful=True)
            self.assertEqual(self.book.kept, [False])

    def test_no_answer(self) -> None:
        peer = self.called()
        peer.close(error.ConnectionLost())
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)
        self.setUp()
        self.called()
        self.pass_time(79)
        self.assertEqual(self.book.outcomes, [])
        self.pass_time(2)
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)

    def test_bytes_that_trickle_prolong_nothing(self) -> None:
        peer = self.called()
        for byte in b"HTTP/1.1 2":
            self.pass_time(9)
            if not self.book.outcomes:
                peer.say(bytes((byte,)))
        self.check(Result.DEFERRED, "dot", "network", doubtful=True)

    def test_an_answer_before_the_message_is_there(self) -> None:
        for said, result, category in (
            (b"HTTP/1.1 413 Too Large\r\n", Result.BOUNCED, "reply"),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 507 Full\r\n", Result.DEFERRED, "reply"),
            (b"HTTP/1.1 200 OK\r\n", Result.DEFERRED, "protocol"),
            (b"what\r\n", Result.DEFERRED, "protocol"),
        ):
            for step in (1, len(said)):
                self.setUp()
                peer = self.called(body=None, body_size=8, chunks=2)
                for at in range(0, len(said), step):
                    if not self.book.outcomes:
                        peer.say(said[at : at + step])
                self.check(result, "body", category)
                self.assertEqual(self.book.kept, [False])

    def test_D07_an_answer_that_begins_before_the_message_is_there(self) -> None:
        """Whatever the split: it isn't the one to the message. Its host has all of it by now, so that is in doubt."""
        for begun in (b"H", b"HTTP/1.1 ", b"HTTP/1.1 200 O"):
            self.setUp()
            peer = self.called(body=None, body_size=4, chunks=1)
            peer.say(begun)
            self.book.asked[0][1].callback(b"abc\n")
            peer.say(OK[len(begun) :])
            self.check(Result.DEFERRED, "body", "protocol", doubtful=True)
            self.assertEqual(self.book.kept, [False])

    def test_a_refusal_that_begins_early_holds(self) -> None:
        peer = self.called(body=None, body_size=4, chunks=1)
        peer.say(b"HTTP/1.1 40")
        self.book.asked[0][1].callback(b"abc\n")
        peer.say(b"3 No\r\nContent-Length: 0\r\n\r\n")
        self.check(Result.BOUNCED, "body", "reply")

    def test_D06_an_answer_too_many(self) -> None:
        """It is never the one to the next message, which goes on another connection."""
        for more in (OK, OK[:9], b"\r\n"):
            self.setUp()
            peer = self.called()
            peer.say(OK + more)
            self.check(Result.DELIVERED, "dot", "")
            self.assertEqual(self.book.kept, [False])

    def test_an_interim_answer_that_is_cut(self) -> None:
        peer = self.called(body=None, body_size=4, chunks=1)
        peer.say(b"HTTP/1.1 102 Pro")
        self.book.asked[0][1].callback(b"abc\n")
        peer.say(b"cessing\r\n\r\n" + OK)
        self.check(Result.DELIVERED, "dot", "")

    def test_an_interim_answer_is_none(self) -> None:
        peer = self.called(body=None, body_size=4, chunks=1)
        peer.say(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")
        self.book.asked[0][1].callback(b"abc\n")
        peer.say(OK)
        self.check(Result.DELIVERED, "dot", "")


class Connections(Posting):
    def test_the_next_address(self) -> None:
        self.session.deliver(offer())
        self.peer().fail(error.ConnectionRefusedError())
        peer = self.peer()
        self.assertEqual((peer.address, peer.port), ("192.0.2.20", 8080))
        peer.connect()
        self.session.go()
        peer.say(OK)
        self.check(Result.DELIVERED, "dot", "")

    def test_time_outs(self) -> None:
        self.hosts = self.hosts[:1]
        self.session.deliver(offer())
        self.pass_time(11)
        self.check(Result.DEFERRED, "connect", "network")
        self.setUp()
        self.called(body=None, body_size=8, chunks=2)
        self.book.asked[0][1].callback(b"abcd")
        self.book.asked[1][1].addErrback(lambda failure: None)
        self.pass_time(71)
        self.check(Result.DEFERRED, "body", "ours")

    def test_a_kept_connection_that_is_gone(self) -> None:
        peer = self.called()
        peer.say(OK)
        peer.close()
        self.reactor.advance(0)
        self.assertEqual(self.book.told[-1], "closed")

    def test_a_kept_connection_that_breaks_before_the_message_is_there(self) -> None:
        """The next one is made at once: nobody can have it."""
        peer = self.called()
        peer.say(OK)
        self.session.deliver(offer(seq=2, body=None, body_size=4, chunks=1))
        self.book.asked[0][1].addErrback(lambda failure: None)
        peer.close()
        again = self.peer()
        self.assertIsNot(again.factory, peer.factory)
        again.connect()
        self.session.go()
        self.book.asked[1][1].callback(b"abc\n")
        again.say(OK)
        self.assertEqual([outcome.result for outcome in self.book.outcomes], [Result.DELIVERED] * 2)

    def test_a_host_that_talks_before_it_is_asked(self) -> None:
        peer = self.called()
        peer.say(OK)
        peer.say(OK)
        self.reactor.advance(0)
        self.assertEqual(self.book.told[-1], "closed")
        self.assertEqual(len(self.book.outcomes), 1)

    def test_an_idle_one_is_given_back(self) -> None:
        peer = self.called()
        peer.say(OK)
        self.pass_time(6)
        self.assertTrue(peer.line.aborted)
        self.assertEqual(self.book.told[-1], "closed")

    def test_N11_aborted_behind_the_message(self) -> None:
        peer = self.called()
        self.session.abort()
        peer.say(OK)
        self.assertEqual(self.book.told, ["answered", "accepted", "closed"])

    def test_quiet_hosts(self) -> None:
        peer = self.called()
        self.pass_time(1)
        self.assertEqual(self.book.told, ["answered", "quiet"])
        peer.say(OK)
        self.assertEqual(self.book.told, ["answered", "quiet", "active", "accepted", "done"])


class Secure(Posting):
    url = "https://web.test/"
    policy = Policy.VERIFY
    implicit = True

    def test_by_tls_alone(self) -> None:
        self.session.deliver(offer(require_tls=True))
        peer = self.peer()
        peer.connect()
        self.assertEqual((peer.port, peer.line.read(), self.book.told), (443, b"", []))
        self.assertEqual(self.tls.asked[0].host, "web.test")
        self.assertEqual(peer.shake(), b"")
        self.session.go()
        self.assertEqual(parsed(peer.line.read())[1][b"Host"], b"web.test")
        peer.say(OK)
        self.check(Result.DELIVERED, "dot", "")
        self.assertEqual(self.outcome.tls, "TLSv1.3 X verified")

    def test_nothing_is_said_to_whoever_is_not_the_host(self) -> None:
        self.tls.doubt = "the certificate is for another host than web.test"
        self.hosts = self.hosts[:1]
        self.session.deliver(offer())
        peer = self.peer()
        peer.connect()
        self.assertEqual(peer.shake(), b"")
        self.check(Result.DEFERRED, "tls", "tls")
        self.assertIn("another host", self.outcome.response)
        self.assertEqual(len(self.reactor.tcpClients), 1, "and nothing in the clear")

    def test_no_handshake(self) -> None:
        self.hosts = self.hosts[:1]
        self.session.deliver(offer())
        self.peer().connect()
        self.pass_time(26)
        self.check(Result.DEFERRED, "tls", "network")
