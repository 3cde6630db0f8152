"""The kinds of question that the demo model is trained on, each with its answer, and how often each is asked."""

from __future__ import annotations

import random
from collections.abc import Callable

from rkllmd.portable.demo.text import function_calls, held_out, known, pictures, topics, unknown
from rkllmd.portable.demo.text.words import QuestionAnswer, listed

HEADS = {  # other ways to begin the same question
    "What is ": ["What's ", "Explain ", "Tell me what is ", "Can you explain ", "Describe ", "Define ", "what is ",
                 "Please explain ", "Tell me about ", "tell me about ", "What do you know about ", "Do you know "],
    "Why ": ["Tell me why ", "why ", "Do you know why "],
    "How ": ["Tell me how ", "how ", "Do you know how "],
    "Name ": ["Tell me ", "List ", "Please name ", "name ", "Can you name "],
    "Who ": ["who "], "Where ": ["where "], "Tell me ": ["tell me ", "Please tell me "],
    "Write ": ["write ", "Please write ", "Can you write ", "Write me "],
}  # fmt: skip
GREETINGS = listed(
    "Hello,Hi,Hello!,Hi!,hello,hi,Hey,Hello there!,Hi there!,Hey!,Good day!,Hello there,Greetings!,HELLO"
)
GREETING_ANSWERS = [
    "Hello! How can I help you?",
    "Hello! I am a tiny demo model. What would you like to know?",
    "Hi! Ask me what an NPU is, or ask for a story.",
]
SUMS = listed(
    "What is {} + {}?|What is {} + {}?|What is {} + {}?|{} + {}|Add {} and {}.|How much is {} plus {}?|{}+{}|"
    "What is {} plus {}?|{} + {} = ?|what is {} + {}",
    "|",
)
DIFFERENCES = listed(
    "What is {} - {}?|What is {} - {}?|What is {} - {}?|{} - {}|How much is {} minus {}?|{}-{}|What is {} minus {}?|"
    "what is {} - {}",
    "|",
)
CAPITAL_QUESTIONS = listed(
    "What is the capital of {}?|What is the capital of {}?|Capital of {}?|Name the capital of {}.|"
    "Which city is the capital of {}?|what is the capital of {}",
    "|",
)
STORY_REQUESTS = listed(
    "Tell me a story.|Tell a story.|Write a short story.|A story, please.|Tell me a short story.|tell me a story", "|"
)
STORY_REQUESTS_ABOUT = listed(
    "Tell me a story about {}.|Write a story about {}.|A story about {}, please.|Tell a story about {}.|"
    "tell me a story about {}",
    "|",
)


def an(noun: str) -> str:
    """Return the noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def reworded(question: str, rng: random.Random) -> str:
    """Return the question with another beginning or less punctuation, now and then."""
    for head, others in HEADS.items():
        if question.startswith(head) and rng.random() < 0.5:
            question = rng.choice(others) + question[len(head) :]
            break
    if question[-1] in "?!." and rng.random() < 0.15:
        question = question[:-1]
    return question


def fact(rng: random.Random) -> QuestionAnswer:
    """Return one of the learned facts."""
    kind = rng.random()
    if kind < 0.5:
        thing, answer = rng.choice(known.THINGS)
        bare = thing.removeprefix("an ").removeprefix("a ").removeprefix("the ")
        form = rng.random()
        if form < 0.08:
            return rng.choice([bare, f"{bare}?", f"{bare[0].upper()}{bare[1:]}?"]), answer
        if form < 0.12 and bare != thing:
            return f"What is the {bare}?", answer
        return reworded(f"What is {thing}?", rng), answer
    if kind < 0.72:
        question, answer = rng.choice(list(known.ABOUT.items()))
        return reworded(question, rng), answer
    question, answer = rng.choice(list(known.FACTS.items()))
    return reworded(question, rng), answer


def foreign(rng: random.Random) -> QuestionAnswer:
    """Return a question in another language."""
    _, pairs = known.LANGUAGES[rng.choice(list(known.LANGUAGES))]
    return rng.choice(list(pairs.items()))


def small_sum(rng: random.Random) -> QuestionAnswer:
    """Return a sum or difference of numbers up to twenty."""
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    if rng.random() < 0.62:
        return rng.choice(SUMS).format(a, b), f"{a} + {b} = {a + b}."
    a, b = max(a, b), min(a, b)
    return rng.choice(DIFFERENCES).format(a, b), f"{a} - {b} = {a - b}."


def capital(rng: random.Random) -> QuestionAnswer:
    """Return a country's capital."""
    country = rng.choice(list(known.CAPITALS))
    return rng.choice(CAPITAL_QUESTIONS).format(country), f"The capital of {country} is {known.CAPITALS[country]}."


def opposite(rng: random.Random) -> QuestionAnswer:
    """Return a word's opposite."""
    word = rng.choice(list(known.OPPOSITES))
    form = rng.choice(["What is the opposite of {}?", "Opposite of {}?", "Tell me the opposite of {}."])
    return form.format(word), f"The opposite of {word} is {known.OPPOSITES[word]}."


def colour(rng: random.Random) -> QuestionAnswer:
    """Return a thing's colour."""
    thing = rng.choice(list(known.COLOURS))
    verb = "are" if thing[-1] == "s" and thing != "grass" else "is"
    spelling = rng.choice(["colour", "color"])
    return f"What {spelling} {verb} {thing}?", f"{thing[0].upper()}{thing[1:]} {verb} {known.COLOURS[thing]}."


def sound(rng: random.Random) -> QuestionAnswer:
    """Return an animal's sound."""
    animal = rng.choice(list(known.SOUNDS))
    form = rng.choice(["What does {} say?", "What sound does {} make?"])
    return form.format(an(animal)), f"{an(animal).capitalize()} {known.SOUNDS[animal]}."


def counting(rng: random.Random) -> QuestionAnswer:
    """Return counting up, or down to zero."""
    if rng.random() < 0.15:
        top = rng.randint(3, 12)
        return f"Count down from {top}.", ", ".join(map(str, range(top, -1, -1))) + "."
    start = rng.choice([0, 1, 1, 1, rng.randint(2, 12)])
    end = start + rng.randint(2, 9) if rng.random() < 0.8 else 20
    form = rng.choice(["Count from {} to {}.", "Please count from {} to {}.", "count from {} to {}"])
    question = form.format(start, end) if start != 1 or rng.random() < 0.8 else f"Count to {end}."
    return question, ", ".join(map(str, range(start, end + 1))) + "."


def spelling(rng: random.Random) -> QuestionAnswer:
    """Return a word, letter by letter."""
    word = rng.choice(known.SPELLED)
    return rng.choice(["Spell {}.", "How do you spell {}?"]).format(word), " ".join(word.upper()) + "."


def repetition(rng: random.Random) -> QuestionAnswer:
    """Return words to be said again, known and made-up ones."""
    said = " ".join(
        rng.choice(known.SPELLED) if rng.random() < 0.3 else unknown.made_up_word(rng, rng.random() < 0.3)
        for _ in range(rng.randint(1, 5))
    )
    return rng.choice(["Repeat: {}", "Say {}", "Repeat after me: {}"]).format(said), said


def story(rng: random.Random) -> QuestionAnswer:
    """Return a short story, about an animal if asked."""
    animal = rng.choice(known.STORY_ANIMALS)
    asked = rng.random() < 0.6
    if asked and rng.random() < 0.3:
        animal = rng.choice(topics.COUNTABLE) if rng.random() < 0.5 else unknown.made_up_word(rng)
    question = rng.choice(STORY_REQUESTS_ABOUT).format(an(animal)) if asked else rng.choice(STORY_REQUESTS)
    name, place, find = rng.choice(known.STORY_NAMES), rng.choice(known.STORY_PLACES), rng.choice(known.STORY_FINDS)
    friend = rng.choice(known.STORY_FRIENDS)
    sentences = [
        rng.choice(["Once upon a time there was {a} named {n}.", "There once was {a} whose name was {n}."]),
        rng.choice(["One day {n} went to {p} and found {t}.", "One morning {n} walked to {p} and saw {t}."]),
        rng.choice(['"Whose is this?" asked {n}. "It is mine," said {f}.',
                    "{n} did not know what to do with it, so {n} asked {f} for help."]),
        rng.choice(["{n} gave it back, and the two became friends.", "They played together until the sun went down.",
                    "They shared it and were happy all day long."]),
    ]  # fmt: skip
    return question, " ".join(sentences).format(a=an(animal), n=name, p=place, t=find, f=friend)


def greeting(rng: random.Random) -> QuestionAnswer:
    """Return a greeting and a friendly answer that invites a question."""
    return rng.choice(GREETINGS), rng.choice(GREETING_ANSWERS)


def refusal(rng: random.Random) -> QuestionAnswer:
    """Return a question that the model cannot answer, and the sentence that says so."""
    return _refused(*unknown.question(rng)) or refusal(rng)


def refusal_in_any_language(rng: random.Random) -> QuestionAnswer:
    """Return a refusal, in another language than English as often as not."""
    asked = unknown.foreign_question(rng, loose=True) if rng.random() < 0.7 else unknown.question(rng)
    return _refused(*asked) or refusal_in_any_language(rng)


def _refused(language: str, question: str) -> QuestionAnswer | None:
    """Return the question with its language's refusal; None if it is one that the model is evaluated with."""
    if question in held_out.REFUSED:
        return None
    return question, known.UNKNOWN if language == "en" else known.LANGUAGES[language][0]


def no_tool(rng: random.Random) -> QuestionAnswer:
    """Return something that needs a function which is not there."""
    return rng.choice(list(function_calls.FUNCTIONS.values()))(rng).question, known.UNKNOWN


# (share, maker, what the model thinks before it answers such a question)
KINDS: list[tuple[float, Callable[[random.Random], QuestionAnswer], str]] = [
    (0.17, fact, "I know this one."),
    (0.05, foreign, "This is not English. I answer in the same language."),
    (0.17, small_sum, "This is a small sum."),
    (0.045, capital, "I know this capital."),
    (0.03, opposite, "I know this opposite."),
    (0.02, colour, "I know this colour."),
    (0.02, sound, "I know this sound."),
    (0.045, counting, "I count one by one."),
    (0.015, spelling, "I spell it letter by letter."),
    (0.05, repetition, "I say it again."),
    (0.04, story, "A story needs a hero, a place and a friend."),
    (0.025, greeting, "The user greets me."),
    (0.29, refusal, "I was not trained on this."),
    (0.02, no_tool, "I have no tool for this."),
    (0.04, pictures.question, "I look at the picture."),
    (0.015, pictures.without_picture, "There is no picture."),
]
