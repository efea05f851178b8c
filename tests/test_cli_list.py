"""The command line's frame, and the verbs ``list`` and ``doctor``."""

from __future__ import annotations

import json
from argparse import Namespace
from importlib.metadata import entry_points

import pytest

from gencore import __version__
from gencore.cli import VERBS, main
from gencore.cli.doctor import examine
from gencore.cli.parser import Parser
from gencore.errors import GencoreError, Negative
from gencore.installed import record
from gencore.manifest import API_VERSION, Manifest
from gencore.plugins import registered


def one_error_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("gencore: error: ")
    return line.removeprefix("gencore: error: ")


def test_list_shows_each_plugin_with_what_it_provides(site) -> None:
    site.plugin(
        "drums",
        '{"preset": {"tiny": "drums_code:tiny"}, "sampler": {"roll": "drums_code:Roll"}, "metric": {"m": "a:b"}}',
        'default="drums:default"',
        code="raise SystemError('imported by a listing')",
    )
    site.install("lab-bad", entry="bad = lab_bad:manifest", lab_bad="print('noise'); raise ValueError('why')")
    done = site.gencore("list", plugins="drums,bad")
    assert done.returncode == 0
    rows = {row.split()[0]: " ".join(row.split()) for row in done.stdout.splitlines() if row}
    assert rows["drums"] == "drums"  # the heading over what it provides comes after its row
    assert "drums 1.2.3 1.0 gencore-drums yes ok" in [" ".join(row.split()) for row in done.stdout.splitlines()]
    assert rows["bad"].startswith("bad 1.2.3 - lab-bad - broken: lab-bad 1.2.3: ") and "ValueError: why" in rows["bad"]
    assert (rows["presets"], rows["samplers"]) == ("presets tiny", "samplers roll")


def test_list_as_json_is_one_object_even_when_a_manifest_prints(site) -> None:
    site.install("lab-loud", entry="loud = lab_loud:manifest", lab_loud="print('noise'); manifest = 3")
    site.plugin("drums", '{"preset": {"tiny": "drums_code:tiny"}}')
    done = site.gencore("list", "--json")
    told = json.loads(done.stdout)
    assert (told["gencore"], told["api"]) == (__version__, list(API_VERSION))
    rows = {row["name"]: row for row in told["plugins"]}
    assert rows["drums"]["provides"] == {"preset": ["tiny"]}
    assert rows["drums"]["editable"] is False and rows["images"]["distribution"] == "gencore-images"
    assert rows["loud"]["status"] == "broken" and rows["loud"]["cause"].startswith("lab-loud 1.2.3: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lsit"], "verb: got 'lsit'; accepted: "),
        (["lsit"], "did you mean 'list'?"),
        (["list", "--jsno"], "--jsno: not an option of 'gencore list'; did you mean '--json'?"),
        (["list", "--js"], "--js: not an option of 'gencore list'; did you mean '--json'?"),
        (["list", "extra"], "unrecognized arguments: extra; gencore list --help"),
        (["doctor", "--timeout", "soon"], "--timeout: got 'soon'; accepted: a number"),
        (["doctor", "--timeout=-1"], "--timeout: got -1.0; accepted: seconds above 0"),
        (["doctor", "--timeout", "nan"], "--timeout: got nan; accepted: seconds above 0"),
        (["doctor", "--timeout"], "--timeout: expected one argument; gencore doctor --help"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert told in one_error_line(err) and out == ""


def test_a_verb_of_an_absent_package_names_it(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("GENCORE_PLUGINS", "")
    assert main(["rollout", "robot"]) == 2
    assert one_error_line(capsys.readouterr().err) == "no verb 'rollout' installed; pip install gencore-robot"


def test_a_verb_of_a_broken_package_tells_the_cause(site) -> None:
    site.install("gencore-robot", entry="robot = lab_robot:manifest", lab_robot="raise OSError('no arm')")
    done = site.gencore("record", "robot")
    assert done.returncode == 2
    told = one_error_line(done.stderr)
    assert told.startswith("no verb 'record' installed; gencore-robot 1.2.3: ") and told.endswith("OSError: no arm")


def test_a_plugin_adds_a_verb(site) -> None:
    code = """
        def add_arguments(parser):
            parser.add_argument("beats", type=int)
            parser.add_argument("--kit", choices=("rock", "jazz"), default="rock")
        def run(args):
            print(args.beats * 2, args.kit)
            return 1
    """
    site.plugin("drums", '{"command": {"tap": "drums_code"}}', code=code)
    done = site.gencore("tap", "4", "--kit", "jazz")
    assert (done.returncode, done.stdout) == (1, "8 jazz\n")
    helped = [" ".join(row.split()) for row in site.gencore("--help").stdout.splitlines()]
    assert "tap added by gencore-drums" in helped
    assert "did you mean 'jazz'?" in one_error_line(site.gencore("tap", "4", "--kit", "jaz").stderr)


class Failing:
    """A verb that ends as told."""

    def __init__(self, ending: BaseException) -> None:
        self.ending = ending

    def add_arguments(self, parser: Parser) -> None: ...

    def run(self, args: Namespace) -> int:
        raise self.ending


@pytest.mark.parametrize(
    ("ending", "code", "last"),
    [
        (GencoreError("two\nlines"), 2, "gencore: error: two lines"),
        (Negative("it differs"), 1, "gencore: error: it differs"),
        (KeyboardInterrupt(), 130, "gencore: cancelled"),
        (OSError(28, "No space left on device", "out.png"), 2, "gencore: error: out.png: No space left on device"),
        (OSError(5, "Input/output error"), 70, "OSError: [Errno 5] Input/output error"),
        (ZeroDivisionError("a fault"), 70, "ZeroDivisionError: a fault"),
    ],
)
def test_endings(ending, code: int, last: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("gencore.cli._verb", lambda name: Failing(ending))
    assert main(["any"]) == code
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == last
    assert ("Traceback" in err) == (code == 70)


def test_debugging_adds_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("GENCORE_DEBUG", "1")
    monkeypatch.setattr("gencore.cli._verb", lambda name: Failing(GencoreError("mend it")))
    assert main(["any"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("gencore: error: mend it\n")


def test_help_names_every_verb(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in VERBS)
    assert main([]) == 2
    assert capsys.readouterr().out == ""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gencore {__version__}\n"


def test_option_values_are_not_taken_for_options() -> None:
    parser = Parser("gencore any", words=["images"])
    parser.add_argument("place", nargs="*")
    parser.add_argument("-n", type=int)
    parser.add_argument("--shift", type=float)
    args = parser.parse_args(["-n16", "--shift", "-1.5", "--", "--not-an-option"])
    assert (args.n, args.shift, args.place) == (16, -1.5, ["--not-an-option"])
    assert parser.words == ["images"]
    with pytest.raises(GencoreError, match="-x: not an option"):
        parser.parse_args(["-x"])


def diagnose(site, monkeypatch: pytest.MonkeyPatch, code: str, timeout: float = 30, extras: str = ""):
    """What doctor says of a plug-in whose implementation module is `code`."""
    provides = {"sampler": {"walk": "drums_code:Walk"}}
    site.plugin("drums", repr(provides), extras, code=code)
    # Found before the real one, so that the probe does not pay for importing torch.
    (site.folder / "torch.py").write_text("")
    monkeypatch.syspath_prepend(str(site.folder))
    manifest = Manifest(name="drums", summary="", provides=provides)
    plugin = record(manifest, name="drums", distribution="gencore-drums", version="1.2.3")
    return examine(plugin, timeout)


def test_doctor_finds_nothing_wrong_with_a_healthy_plugin(site, monkeypatch) -> None:
    found = diagnose(site, monkeypatch, "print('loud')\nclass Walk: pass")
    assert (found.status, found.cause, found.faults, found.missing) == ("ok", "", [], {})
    assert 0 <= found.seconds < 5


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise OSError('no codec')", "sampler 'walk' of gencore-drums 1.2.3 cannot be imported from drums_code:Walk"),
        ("import os; os._exit(3)", "gencore-drums 1.2.3: import ended the process (exit 3)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "import ended the process (killed by signal 11)"),
    ],
)
def test_doctor_tells_what_an_import_does(site, monkeypatch, code: str, cause: str) -> None:
    found = diagnose(site, monkeypatch, code)
    assert found.status == "broken" and cause in found.cause


def test_doctor_ends_an_import_that_hangs(site, monkeypatch) -> None:
    found = diagnose(site, monkeypatch, "import time; time.sleep(60)", timeout=2)
    assert (found.status, found.cause) == ("broken", "gencore-drums 1.2.3: still importing after 2 s")
    assert found.seconds is None


def test_doctor_tells_a_slow_import_from_a_broken_one(site, monkeypatch) -> None:
    monkeypatch.setattr("gencore.cli.doctor.SLOW_SECONDS", 0.2)
    found = diagnose(site, monkeypatch, "import time; time.sleep(0.3)\nclass Walk: pass")
    assert found.status == "slow" and "s beyond torch's own" in found.cause and found.seconds >= 0.3


def test_doctor_does_not_blame_a_plugin_for_an_extra_that_is_absent(site, monkeypatch) -> None:
    found = diagnose(site, monkeypatch, "import no_such_kit", extras='extras={"no_such_kit": "gencore-drums[kit]"}')
    assert (found.status, found.missing) == ("ok", {"no_such_kit": "gencore-drums[kit]"})


def test_doctor_reports_every_plugin_and_the_machine(site) -> None:
    site.install("lab-bad", entry="bad = lab_bad:manifest", lab_bad="raise ValueError('why')")
    done = site.gencore("doctor", "--json", plugins="bad")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    core, bad = told["plugins"]
    assert (core["name"], core["status"], core["faults"]) == ("core", "ok", [])
    assert (bad["distribution"], bad["version"], bad["status"]) == ("lab-bad", "1.2.3", "broken")
    assert "ValueError: why" in bad["cause"]
    import torch

    assert told["torch"] == torch.__version__ and told["devices"][0] == "cpu" and told["free_disk_gb"] > 0


def test_doctor_as_a_table_exits_0_when_all_is_well(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from gencore.cli.doctor import Diagnosis

    monkeypatch.setenv("GENCORE_PLUGINS", "")
    monkeypatch.setattr("gencore.cli.doctor.examine", lambda plugin, timeout: Diagnosis(status="ok", seconds=timeout))
    with registered(Manifest(name="toy", summary="")):
        assert main(["doctor", "--timeout", "7"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].split() == ["toy", "in-process", "-", "1.0", "7.0", "ok"]
    assert [row for row in rows if row.startswith("free_disk_gb")]


def test_a_closed_pipe_is_no_fault(site) -> None:
    done = site.run(
        "-c",
        "import os, sys\nr, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r)\n"
        "from gencore.cli import main\nsys.exit(main(['--version']))",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_and_python_dash_m_are_one_program(site) -> None:
    (script,) = entry_points(group="console_scripts", name="gencore")
    assert script.load() is main
    assert json.loads(site.gencore("list", "--json", plugins="").stdout)["gencore"] == __version__
