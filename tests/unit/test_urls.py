"""URLs of the configuration: what they lead to, and what is never shown of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.urls import read


class UrlTests(SynchronousTestCase):
    def test_where_it_leads(self) -> None:
        for text, wanted in (
            ("http://a.test", (False, "a.test", 80, b"/", "a.test", "http://a.test/")),
            ("https://A.test/b?c=d&e", (True, "a.test", 443, b"/b?c=d&e", "a.test", "https://a.test/b")),
            ("HTTPS://a.test:80/", (True, "a.test", 80, b"/", "a.test:80", "https://a.test:80/")),
            ("http://a.test?x", (False, "a.test", 80, b"/?x", "a.test", "http://a.test/")),
            ("http://192.0.2.1:8080/%0d%0a", (False, "192.0.2.1", 8080, b"/%0d%0a", "192.0.2.1:8080",
                                              "http://192.0.2.1:8080/%0d%0a")),
            ("http://[2001:db8::1]:81/x", (False, "2001:db8::1", 81, b"/x", "[2001:db8::1]:81",
                                           "http://[2001:db8::1]:81/x")),
        ):
            url = read(text)
            self.assertEqual((url.secure, url.host, url.port, url.target, url.authority, str(url)), wanted)
            self.assertEqual(url.login, b"")

    def test_a_login_is_sent_and_not_shown(self) -> None:
        url = read("https://me%40x:s%C3%A4cret%3A@a.test/x?token=t")
        self.assertEqual(url.login, b"Basic bWVAeDpzw6RjcmV0Og==")
        for shown in (str(url), repr(url), f"{url}", url.authority, url.place):
            for secret in ("s%C3", "säcret", "me", "token", "bWV"):
                self.assertNotIn(secret, shown)

    def test_what_is_none(self) -> None:
        for text in (
            "", "a.test", "/x", "ftp://a.test/", "file:///etc/passwd", "gopher://a.test", "http://", "http:///x",
            "http://a b/", "http://a.test/\r\nHost: b", "http://a.test/\0", "http://ä.test/", "http://a.test:0/",
            "http://a.test:65536/", "http://a.test:x/", "http://[::1/", "http://[::1%25lo]/", "http://a_.test#frag",
            "http://-\\@a.test\\b/", "http://a..test/", "http://u%3Av:p@a.test/", "http://u:%0d%0a@a.test/",
            "http://" + "a" * 2000, "http://a.test/" + "a" * 2000, "//a.test/x", "http:a.test",
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=text) as caught:
                read(text)
            if "@" in text:
                self.assertNotIn(text, str(caught.exception))

    @given(st.text(alphabet="htps:/@[]?#%.:ab1\\ \r\n\t", max_size=30))
    def test_what_is_read_can_stand_in_a_request(self, text: str) -> None:
        try:
            url = read("http://" + text)
        except ValueError:
            return
        for part in (url.target, url.authority.encode(), url.login.removeprefix(b"Basic ")):
            self.assertRegex(part, rb"\A[!-~]*\Z")
        self.assertTrue(url.target.startswith(b"/"))
