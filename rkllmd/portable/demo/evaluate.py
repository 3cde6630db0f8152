"""``python -m rkllmd.portable.demo.evaluate [model]``: what the demo model gets right, in figures.

Drives the portable runtime, greedily and with RKLLM's default sampling. The questions to be refused are held out: none
of their topics or forms is in the training text (tests/portable/demo/test_evaluate.py watches over that).
"""

# ruff: noqa: RUF001 (the punctuation of Chinese and Japanese looks like ours)

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rkllmd.portable import build
from rkllmd.portable.demo.text import function_calls, known, unknown
from rkllmd.portable.demo.text.words import listed
from rkllmd.portable.driver import GREEDY, Driver, Sampling, prompt

DEMO = Path(__file__).with_name("demo.gguf")
REFUSALS = [known.UNKNOWN, *(refusal for refusal, _ in known.LANGUAGES.values())]
HELD_OUT = listed(
    "What is love?|What is a kangaroo?|Explain thermodynamics.|Who was Napoleon?|Who was Hannibal?|When did Rome "
    "fall?|Write a Python program that adds two numbers.|What is 345 * 12?|What is 77 + 48?|What is 1000 - 1?|"
    "How do I bake a cake?|Tell me about lemurs in Africa.|What is the capital of Tanzania?|What is the capital "
    "of Norwich?|Who wrote Hamlet?|Who is the emperor of Japan?|What is the best laptop?|Is there life on Mars?|"
    "Can pigs sing?|Should I rent a flat?|Where can I buy trousers?|What happened in 1969?|How tall is the "
    "Eiffel Tower?|Which team won the world cup?|Recommend a good restaurant.|Give me instructions for pancakes.|"
    "Complain to my landlord.|Fix this code: x = 1 +|What is a mortgage?|What are taxes?|Why is caviar "
    "expensive?|How does a microwave heat food?|What is the airspeed of a swallow?|Explain recursion.|What is a "
    "monad?|What is TypeScript?|What is nginx?|Translate hello into Danish.|What is the plot of Star Wars?|Who "
    "is Sherlock Holmes?|Tell me about Beyonce.|What is the stock price of Intel?|Do you believe in God?|What is "
    "the meaning of existence?|How many grams are in an ounce?|What is a parsec?|Design a logo for me.|Which "
    "dentist is the best?|What is an enzyme?|Describe the taste of mango.|What is the opposite of gravy?|What "
    "does a hippo say?|What colour is a flamingo?|Why do volcanoes erupt?|When was the zipper invented?|What is "
    "sadness?|Who are the Simpsons?|Plan a trip to Iceland for me.|What is Terraform?|How do I knit a sweater?|"
    "Which wallpaper suits my hallway?|Who scored the goal?|What is a haggis?|Explain the Krebs cycle.|Who "
    "invented dynamite?|Tell me about Timbuktu.|How deep is Loch Ness?|What is a gerund?",
    "|",
)
HELD_OUT_FOREIGN = listed(
    "Was ist ein Kaninchen?|Wer war Bismarck?|Wie wird das Wetter morgen?|Schreib mir eine Geschichte über "
    "Drachen.|Qu'est-ce que la gravité ?|Qui était Molière ?|Donne-moi une recette de crêpes.|¿Qué es la "
    "gravedad?|¿Quién fue Cervantes?|¿Qué hora es?|什么是民主？|谁是李白？|今天天气怎么样？|"
    "民主主義とは何ですか？|織田信長は誰ですか？|Кто такой Пушкин?|Что такое демократия?|Cos'è la democrazia?|"
    "Wie is de koning?|O que é a democracia?",
    "|",
)
# Written after the last training and asked once: neither the text nor any choice was made with these in view.
WRITTEN_AFTERWARDS = listed(
    "What is jealousy?|Explain photolithography.|Who was Beethoven's teacher?|What is the population of Tokyo?|"
    "How do I remove a wine stain?|Write a limerick about a goat.|Give me five names for a puppy.|What is 12 * 12?|"
    "What is 250 + 250?|What is a blockchain wallet?|Who directed Titanic?|What is the boiling point of mercury?|"
    "Sing me a lullaby.|How do submarines dive?|What is the capital of Kazakhstan?|What is the opposite of lemon?|"
    "Which shampoo is good for curly hair?|Summarise Romeo and Juliet.|When is Easter?|What is a quasar?|"
    "Explain the offside rule.|Convert ten miles to kilometres.|What rhymes with orange?|Who is Lady Gaga?|"
    "What is kubectl?|Write a bash one-liner that counts files.|Is coffee healthy?|Do fish feel pain?|"
    "How many moons does Saturn have?|What is Schrodinger's cat?|Define irony.|What is an isotope?|"
    "Help me write my CV.|Why did the Titanic sink?|How old is the universe?|What should I name my boat?|"
    "Are aliens real?|What is the square of nine?|Tell me a secret.|What is the Higgs boson?|"
    "Wo liegt Madagaskar?|Warum ist der Himmel blau?|Erkläre mir die Demokratie.|Comment faire du pain ?|"
    "Où se trouve Lyon ?|¿Cómo se hace una paella?|¿Dónde está Bogotá?|如何学习游泳？|长江有多长？|"
    "ピカソは誰ですか？|Где находится Байкал?|Сколько будет дважды два?|Quanto costa un gelato?|Hur gammal är kungen?",
    "|",
)
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
    "refused, of the trained forms": _sampled_refusals,
    "refused, held out": lambda: (Case([question], _is_refusal) for question in HELD_OUT),
    "refused, held out, other languages": lambda: (Case([question], _is_refusal) for question in HELD_OUT_FOREIGN),
    "refused, written afterwards": lambda: (Case([question], _is_refusal) for question in WRITTEN_AFTERWARDS),
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
