"""The conformance suite itself: what counts, what is told, and its three doors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gencore import plugins, testing
from gencore.cli import main
from gencore.cli.check import summary
from gencore.errors import InputError
from gencore.installed import record
from gencore.manifest import Manifest
from gencore.testing.conformance.run import CHECKS, Report, Result, reason_of, run_check, run_checks
from gencore.testing.conformance.subject import Subject
from gencore.testing.failures import CheckFailed, Skipped, require
from gencore.testing.tiny import tiny_pipeline

TOY = Path(__file__).with_name("toy")


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.syspath_prepend(str(TOY))
    import toy_manifest

    return toy_manifest.manifest


@pytest.fixture
def toy(manifest: Manifest) -> Iterator[Manifest]:
    with plugins.registered(manifest):
        yield manifest


def test_a_sound_modality_passes_every_check(toy: Manifest) -> None:
    seen: list[Result] = []
    report = testing.run_checks("toy", on_result=seen.append)
    assert [(r.id, r.cause) for r in report.results if r.status != "passed"] == []
    assert [r.id for r in seen] == list(CHECKS) and report.ok
    assert summary(report) == f"{len(CHECKS)} passed, 0 failed, 0 skipped"


def test_every_check_says_why_it_exists() -> None:
    for name, check in CHECKS.items():
        assert len(reason_of(check)) > 60, name
        assert reason_of(check).endswith("."), name


def with_expected(manifest: Manifest, **failures: str) -> Mapping[str, Result]:
    told = {name.replace("_", "-"): reason for name, reason in failures.items()}
    with plugins.registered(replace(manifest, expected_failures=told)):
        only = [name for name in told if name in CHECKS]
        report = run_checks("toy", only=only)
    return {r.id: r for r in report.results}


def test_an_expected_failure_needs_its_reason_and_a_stale_one_fails(manifest: Manifest, monkeypatch) -> None:
    import toy_modality

    monkeypatch.setattr(toy_modality.Codec, "decode", lambda self, latent: latent.value * 2)
    found = with_expected(manifest, encode_decode_round_trip="stored at half height")
    assert found["encode-decode-round-trip"].status == "expected"
    assert found["encode-decode-round-trip"].cause == "stored at half height"
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(TOY))
    stale = with_expected(manifest, encode_decode_round_trip="stored at half height")["encode-decode-round-trip"]
    assert stale.status == "failed" and "but it passes: take it out of the manifest" in stale.cause
    for reason in ("", "  ", 3):
        broken = replace(manifest, expected_failures={"encode-decode-round-trip": reason})  # type: ignore[dict-item]
        plugin = record(broken, name="toy", distribution="gencore-toy", version="1")
        assert "expected failure 'encode-decode-round-trip' gives no reason" in plugin.cause


def test_an_expected_failure_of_no_check_is_told(manifest: Manifest, tmp_path: Path, monkeypatch) -> None:
    from gencore.testing.conformance import run

    monkeypatch.setattr(run, "CHECKS", {"files-are-read-back": CHECKS["files-are-read-back"]})
    with plugins.registered(replace(manifest, expected_failures={"files-are-raed-back": "a slip"})):
        *_, last = run.iterate(Subject("toy", tmp_path))
    assert last.status == "failed" and "files-are-raed-back" in last.cause and "no such check" in last.cause


def test_every_outcome_becomes_one_line(toy: Manifest, tmp_path: Path) -> None:
    subject = Subject("toy", tmp_path)

    def says_no(subject: Subject) -> None:
        require(False, "two\nlines")

    def breaks(subject: Subject) -> None:
        raise ZeroDivisionError("deep\ninside")

    def does_not_apply(subject: Subject) -> None:
        raise Skipped("nothing to check")

    def wraps(subject: Subject) -> None:
        try:
            int("x")
        except ValueError as fault:
            raise CheckFailed("no number") from fault

    results = [run_check(check, subject) for check in (says_no, breaks, does_not_apply, wraps)]
    assert results == [
        Result("says-no", "failed", "two lines", results[0].where),
        Result("breaks", "failed", "ZeroDivisionError: deep", results[1].where),
        Result("does-not-apply", "skipped", "nothing to check"),
        Result("wraps", "failed", "no number", results[3].where),
    ]
    # The line that asked, or that raised, not the helper in between.
    assert all(r.where.rpartition(":")[0] == __file__ for r in (results[0], results[1], results[3]))


def test_counts_and_plain_data() -> None:
    results = (Result("a", "passed"), Result("b", "expected", "batch norm"), Result("c", "skipped", "no"))
    report = Report("toy", results)
    assert report.ok and summary(report) == "1 passed, 1 expected failure (batch norm), 0 failed, 1 skipped"
    assert not Report("toy", (*results, Result("d", "failed", "x"))).ok
    assert json.loads(json.dumps(report.data()))["results"][1]["cause"] == "batch norm"


def test_what_cannot_be_checked_is_refused(toy: Manifest) -> None:
    with pytest.raises(InputError, match=r"modality: got 'tyo'.*did you mean 'toy'"):
        run_checks("tyo")
    with pytest.raises(InputError, match=r"check: got 'same-seed'.*did you mean 'same-seed-same-bytes'"):
        run_checks("toy", only=["same-seed"])
    with pytest.raises(InputError, match="model: got no-such-folder"):
        run_checks("toy", model="no-such-folder")


def test_a_modality_without_any_model_says_what_to_add(manifest: Manifest) -> None:
    provides = {kind: names for kind, names in manifest.provides.items() if kind != "preset"}
    with (
        plugins.registered(replace(manifest, provides=provides)),
        pytest.raises(InputError, match="a preset called 'tiny'"),
    ):
        run_checks("toy")


def test_the_command_line(toy: Manifest, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert main(["check", "toy", "--only", "files-are-read-back"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pass      files-are-read-back") and out.endswith("1 passed, 0 failed, 0 skipped\n")
    import toy_modality

    monkeypatch.setattr(toy_modality.Codec, "decode", lambda self, latent: latent.value * 2)
    assert main(["check", "toy", "--only", "encode-decode-round-trip"]) == 1
    out = capsys.readouterr().out
    assert "FAIL      encode-decode-round-trip" in out and "codec.py:" in out
    assert "again: gencore check toy --only encode-decode-round-trip" in out
    assert main(["check", "toy", "--only", "encode-decode-round-trip", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False and data["results"][0]["id"] == "encode-decode-round-trip"
    assert main(["check", "toy", "--only", "nothing"]) == 2
    assert main(["check"]) == 2
    assert "modality: got nothing" in capsys.readouterr().err
    assert main(["check", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == CHECKS.keys()


def pytest_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_pytest_runs_each_check_of_an_installed_modality(tmp_path: Path) -> None:
    """The same checks on a real modality, in a project without a test of its own."""
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "model")
    name, model = pipe.modality.name, str(tmp_path / "model")
    rest = ("-v", "-k", "not (resumed and training)")
    done = pytest_run(tmp_path, "--gencore-modality", name, "--gencore-model", model, *rest)
    assert done.returncode == 0, done.stdout
    for check in CHECKS:
        if check != "resumed-training-equals-the-uninterrupted":
            assert f"gencore::{pipe.modality.name}::{check} " in done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]


def test_pytest_without_the_option_is_left_alone(tmp_path: Path) -> None:
    code = "import sys, gencore.testing.pytest_plugin; assert not {'torch', 'numpy'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
    done = pytest_run(tmp_path, "--gencore-modality", "no-such")
    assert done.returncode == 4 and "--gencore-modality no-such: modality: got 'no-such'" in done.stderr
