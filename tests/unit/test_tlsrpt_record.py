"""Who asks for TLS reports, and where they are to go (RFC 8460 3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import parse
from relay.tlsrpt.record import LONGEST, LONGEST_URI, MOST, Mailbox, Url, destination_of, record_of

ONE = "v=TLSRPTv1; rua=mailto:reports@example.com"
BOX = Mailbox("mailto:reports@example.com", parse("reports@example.com"))
WEB = Url("https://reports.example.com/v1/tls?x=1", "reports.example.com", 443, "/v1/tls?x=1")

words = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";="), min_size=1, max_size=20)
names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name != "rua")
blanks = st.text(" \t", max_size=3)


class Records(SynchronousTestCase):
    def test_both_ways(self) -> None:
        self.assertEqual(record_of([f"{ONE},{WEB.uri}"]), (BOX, WEB))
        self.assertEqual(record_of([f"v=TLSRPTv1;rua=\t{WEB.uri} , {BOX.uri} ;"]), (WEB, BOX))
        self.assertEqual(record_of([f"{ONE}; rua={WEB.uri}"]), (BOX, WEB))

    def test_other_texts_at_the_name_are_passed_over(self) -> None:
        self.assertEqual(record_of(["v=spf1 -all", ONE, "v=TLSRPTv2; rua=mailto:x@example.com"]), (BOX,))

    def test_none_or_more_than_one_is_none(self) -> None:
        for texts in ([], ["v=spf1 -all"], [ONE, ONE], [ONE, "v=TLSRPTv1;"], ["v=TLSRPTv1"], [f" {ONE}"]):
            self.assertEqual(record_of(texts), (), texts)

    def test_what_breaks_the_grammar_asks_for_nothing(self) -> None:
        for rest in ("rua", "=x", "rua=", "rua=mailto:a@b.example x", "a b=c", "x=", "rua=mailto:a;b@c.example", "é=1"):
            self.assertEqual(record_of([f"{ONE}; {rest}"]), (), rest)
        self.assertEqual(record_of([ONE + "; x=" + "y" * LONGEST]), ())

    def test_unknown_schemes_and_odd_destinations_are_passed_over(self) -> None:
        for uri in (
            "http://reports.example.com/", "ftp://x.example/", "mailto:", "mailto:nobody", "mailto:a@b@c.example",
            "mailto:a%0d%0aBcc:x@example.com", "mailto:a@example.com%2Cb@example.com", "mailto:%ff@example.com",
            "https:///x", "https://user@h.example/", "https://user:pass@h.example/", "https://h.example:0/",
            "https://h.example:65536/", "https://h.example/#there", "https://[::1", "https://[v1.x]/", "https://-/",
            "https://h.example./", "https://h%41.example/", "https:h.example",
            "https://h.example/" + "x" * LONGEST_URI,
        ):  # fmt: skip
            self.assertEqual(record_of([f"v=TLSRPTv1; rua={uri}"]), (), uri)
            self.assertEqual(record_of([f"{ONE},{uri}"]), (BOX,), uri)

    def test_what_urls_lead_to(self) -> None:
        for uri, host, port, target in (
            ("https://H.example", "h.example", 443, "/"),
            ("HTTPS://h.example:8443?x", "h.example", 8443, "/?x"),
            ("https://192.0.2.1/a%20b", "192.0.2.1", 443, "/a%20b"),
            ("https://[2001:DB8::1]:444/", "2001:db8::1", 444, "/"),
        ):
            self.assertEqual(destination_of(uri), Url(uri, host, port, target))

    def test_what_mail_addresses_are(self) -> None:
        for uri, text in (
            ("mailto:a%2Bb@Example.com?subject=x", "a+b@example.com"),
            ("MAILTO:%22a%20b%22@example.com", '"a b"@example.com'),
        ):
            found = destination_of(uri)
            self.assertEqual(found, Mailbox(uri, parse(text)))

    def test_no_more_than_some_and_each_once(self) -> None:
        uris = ",".join(f"mailto:r{number}@example.com" for number in range(20))
        self.assertEqual(len(record_of([f"v=TLSRPTv1; rua={uris}"])), MOST)
        self.assertEqual(record_of([f"{ONE},{BOX.uri},{BOX.uri}"]), (BOX,))
        other = "mailto:%52eports@Example.com?subject=x"
        self.assertEqual(record_of([f"{ONE},{other}"]), (BOX,), "one mailbox, however it is written")
        self.assertEqual(record_of([f"{ONE},{WEB.uri},HTTPS://REPORTS.example.com:443/v1/tls?x=1"]), (BOX, WEB))

    def test_whom_it_burdens(self) -> None:
        for uri, place in (
            (BOX.uri, "reports@example.com"),
            ("mailto:Reports%2B1@example.com", "reports@example.com"),
            ("mailto:+1@example.com", "@example.com"),
            (WEB.uri, "reports.example.com"),
        ):
            found = destination_of(uri)
            assert found is not None
            self.assertEqual(found.place, place)

    @given(st.lists(st.tuples(names, words), max_size=5), blanks, blanks, st.booleans())
    def test_extensions_and_blanks_change_nothing(
        self, extensions: list[tuple[str, str]], before: str, behind: str, end: bool
    ) -> None:
        fields = ["v=TLSRPTv1", *(f"{name}={value}" for name, value in extensions), f"rua={BOX.uri}"]
        text = f"{before};{behind}".join(fields) + (f"{before};" if end else "")
        self.assertEqual(record_of([text]), (BOX,))

    @given(st.lists(st.text(max_size=99).map(lambda text: f"v=TLSRPTv1;rua={text}") | st.text(max_size=9), max_size=3))
    def test_whatever_stands_there(self, texts: list[str]) -> None:
        for destination in record_of(texts):
            self.assertEqual(destination_of(destination.uri), destination)
            self.assertTrue(destination.uri.isascii() and destination.uri.isprintable())
