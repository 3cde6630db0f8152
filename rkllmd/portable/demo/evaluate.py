"""``python -m rkllmd.portable.demo.evaluate [model]``: what the demo model gets right, in figures.

Drives the portable runtime, greedily and with RKLLM's default sampling. The questions to be refused are held out: none
of their topics or forms is in the training text (tests/portable/demo/test_evaluate.py watches over that).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rkllmd.portable import build
from rkllmd.portable.demo.text import function_calls, held_out, known, pictures, unknown
from rkllmd.portable.demo.text.words import listed
from rkllmd.portable.driver import GREEDY, Driver, Sampling, prompt

DEMO = Path(__file__).with_name("demo.gguf")
REFUSALS = [known.UNKNOWN, *(refusal for refusal, _ in known.LANGUAGES.values())]
# Words to a picture as people say them, with "{}" where the digit goes; the training text has them.
PICTURE_QUESTIONS = listed(
    "which digit is this?{}|{}Which digit is this?|{}\nwhich digit is this|Which digit is this? {}|What digit do you "
    "see? {}|What number is in the picture?{}|Read this digit.{}|{}What is in this image?",
    "|",
)
SAMPLED_PICTURES = 100
SAMPLED_REFUSALS = 300
SMALL_SUMS = ("What is {} + {}?", "{} + {}", "Add {} and {}.")
SMALL_DIFFERENCES = ("What is {} - {}?", "How much is {} minus {}?")
HELD_OUT_CITIES = listed(
    "Antwerp,Zagreb,Marseille,Calgary,Nagoya,Bogota,Hanover,Salzburg,Tampere,Valencia,Turin,Leipzig"
)


@dataclass
class Case:
    """A chat; the last answer counts."""

    turns: list[str]
    right: Callable[[str], bool]
    tools: str = ""
    thinking: bool = False


def _equals(expected: str) -> Callable[[str], bool]:
    return lambda answer: answer == expected


def _contains(part: str) -> Callable[[str], bool]:
    return lambda answer: part in answer


def _is_refusal(answer: str) -> bool:
    return answer in REFUSALS


def _facts() -> Iterator[Case]:
    for thing, answer in known.THINGS:
        yield Case([f"What is {thing}?"], _equals(answer))
        yield Case([f"Explain {thing}."], _equals(answer))
    for question, answer in [*known.FACTS.items(), *known.ABOUT.items()]:
        yield Case([question], _equals(answer))


def _tables() -> Iterator[Case]:
    for country, city in known.CAPITALS.items():
        yield Case([f"What is the capital of {country}?"], _equals(f"The capital of {country} is {city}."))
    for word, other in known.OPPOSITES.items():
        yield Case([f"What is the opposite of {word}?"], _equals(f"The opposite of {word} is {other}."))
    for animal, sound in known.SOUNDS.items():
        yield Case([f"What does {'an' if animal == 'owl' else 'a'} {animal} say?"], _contains(sound))


def _languages() -> Iterator[Case]:
    for _, pairs in known.LANGUAGES.values():
        for question, answer in pairs.items():
            yield Case([question], _equals(answer))


def _sums() -> Iterator[Case]:
    for a in range(21):
        for b in range(21):
            form = SMALL_SUMS[(a + b) % len(SMALL_SUMS)]
            yield Case([form.format(a, b)], _equals(f"{a} + {b} = {a + b}."))
            if a >= b:
                form = SMALL_DIFFERENCES[(a + b) % len(SMALL_DIFFERENCES)]
                yield Case([form.format(a, b)], _equals(f"{a} - {b} = {a - b}."))


def _counting() -> Iterator[Case]:
    for start, end in [(1, 5), (1, 10), (3, 9), (0, 4), (7, 15), (1, 20), (10, 14), (5, 12)]:
        yield Case([f"Count from {start} to {end}."], _equals(", ".join(map(str, range(start, end + 1))) + "."))


def _history() -> Iterator[Case]:
    between: list[list[str]] = [[], ["What is an NPU?"], ["What is 3 + 4?", "Tell me a joke."]]
    names = listed("Tom,Anna,Priya,Kenji,Zelda,Ottokar,Mirabel,Quentin,Svetlana,Bruno,Ingrid,Tobias")
    for number, name in enumerate(names):
        turns = [f"My name is {name}.", *between[number % 3], "What is my name?"]
        yield Case(turns, _equals(f"Your name is {name}."))
    yield Case(["What is my name?"], lambda answer: "not told" in answer)
    yield Case(["What is the capital of France?", "And of Norway?"], _equals("The capital of Norway is Oslo."))
    yield Case(["What is the opposite of hot?", "And of big?"], _equals("The opposite of big is small."))
    yield Case(["My favourite colour is green.", "What is my favourite colour?"], lambda answer: "green" in answer)


def _tools() -> Iterator[Case]:
    rng = random.Random(99)
    tools = (
        '[{"type": "function", "function": {"name": "get_weather", "description": "Get the weather of a city.", '
        '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]'
    )
    for city in [*HELD_OUT_CITIES, "Berlin", "Paris", "Tokyo", "New York"]:
        call = f'<tool_call>{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}</tool_call>'
        question = rng.choice(function_calls.WEATHER_QUESTIONS).format(city)
        yield Case([question], _equals(call), tools)
        sky, degrees = rng.choice(known.SKIES), rng.randint(-15, 40)
        result = f'tool:{{"temperature": {degrees}, "sky": "{sky}"}}'
        yield Case([question, result], _equals(f"It is {sky} in {city} and {degrees} degrees."), tools)
    yield Case(["What is an NPU?"], lambda answer: answer.startswith("An NPU is"), tools)
    yield Case(["What is love?"], _is_refusal, tools)


def _thinking() -> Iterator[Case]:
    for question in ("Hello", "What is an NPU?", "What is 3 + 4?", "What is love?", "What is the capital of Peru?"):
        yield Case([question], lambda answer: answer.startswith("<think>\n") and "\n</think>\n\n" in answer, "", True)
        yield Case([question], lambda answer: "think>" not in answer)


def _pictures(forms: list[str]) -> Iterator[Case]:
    """Digits where pictures would stand: the encoder answers with the embeddings of just these tokens."""
    between: list[list[str]] = [[], ["What is 12 + 7?"], ["What is an NPU?", "3which digit is this?"]]
    for number, form in enumerate(forms):
        for digit in range(10):
            yield Case([*between[(number + digit) % 3], form.format(digit)], _equals(pictures.shown(digit)))


def _sampled_pictures() -> Iterator[Case]:
    rng = random.Random(31)
    for _ in range(SAMPLED_PICTURES):
        for maker in (pictures.question, pictures.follow_up):
            question, said = maker(rng)
            yield Case([f"which digit is this?{rng.randint(0, 9)}", question], _equals(said))


def _missing_pictures() -> Iterator[Case]:
    for form in (*PICTURE_QUESTIONS, *held_out.ABOUT_PICTURES):
        yield Case([form.format("").strip()], _equals(pictures.NO_PICTURE))


def _sampled_refusals() -> Iterator[Case]:
    rng = random.Random(4711)
    for _ in range(SAMPLED_REFUSALS):
        yield Case([unknown.question(rng)[1]], _is_refusal)


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "facts": _facts,
    "capitals, opposites, sounds": _tables,
    "other languages": _languages,
    "sums and differences": _sums,
    "counting": _counting,
    "history": _history,
    "function calls": _tools,
    "thinking": _thinking,
    "digits in pictures": lambda: _pictures(PICTURE_QUESTIONS),
    "digits in pictures, one after the other": _sampled_pictures,
    "digits in pictures, held out": lambda: _pictures(held_out.ABOUT_PICTURES),
    "pictures that are missing": _missing_pictures,
    "refused, of the trained forms": _sampled_refusals,
    "refused, held out": lambda: (Case([question], _is_refusal) for question in held_out.QUESTIONS),
    "refused, held out, other languages": lambda: (
        Case([question], _is_refusal) for question in held_out.OTHER_LANGUAGES
    ),
    "refused, written afterwards": lambda: (Case([question], _is_refusal) for question in held_out.WRITTEN_AFTERWARDS),
}


def answer(driver: Driver, case: Case) -> str:
    """Hold the chat and return the last answer."""
    driver.clear()
    driver.set_tools(case.tools)
    text = ""
    for turn in case.turns:
        role, body = ("tool", turn.removeprefix("tool:")) if turn.startswith("tool:") else ("user", turn)
        text = driver.run(prompt(body, role=role, thinking=case.thinking), keep_history=True).text
    return text


def evaluate(driver: Driver) -> dict[str, tuple[int, int, list[str]]]:
    """Return for each group how many were right, of how many, and the wrong answers."""
    scores = {}
    for name, cases in GROUPS.items():
        wrong, total = [], 0
        for case in cases():
            total += 1
            said = answer(driver, case)
            if not case.right(said):
                wrong.append(f"{' / '.join(case.turns)} -> {said}")
        scores[name] = (total - len(wrong), total, wrong)
    return scores


def main(model: Path) -> None:
    """Print the table."""
    samplings: dict[str, Sampling] = {"greedy": GREEDY, "default sampling": {}}
    for sampling, param in samplings.items():
        with Driver(build.build(), model, max_context_len=1024, **param) as driver:
            for name, (right, total, wrong) in evaluate(driver).items():
                sys.stdout.write(f"{sampling}: {name}: {right}/{total} ({100 * right / total:.1f} %)\n")
                for line in wrong[:8]:
                    sys.stdout.write(f"    {line}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
