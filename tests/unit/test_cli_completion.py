"""What shells complete: asked of the shells, where they are installed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.peers import environment
from relay.cli.completion import bash, fish, places, zsh
from relay.cli.main import COMMANDS, make_parser


class CompletionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def run_it(self, shell: str, script: str, code: str) -> list[str]:
        if shutil.which(shell) is None:
            raise SkipTest(f"{shell} is not installed")
        (self.folder / "words").write_text(script)
        (self.folder / "mail.eml").touch()
        options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        done = subprocess.run(
            [shell, *options, "-c", code], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split("\n")[:-1]

    def bash(self, *words: str) -> list[str]:
        """What may stand for the last of the words."""
        line = " ".join(f"'{word}'" for word in words)
        code = f"source ./words; COMP_WORDS=(zonerelay {line}) COMP_CWORD={len(words)}; _zonerelay; "
        return self.run_it("bash", bash(make_parser()), code + r'printf "%s\n" "${COMPREPLY[@]}"')

    def test_commands(self) -> None:
        offered = self.bash("")
        self.assertLessEqual({command.name for command in COMMANDS}, set(offered))
        self.assertNotIn("suppression", offered)
        self.assertEqual(self.bash("queue", "mo"), ["move"])

    def test_other_names_lead_on(self) -> None:
        self.assertEqual(self.bash("suppression", "ex"), ["export"])
        self.assertEqual(self.bash("queue", "list", "--sta"), ["--state"])

    def test_options_and_their_values(self) -> None:
        self.assertEqual(self.bash("queue", "ls", "--lim"), ["--limit"])
        self.assertEqual(self.bash("queue", "ls", "--state", ""), ["queued", "deferred", "held", "sending"])
        self.assertEqual(self.bash("queue", "ls", "--limit", "5", "--state", "he"), ["held"])
        self.assertEqual(self.bash("queue", "ls", "--zone", ""), [""])

    def test_files(self) -> None:
        self.assertEqual(self.bash("send", "--attach", "mail"), ["mail.eml"])
        self.assertEqual(self.bash("suppress", "import", "mail"), ["mail.eml"])
        self.assertEqual(self.bash("queue", "ls", "mail"), [""])

    def test_a_value_that_is_called_as_a_command(self) -> None:
        self.assertEqual(self.bash("hold", "--reason", "queue", "--zo"), ["--zone"])

    def test_all_of_it_can_be_read(self) -> None:
        known = {place.path for place in places(make_parser())}
        self.assertLessEqual({(), ("queue", "delete"), ("key", "add"), ("zone", "list")}, known)

    def test_who_has_read_enough(self) -> None:
        """No traceback when a pager ends first."""
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", "completion", "bash"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        self.addCleanup(process.stderr.close)
        self.assertEqual((process.stderr.read(), process.wait(60)), (b"", 128 + signal.SIGPIPE))

    def test_zsh(self) -> None:
        code = "autoload -U compinit && compinit -u -D; source ./words; print -r -- ${_comps[zonerelay]}"
        self.assertEqual(self.run_it("zsh", zsh(make_parser()), code), ["_bash_complete -F _zonerelay"])

    def test_fish(self) -> None:
        code = "source ./words; complete -C 'zonerelay queue ls --sta'; complete -C 'zonerelay queue mo'"
        said = [line.partition("\t")[0] for line in self.run_it("fish", fish(make_parser()), code)]
        self.assertEqual(said, ["--state", "move"])
