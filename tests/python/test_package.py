"""The installed package: the module's calls do what the program's commands do."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import outrider
import pytest

from conftest import MODEL

PROGRAM = Path(sys.executable).parent / "outrider"


def program(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_the_program_and_the_module_have_one_version():
    assert program("--version").stdout.split()[-1] == outrider.__version__
    module = subprocess.run([sys.executable, "-m", "outrider", "--version"], capture_output=True, text=True)
    assert module.stdout == program("--version").stdout


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
def test_program_and_module_are_hardened():
    package = Path(outrider.__file__).parent
    files = [package / "bin/outrider", *package.glob("_outrider*.so")]
    assert len(files) == 2
    hardening = MODEL.parents[1] / "tests/package/hardening.py"
    done = subprocess.run([sys.executable, hardening, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_sound_checkpoint():
    report = outrider.check(MODEL)
    assert report.sound and report.complete and not report.errors
    assert report.path == str(MODEL)
    assert [f.severity for f in report.findings] == ["note", "info", "info"]
    assert outrider.verify(str(MODEL)).sound


@pytest.mark.parametrize("name", ["half-an-expert", "no-head", "scale-not-a-number"])
def test_the_report_is_the_programs(variants, name):
    directory = variants(name)
    report = outrider.check(directory, data=True)
    told = program("check", "--data", "--json", directory)
    expected, found = json.loads(told.stdout), report.to_dict()
    for values in (expected, found):  # times
        del values["scan"]
    assert found == expected
    assert report.sound == (told.returncode == 0)
    assert str(report).splitlines()[-1] == program("check", "--data", directory).stdout.splitlines()[-1]


def test_verify_raises_with_the_list_of_findings(variants):
    with pytest.raises(outrider.ArtifactError, match=r"OUT\d+ .*\n.*Remedy: ") as raised:
        outrider.verify(variants("half-an-expert"))
    report = raised.value.report
    assert not report.sound and report.errors
    assert all(f.code in str(raised.value) and f.remedy in str(raised.value) for f in report.errors)


def test_strict_counts_warnings(variants):
    directory = variants("fp32-downcast")
    assert outrider.check(directory).warnings
    assert outrider.check(directory).sound
    with pytest.raises(outrider.ArtifactError):
        outrider.verify(directory, strict=True)


def test_errors_have_the_programs_texts(tmp_path):
    for path in (tmp_path / "none", tmp_path, __file__):
        with pytest.raises(outrider.Error) as raised:
            outrider.check(path)
        assert f"outrider: {raised.value}\n" == program("check", path).stderr
    assert not isinstance(raised.value, outrider.ArtifactError)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="either output or in_place"):
        outrider.repair(MODEL)
    with pytest.raises(ValueError, match="mistral"):
        outrider.convert(MODEL, tmp_path / "out", to="mistral")
    with pytest.raises(outrider.Error, match="no such finding"):
        outrider.repair(MODEL, tmp_path / "out", only=["OUT999"])
    with pytest.raises(TypeError):
        outrider.check(3)


def test_repair(variants, tmp_path):
    directory = MODEL
    plan = outrider.repair(directory, only=["OUT050"], dry_run=True)
    assert [a.code for a in plan.actions] == ["OUT050"] and plan.report is None and plan.bytes_to_write > 0
    assert "OUT050" in str(plan)
    done = outrider.repair(directory, tmp_path / "repaired", only=["mtp-shares-head"])
    assert done.report.sound
    assert "OUT050" not in [f.code for f in outrider.check(tmp_path / "repaired").findings]
    with pytest.raises(outrider.Error, match="repaired"):  # it exists
        outrider.repair(directory, tmp_path / "repaired", only=["OUT050"])


def test_a_repair_that_would_leave_errors_writes_nothing(variants, tmp_path):
    directory = variants("half-an-expert")
    with pytest.raises(outrider.ArtifactError, match="not repaired"):
        outrider.repair(directory, tmp_path / "out", only=["OUT050"])
    assert not (tmp_path / "out").exists()
    restored = outrider.repair(directory, tmp_path / "out", reference=MODEL)
    assert restored.report.sound


def test_convert_there_and_back(tmp_path):
    assert outrider.convert(MODEL, tmp_path / "hf", to="huggingface").sound
    report = outrider.convert(tmp_path / "hf", tmp_path / "official", to="official")
    assert report.sound and report.to_dict()["dialect"] == "official"
    compared = outrider.check(tmp_path / "official", reference=MODEL)
    assert compared.sound and not compared.warnings


def test_quantize_shows_its_progress(tmp_path):
    calls = []
    result = outrider.quantize(MODEL, tmp_path / "w4", "w4a16-fp8", progress=lambda done, total: calls.append((done, total)))
    assert result.report.sound and not result.resumed
    assert {e.form for e in result.errors} and all(0 <= e.mean <= e.worst < 1 for e in result.errors)
    assert calls[-1][0] == calls[-1][1] > 0


def test_what_the_callback_raises_ends_the_call(tmp_path):
    class Enough(Exception):
        pass

    def stop(done, total):
        raise Enough

    with pytest.raises(Enough):
        outrider.quantize(MODEL, tmp_path / "out", "bf16", progress=stop)
    assert not (tmp_path / "out").exists()
    with pytest.raises(Enough):
        outrider.check(MODEL, data=True, progress=stop)


def test_control_c_ends_a_call(tmp_path):
    def interrupt(done, total):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        outrider.quantize(MODEL, tmp_path / "out", "mxfp4-fp8", threads=1, progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_other_threads_run_meanwhile(tmp_path):
    turns, done = [], threading.Event()

    def count():
        while not done.is_set():
            turns.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    try:
        outrider.quantize(MODEL, tmp_path / "out", "nvfp4-fp8", threads=1, progress=False)
    finally:
        ended = time.monotonic()
        done.set()
        thread.join()
    longest = max(b - a for a, b in zip([began, *turns], [*turns, ended]) if began <= b <= ended)
    assert longest < (ended - began) / 2


def test_notebooks_show_a_table(variants, tmp_path):
    copy = tmp_path / "<b>model"
    copy.symlink_to(variants("half-an-expert"))
    report = outrider.check(copy)
    shown = report._repr_html_()
    assert "<b>model" not in shown and report.errors[0].code in shown and "Remedy" in shown
    assert "errors" in repr(report)


def test_a_bar_is_shown_for_long_calls_only(capfd):
    from outrider._progress import shown

    outrider.check(MODEL, data=True)
    assert capfd.readouterr().err == ""
    with shown(True, "reading values") as show:
        show(0, 10)
        time.sleep(1.1)
        show(5, 10)
    assert "reading values:  50%" in capfd.readouterr().err


def test_types(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(
        "import outrider\n"
        "report = outrider.check('a', data=True, progress=lambda done, total: None)\n"
        "codes: list[str] = [f.code for f in report.findings]\n"
        "errors: list[float] = [e.mean for e in outrider.quantize('a', 'b', 'bf16').errors]\n"
        "wrong: int = outrider.verify('a').to_json()\n"
        "outrider.convert('a', 'b', to='mistral')\n"
    )
    found = subprocess.run([sys.executable, "-m", "mypy", "--strict", user], capture_output=True, text=True).stdout
    lines = [line.split(":")[1] for line in found.splitlines() if ": error:" in line]
    assert lines == ["5", "6"], found


def test_everything_public_says_what_it_does():
    for name in outrider.__all__:
        assert inspect.getdoc(getattr(outrider, name)), name
