"""What ``python -m tests.bench`` prints of answers, prompts and conversations."""

from __future__ import annotations

import timeit
from pathlib import Path

from rkllmd.chat.answers.dialect import DIALECTS, Dialect
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.texts.transcript import NORMAL, Transcript
from tests.bench.language import batches, cached_prompt, chats, formats
from tests.bench.table import line, own_folder


def measure_cached_prompt(directory: Path, rounds: int) -> None:
    found = cached_prompt.measure(own_folder(directory, "cached-prompt"), rounds)
    what = "first token, portable runtime"
    without, cached = 1000 * found.without, 1000 * found.cached
    line(f"{what}, {found.tokens_without} tokens of prompt, ms", f"{without:,.1f}")
    line(
        f"{what}, {found.tokens_cached} tokens beside the prompt cache, ms",
        f"{cached:,.1f}",
        "",
        f"saves {without - cached:,.1f}",
    )
    line(f"loading that prompt cache of {found.size_bytes / 2**20:.1f} MiB, ms", f"{1000 * found.load:,.1f}")


def measure_batches(directory: Path, rounds: int) -> None:
    measured = (
        ("the simulator, 20 ms a step", batches.simulated, rounds, 3.5),
        # Rounds of a few hundredths of a second: the more, the less it matters who begins.
        ("the portable runtime", batches.portable, 4 * rounds, 2.0),
        ("the portable runtime, chats", batches.chats, 4 * rounds, 2.0),
    )
    for number, (what, measure_one, times, least) in enumerate(measured):
        found = measure_one(own_folder(directory, f"batches-{number}"), times)
        line(
            f"four clients in batches, {what}, times the tokens/s",
            f"{found.together / found.alone:.2f}",
            f">= {least}",
            f"{found.together:,.0f}/s, one by one {found.alone:,.0f}/s",
        )


def measure_formats(rounds: int) -> None:
    found = formats.measure(rounds)
    line("format: reading a schema, ms", f"{1000 * found.schema:,.2f}")
    for what, seconds in (
        ("the judge, portable runtime", found.exact),
        ("all in all, beside an unguided run", found.exact_beside),
        ("the judge, a vocabulary of 150,000 tokens", found.large_vocabulary),
        ("the judge, by pauses", found.by_pauses),
    ):
        line(f"format: {what}, us a token", f"{1e6 * seconds:,.1f}", "<= 50")
    what = "format: longest wait of others while 150,000 tokens are read, ms"
    line(what, f"{1000 * found.waited:,.1f}", "<= 50")


def measure_answers() -> None:
    tokens = [
        (7, piece) for piece in (b"<think>", b" So", b"</think>", b" I", b" look", b".", b" <", b" b", b">") * 500
    ]
    for what, dialect in (("as it comes", None), ("read as an answer", DIALECTS["hermes"])):

        def transcribe(dialect: Dialect | None = dialect) -> None:
            transcript = Transcript(1)
            if dialect is not None:
                transcript.read_by(AnswerReader(dialect, tools=[{"name": "get_weather"}]))
            for token in tokens:
                transcript.partial(NORMAL, [token])

        seconds = min(timeit.repeat(transcribe, number=1, repeat=20))
        line(f"a token into a partial result, its text {what}, us", f"{1e6 * seconds / len(tokens):.2f}", "<= 50")


def measure_chats(directory: Path) -> None:
    found = chats.on_the_simulator(own_folder(directory, "chats-simulator"))
    what = f"turn {chats.TURNS} of messages, first token"
    line(
        f"{what}, 15 ms a token, ms", f"{1000 * found.took:,.0f}", f"<= {1200 * found.own:,.0f}", "1.2 x its own words"
    )
    found = chats.on_the_portable_runtime(own_folder(directory, "chats-portable"))
    line(
        f"{what}, three taking turns, portable, tokens read",
        f"{found.tokens}",
        f"<= {1.5 * found.own_tokens:.0f}",
        "1.5 x one alone",
    )
    line(
        f"{what}, three taking turns, portable, ms",
        f"{1000 * found.took:,.1f}",
        f"<= {1500 * found.own:,.1f}",
        "1.5 x one alone",
    )


def measure_templates() -> None:
    ours, theirs = chats.rendering()
    what = "41 messages by a model's chat template, and by transformers"
    line(what, f"{1000 * ours:.1f} ms", "", f"{1000 * theirs:.1f} ms")
    name, seconds = chats.slowest_template()
    line(f"a hostile chat template is an error ({name})", f"{1000 * seconds:.0f} ms", "≤ 100 ms", "of CPU")
