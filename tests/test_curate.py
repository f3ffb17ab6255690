"""Curation against a real server on this machine: busy, broken, hanging, refusing, and killed in the middle."""

import base64
import gzip
import io
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from chat_server import Answer, Asked, ChatServer, serving, spoken, wait_for
from command_line import COMMAND
from curation import curate, pairs, report_of, willing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.data.curate import FAILURES_IN_A_ROW, Curation
from phantom_edge.data.endpoint import Endpoint, _asked_wait_seconds, chat_url, open_client
from phantom_edge.data.journal import FAILED, KEPT, Outcome
from phantom_edge.data.prompts import SHIPPED, load_prompts
from phantom_edge.data.triples import Triple, read_triples
from phantom_edge.data.wrong_answers import Curator, Question, confirms
from phantom_edge.foundation.errors import EdgeError

KEY = "sk-secret-0123456789"
PROMPTS = load_prompts()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def outcomes(server: ChatServer, number: int = 1, **how: float) -> dict[int, Outcome]:
    """The outcomes of some questions, asked within this process."""
    settings = {"timeout_seconds": 5.0, "retries": 3, "first_wait_seconds": 0.01, **how}
    curator = Curator(Endpoint(chat_url(server.address), "m", KEY, **settings), PROMPTS, concurrency=4)
    found: dict[int, Outcome] = {}
    questions = [Question(row, Triple(f"q{row}?", f"right {row}")) for row in range(number)]
    curator.all(questions, lambda row, outcome: found.update({row: outcome}))
    return found


def test_happy_path(tmp_path: Path) -> None:
    path = pairs(tmp_path, 7)
    with path.open("a") as file:
        file.write(Triple("had one?", "yes", ("no",), kind="k").to_json() + "\n")
    with serving(willing) as server:
        done = curate(path, server, "--yes", "--json", "--price-in", "1000", "--price-out", "2000")
        found = report_of(done)
        assert (found["kept"], found["given"], found["refused"], found["equal"], found["failed"]) == (7, 1, 0, 0, 0)
        assert (found["prompt_tokens"], found["completion_tokens"], found["price"]) == (7 * 22, 7 * 6, 0.238)
        assert len(server.asked) == 14 and sorted(server.writes()) == sorted(server.checks())
        assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
        assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
        assert {asked.document["model"] for asked in server.asked} == {"m"}
        check = next(asked for asked in server.asked if asked.is_check and asked.question == "q3?")
        assert "Right answer:\nright 3\n" in check.text and "Other answer:\nwrong of q3?\n" in check.text
        expected = [Triple(f"q{row}?", f"right {row}", (f"wrong of q{row}?",)) for row in range(7)]
        assert list(read_triples(tmp_path / "out.jsonl")) == [*expected, Triple("had one?", "yes", ("no",), kind="k")]
        assert b"7 questions, 14 calls at most" in done.stderr
        whole = (tmp_path / "out.jsonl").read_bytes()
        again = curate(path, server, "--yes")  # nothing is left to ask
        assert again.returncode == 0 and len(server.asked) == 14 and (tmp_path / "out.jsonl").read_bytes() == whole
        assert b"kept: wrong, and confirmed to be" in again.stdout
    journal = (tmp_path / "out.jsonl.journal").read_bytes()
    for printed in (done.stdout, done.stderr, again.stdout, again.stderr, journal, whole):
        assert KEY.encode() not in printed


def test_what_is_refused_and_what_is_equal(tmp_path: Path) -> None:
    def behave(asked: Asked) -> Answer:
        if asked.is_check:
            return spoken({"q0?": "No", "q1?": "I cannot tell", "q2?": "<think>No? Hm.</think>\nYes"}[asked.question])
        return spoken({"q3?": " Right  3. ", "q4?": "", "q5?": None}.get(asked.question, "wrong"))

    path = pairs(tmp_path, 6)
    with serving(behave) as server:
        found = report_of(curate(path, server, "--yes", "--json"))
        assert (found["kept"], found["refused"], found["equal"], found["failed"]) == (1, 2, 3, 0)
        assert sorted(server.checks()) == ["q0?", "q1?", "q2?"]  # nobody was asked about the equal and the empty ones
    assert list(read_triples(tmp_path / "out.jsonl")) == [Triple("q2?", "right 2", ("wrong",))]


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_heeded(dated: bool) -> None:
    times: list[float] = []

    def behave(asked: Asked) -> Answer:
        times.append(time.monotonic())
        if len(times) == 1:
            later = formatdate(time.time() + 2.5, usegmt=True) if dated else "1.2"
            return Answer(429, b"slow down", {"Retry-After": later})
        return willing(asked)

    with serving(behave) as server:
        assert outcomes(server)[0].state == KEPT
    assert times[1] - times[0] >= 1.2 and len(times) == 3


def garbled(asked: Asked) -> list[Answer]:
    cut = Answer(body=b'{"choices": [', headers={"content-length": "500"})
    squeezed = Answer(body=b"{}", headers={"content-encoding": "gzip"})
    return [squeezed, Answer(body=b"{"), Answer(body=b'{"choices": []}'), Answer(body=b"[1]"), spoken(["part"]), cut]


@pytest.mark.parametrize("kind", ["500", "garbled", "hang", "dropped"])
def test_trouble_that_passes(kind: str) -> None:
    tries: list[str] = []

    def behave(asked: Asked) -> Answer:
        tries.append(asked.question)
        trouble = {
            "500": [Answer(500, b"oops"), Answer(503), Answer(502, b"<html>")],
            "garbled": garbled(asked),
            "hang": [Answer(wait_seconds=30)],
            "dropped": [Answer(body=b"x", headers={"content-length": "100", "connection": "close"})],
        }[kind]
        return trouble[len(tries) - 1] if len(tries) <= len(trouble) else willing(asked)

    start = time.monotonic()
    with serving(behave) as server:
        found = outcomes(server, retries=6, timeout_seconds=0.6 if kind in ("hang", "garbled") else 5)
    assert found[0].state == KEPT and found[0].rejected == "wrong of q0?"
    assert time.monotonic() - start < 12


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(500, b"oops " * 200), "the server returned 500: oops oops"),
        (Answer(body=b"{"), "the server's reply is no chat completion (3 tries)"),
        (Answer(wait_seconds=30), "no answer within 0.3 s (3 tries)"),
        (replace(spoken("wrong"), drip_seconds=0.1), "no answer within 0.3 s (3 tries)"),
        (Answer(400, b"too long"), "the server returned 400: too long"),
        (Answer(403, f"{KEY} may not".encode()), "the server returned 403: *** may not"),
        (Answer(body=b" " * 5_000_000), "the server's reply is longer than 4,000,000 bytes"),
        (
            Answer(body=gzip.compress(b" " * 5_000_000), headers={"content-encoding": "gzip"}),
            "the server's reply is longer than 4,000,000 bytes",
        ),
    ],
    ids=["500", "garbled", "hang", "drip", "400", "403", "long", "packed"],
)
def test_trouble_that_stays(answer: Answer, reason: str) -> None:
    with serving(lambda asked: answer if asked.question == "q1?" else willing(asked)) as server:
        found = outcomes(server, 3, retries=2, timeout_seconds=0.3)
        assert [found[row].state for row in range(3)] == [KEPT, FAILED, KEPT]
        assert found[1].reason.startswith(reason) and len(found[1].reason) < 300
        assert server.writes().count("q1?") == (1 if answer.status in (400, 403) or "longer" in reason else 3)


def test_a_key_that_comes_back_is_in_no_file(tmp_path: Path) -> None:
    """And the journal, which holds what was asked, is its owner's alone."""
    path = pairs(tmp_path, 3)
    with serving(lambda asked: willing(asked) if asked.is_check else spoken(f"blue {KEY}")) as server:
        curate(path, server, "--yes")
    written = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert written and not any(KEY.encode() in one.read_bytes() for one in written)
    (journal,) = tmp_path.rglob("*journal*")
    assert journal.stat().st_mode & 0o077 == 0


def test_failed_questions_are_asked_again_and_no_others(tmp_path: Path) -> None:
    path = pairs(tmp_path, 5)
    sick = True

    def behave(asked: Asked) -> Answer:
        return Answer(500, b"oops") if sick and asked.question in ("q1?", "q4?") else willing(asked)

    with serving(behave) as server:
        done = curate(path, server, "--yes", "--json", "--retries", "0")
        found = report_of(done, code=1)
        assert (found["kept"], found["failed"]) == (3, 2)
        assert found["reasons"] == {"the server returned 500: oops (1 tries)": [2, 5]}
        assert len(list(read_triples(tmp_path / "out.jsonl"))) == 3
        sick, before = False, len(server.asked)
        assert report_of(curate(path, server, "--yes", "--json"))["kept"] == 5
        assert {asked.question for asked in server.asked[before:]} == {"q1?", "q4?"}
    assert [triple.question for triple in read_triples(tmp_path / "out.jsonl")] == [f"q{row}?" for row in range(5)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(401, f'{{"error": "Incorrect API key: {KEY}"}}'.encode()), b"refuses the key"),
        (Answer(429, b'{"error": {"code": "insufficient_quota"}}'), b"no credit left"),
        (Answer(404, b"no such model"), b"is not there"),
        (Answer(302, b"", {"location": "http://127.0.0.1:9/"}), b"is not there"),
    ],
    ids=["401", "quota", "404", "302"],
)
def test_trouble_for_all(answer: Answer, message: bytes, tmp_path: Path) -> None:
    path = pairs(tmp_path, 200)
    with serving(lambda _: answer) as server:
        done = curate(path, server, "--yes")
        assert done.returncode == 1 and message in done.stderr and b"Traceback" not in done.stderr
        assert len(server.asked) <= 8  # those under way, and not 200
    assert KEY.encode() not in done.stderr + done.stdout and not (tmp_path / "out.jsonl").exists()


def test_nobody_there_and_nothing_but_failures(tmp_path: Path) -> None:
    path = pairs(tmp_path, 100)
    with serving(willing) as server:
        pass
    done = curate(path, server, "--yes", "--retries", "1")
    assert done.returncode == 1 and b"cannot be reached" in done.stderr and b"Traceback" not in done.stderr
    with serving(lambda _: Answer(400, b"no")) as server:
        done = curate(path, server, "--yes")
        assert done.returncode == 1 and f"{FAILURES_IN_A_ROW} questions in a row failed".encode() in done.stderr
        assert len(server.asked) < FAILURES_IN_A_ROW + 8


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    path = pairs(tmp_path, 40)
    journal = tmp_path / "out.jsonl.journal"

    def slow(asked: Asked) -> Answer:
        return replace(willing(asked), wait_seconds=0.05)

    with serving(slow) as server:
        arguments = ["data", "curate", str(path), "--out", str(tmp_path / "out.jsonl"), "--endpoint", server.address]
        for enough in (8, 20):
            running = subprocess.Popen([*COMMAND, *arguments, "--model", "m", "--yes", "--concurrency", "4"])
            wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") > enough)  # noqa: B023
            running.send_signal(signal.SIGKILL)
            running.wait()
            assert not (tmp_path / "out.jsonl").exists()
        written = {json.loads(line)["row"] for line in journal.read_bytes().split(b"\n")[1:-1]}
        assert 20 <= len(written) < 40
        with journal.open("ab") as file:
            file.write(b'{"row": 3, "state": "ke')  # as if the kill had come in the middle of a line
        before = len(server.asked)
        assert report_of(curate(path, server, "--yes", "--json"))["kept"] == 40
        later = {int(asked.question[1:-1]) for asked in server.asked[before:]}
        assert later == set(range(40)) - written
        assert len(server.asked) <= 80 + 2 * 2 * 4  # of each kill, what was under way
    expected = [Triple(f"q{row}?", f"right {row}", (f"wrong of q{row}?",)) for row in range(40)]
    assert list(read_triples(tmp_path / "out.jsonl")) == expected


def test_interrupted_by_the_user(tmp_path: Path) -> None:
    path = pairs(tmp_path, 40)
    arguments = ["--out", str(tmp_path / "o"), "--yes", "--model", "m", "--concurrency", "2"]
    with serving(lambda asked: Answer(wait_seconds=60) if asked.question == "q5?" else willing(asked)) as server:
        running = subprocess.Popen(
            [*COMMAND, "data", "curate", str(path), *arguments, "--endpoint", server.address], stderr=subprocess.PIPE
        )
        wait_for(lambda: len(server.asked) > 40)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=10)  # at once, not when the hanging call has ended
    assert running.returncode == 130 and b"stopped" in told and b"Traceback" not in told


def test_nothing_is_asked_without_consent(tmp_path: Path) -> None:
    path = pairs(tmp_path, 2)
    with serving(willing) as server:
        for more in ((), ("--json",)):
            done = curate(path, server, *more)
            assert done.returncode == 1 and b"--yes" in done.stderr and not done.stdout
        assert not server.asked
        arguments = ["--endpoint", server.address, "--model", "m", "--price-in", "3", "--price-out", "15"]
        for reply, calls in ((b"n\n", 0), (b"y\n", 4)):
            parent, child = pty.openpty()
            running = subprocess.Popen(
                [*COMMAND, "data", "curate", str(path), "--out", str(tmp_path / "o.jsonl"), *arguments],
                stdin=child,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            os.write(parent, reply)
            _, told = running.communicate(timeout=30)
            os.close(parent)
            os.close(child)
            assert b"Go on?" in told and b"about 0.0" in told and len(server.asked) == calls
            assert running.returncode == (0 if calls else 1)


def test_estimate_counts_what_is_left(tmp_path: Path) -> None:
    path = pairs(tmp_path, 10)
    curation = Curation(path, tmp_path / "o.jsonl", PROMPTS, "m")
    with curation.open_journal() as journal:
        whole = curation.estimate(journal)
        assert (whole.questions, whole.calls) == (10, 20)
        fixed = sum(len(prompt.system + prompt.user) for prompt in (PROMPTS.write, PROMPTS.check))
        assert whole.prompt_tokens == 10 * ((fixed + 2 * (3 + 7) + 7) // 4) and whole.completion_tokens == 10 * 4
        assert whole.price(2.0, 8.0) == pytest.approx(2e-6 * whole.prompt_tokens + 8e-6 * whole.completion_tokens)
        assert whole.price(2.0, None) is None
        journal.add(3, Outcome(KEPT, "x"))
        journal.add(4, Outcome(FAILED, reason="x"))
        assert curation.estimate(journal).questions == 9


def test_pictures_are_sent_small_and_bare(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held sideways
    exif[0x010F] = "a camera"
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "a.jpg", exif=exif)
    path = tmp_path / "pairs.jsonl"
    lines = [Triple("q0?", "r", (), ("a.jpg", "a.jpg")), Triple("q1?", "r", (), ("none.jpg",)), Triple("q2?", "r")]
    path.write_text("".join(triple.to_json() + "\n" for triple in lines))
    (tmp_path / "there").mkdir()
    with serving(willing) as server:
        found = report_of(curate(path, server, "--images", "--yes", "--json", out="there/out.jsonl"), code=1)
        assert (found["kept"], found["failed"]) == (2, 1) and "none.jpg does not exist" in str(found["reasons"])
        for asked in server.asked:
            content = asked.document["messages"][-1]["content"]
            if asked.question == "q2?":
                assert isinstance(content, str)
                continue
            first, second = (part["image_url"]["url"] for part in content[:-1])
            assert first == second and first.startswith("data:image/jpeg;base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2])))
            assert picture.size == (384, 1536) and not picture.getexif()
        assert "q1?" not in server.writes()
    first, _ = read_triples(tmp_path / "there" / "out.jsonl")
    assert first.images == ("../a.jpg", "../a.jpg")


def test_own_prompts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(Triple("what {chosen} is?", "right {rejected}").to_json() + "\n")
    own = tmp_path / "own.toml"
    own.write_text(
        '[write]\nsystem = "S"\nuser = """Question:\n{question}\n{chosen} {else}"""\n'
        '[check]\nsystem = "T"\nuser = "Question:\\n{question}\\n{chosen} Other answer: {rejected}"\n'
    )
    with serving(willing) as server:
        assert report_of(curate(path, server, "--yes", "--json", "--prompts", str(own)))["kept"] == 1
        write, check = server.asked
    assert [asked.document["messages"][0]["content"] for asked in (write, check)] == ["S", "T"]
    assert write.text == "Question:\nwhat {chosen} is?\nright {rejected} {else}"  # what is filled in stays as it is
    assert check.text.endswith("right {rejected} Other answer: wrong of what {chosen} is?")


@pytest.mark.parametrize("text", ["", "[write", "[write]\nsystem = 5\nuser = ''", "\xff", None, "no field"])
def test_bad_prompts(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    if text == "no field":
        path.write_text(SHIPPED.read_text().replace("{rejected}", "it"))
    elif text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgeError):
        load_prompts(path)


@pytest.mark.parametrize("change", ["input", "model", "prompts", "images"])
def test_a_journal_of_another_run(change: str, tmp_path: Path) -> None:
    path = pairs(tmp_path, 3)
    curation = Curation(path, tmp_path / "o.jsonl", PROMPTS, "m")
    with curation.open_journal() as journal:
        journal.add(0, Outcome(KEPT, "x"))
        with pytest.raises(EdgeError, match="another run is at work"):
            curation.open_journal()
    model, images, prompts = "m", False, PROMPTS
    if change == "input":
        path.write_text(path.read_text().replace("q1?", "q7?"))
    elif change == "prompts":
        prompts = type(PROMPTS)(PROMPTS.check, PROMPTS.write)
    model, images = ("n" if change == "model" else model), change == "images"
    other = Curation(path, tmp_path / "o.jsonl", prompts, model, images)
    with pytest.raises(EdgeError, match=f"another .*{change}"):
        other.open_journal()
    with other.open_journal(force=True) as journal:
        assert journal[0] is None


def test_out_is_not_overwritten(tmp_path: Path) -> None:
    path = pairs(tmp_path, 1)
    (tmp_path / "out.jsonl").write_text("mine\n")
    with serving(willing) as server:
        done = curate(path, server, "--yes")
        assert done.returncode == 1 and b"exists already" in done.stderr and not server.asked
        assert (tmp_path / "out.jsonl").read_text() == "mine\n"
        assert curate(path, server, "--yes", "--force").returncode == 0
        assert curate(path, server, "--yes", out="pairs.jsonl").returncode == 1
        done = curate(path, server, "--yes", "--key-env", "NOT_SET", out="n.jsonl")
        assert done.returncode == 1 and b"NOT_SET is not set" in done.stderr
        assert curate(tmp_path / "none.jsonl", server, "--yes", out="n.jsonl").returncode == 1
    assert len(list(read_triples(path))) == 1 and not (tmp_path / "n.jsonl.journal").exists()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_journal_cut_anywhere_keeps_its_whole_lines(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    curation = Curation(pairs(folder, 6), folder / "o.jsonl", PROMPTS, "m")
    states = st.builds(Outcome, st.sampled_from([KEPT, FAILED]), st.text(max_size=3), st.text(max_size=3))
    added = data.draw(st.lists(st.tuples(st.integers(0, 5), states), max_size=6))
    ends = []
    with curation.open_journal() as journal:
        begin = curation.journal_path.stat().st_size
        for row, outcome in added:
            journal.add(row, outcome)
            ends.append(curation.journal_path.stat().st_size)
            assert journal[row] == outcome
    cut = data.draw(st.integers(0, max([begin, *ends])))
    os.truncate(curation.journal_path, cut)
    with curation.open_journal() as journal:
        expected: dict[int, Outcome] = {
            row: outcome for (row, outcome), end in zip(added, ends, strict=True) if end <= cut
        }
        assert {row: journal[row] for row in range(6) if journal[row]} == expected
        journal.add(2, Outcome(KEPT, "new"))
    with curation.open_journal() as journal:
        assert {row: journal[row] for row in range(6) if journal[row]} == {**expected, 2: Outcome(KEPT, "new")}


DEEP = (b"[" * 100_000 + b"\n", b'{"row": 1e999, "state": "kept"}\n')


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    curation = Curation(pairs(tmp_path, 3), tmp_path / "o.jsonl", PROMPTS, "m")
    with curation.open_journal() as journal:
        journal.add(0, Outcome(KEPT, "x"))
    whole = curation.journal_path.read_bytes()
    for line in (
        b"{\n",
        b"5\n",
        b'{"row": 9, "state": "kept"}\n',
        b'{"row": 1, "state": "else"}\n',
        b'{"row": 1}\n',
        *DEEP,
    ):
        curation.journal_path.write_bytes(whole + line)
        with pytest.raises(EdgeError, match="damaged at line 3"):
            curation.open_journal()
    curation.journal_path.write_bytes(b"something else\n")
    with pytest.raises(EdgeError, match="no journal"):
        curation.open_journal()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_journal_that_is_no_file_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe would be waited for, and a device fill the memory."""
    curation = Curation(pairs(tmp_path, 3), tmp_path / "o.jsonl", PROMPTS, "m")
    make(curation.journal_path)
    with pytest.raises(EdgeError, match="no regular file"):
        curation.open_journal()


def test_questions_are_read_as_they_are_asked() -> None:
    """No further ahead than there are workers: memory does not grow with the file."""
    read, ahead = 0, 0

    def endless():
        nonlocal read
        for row in range(60):
            read += 1
            yield Question(row, Triple(f"q{row}?", "right"))

    told: list[int] = []

    def done(row: int, _: Outcome) -> None:
        nonlocal ahead
        told.append(row)
        ahead = max(ahead, read - len(told))

    with serving(lambda asked: replace(willing(asked), wait_seconds=0.03)) as server:
        Curator(Endpoint(chat_url(server.address), "m"), PROMPTS, concurrency=5).all(endless(), done)
        assert 2 <= server.most_at_once <= 5
        assert not any("authorization" in asked.headers for asked in server.asked)
    assert sorted(told) == list(range(60)) and ahead <= 5


def test_addresses() -> None:
    for address in ("http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"):
        assert chat_url(address) == "http://h:1/v1/chat/completions"
    assert chat_url("https://h/api/openai?v=2") == "https://h/api/openai/chat/completions?v=2"
    assert Endpoint("http://h:1/v1", "m").is_overheard and not Endpoint("https://h/v1", "m").is_overheard
    assert not Endpoint("http://[::1]:8/v1", "m").is_overheard and KEY not in repr(Endpoint("http://h", "m", KEY))
    azure = "https://h/openai/deployments/d?api-version=2024-10-21"
    assert chat_url(azure).endswith("/chat/completions?api-version=2024-10-21")
    in_query = [f"https://h/v1?{name}=secret" for name in ("api-key", "key", "sig", "X-Token", "subscription-key")]
    for wrong in ("h:1", "ftp://h", "http://", "/v1", "http://user:secret@h/v1", *in_query):
        with pytest.raises(EdgeError) as caught:
            chat_url(wrong)
        assert "secret" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=12) | st.text("htps:/[]@.1%? \0\n", max_size=16).map("http://".__add__))
def test_any_address_is_taken_or_refused_clearly(address: str) -> None:
    try:
        open_client(Endpoint(chat_url(address), "m"), 1)
    except EdgeError as error:
        assert "address" in error.problem


@given(
    st.none()
    | st.text(max_size=30)
    | st.floats().map(str)
    | st.datetimes().map(lambda date: f"Mon, {date.day:02d} Jan {date.year:04d} 00:00:00 GMT")
)
def test_any_retry_after_is_a_bounded_wait(header: str | None) -> None:
    assert 0 <= _asked_wait_seconds(header) <= 600


def test_verdicts() -> None:
    assert all(map(confirms, ("Yes", "yes.", "**YES**", "1. Yes, it is", "Yes\nNo")))
    assert not any(map(confirms, ("No", "", "Yesterday", "I say yes", "no, yes", "42")))
