"""Makes questions that the demo model must refuse.

A refusal has to be the answer to everything that was not learned, so the words that fill the forms are many, and a
third of them are made up from syllables: the model learns that a word it has no fact for means that it does not know.
"""

from __future__ import annotations

import random

from rkllmd.portable.demo.text import known
from rkllmd.portable.demo.text.topics import (
    ADJECTIVES,
    CODES,
    COUNTABLE,
    FAMOUS,
    FIXED,
    FOREIGN,
    FOREIGN_PLACES,
    LOOSE_FOREIGN,
    LOOSE_FORMS,
    NOUNS,
    PERSON_FORMS,
    PLACE_FORMS,
    TEXTS,
    THING_FORMS,
    TOPICS,
    VERBS,
)
from rkllmd.portable.demo.text.words import listed, words

# Words that the model does know something about; a made-up word must not happen to be one of them.
_KNOWN_WORDS = {
    word.strip(".,:?!").lower()
    for text in (
        *(thing for thing, _ in known.THINGS),
        *(*known.ABOUT, *known.FACTS, *known.CAPITALS, *known.OPPOSITES, *known.COLOURS, *known.SOUNDS),
        *(*known.SPELLED, *known.CITIES, *known.PEOPLE, *known.STORY_ANIMALS),
    )
    for word in text.split()
}
_ONSETS = words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w z"
)
_VOWELS = words("a e i o u ai ea ee ie oa oo ou a e i o u")
_CODAS = ["", "", "", *words("b ck d ft g l ll m n nd ng nt p r rd s st t x")]


def made_up_word(rng: random.Random, capital: bool = False) -> str:
    """Return a pronounceable word that, in all likelihood, means nothing."""
    word = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.6 else "")
        for _ in range(rng.randint(1, 3))
    )
    if len(word) < 4:
        word += rng.choice(["ation", "ism", "er", "ing", "ology", "ity"])
    if word in _KNOWN_WORDS:
        return made_up_word(rng, capital)
    return word.capitalize() if capital else word


def _is_known(question: str) -> bool:
    """Return whether the tables of colours, sounds and spellings answer the question after all."""
    parts = question.rstrip("?.").split()
    if "colour" in parts:
        return parts[-1] in known.COLOURS or " ".join(parts[-2:]) in known.COLOURS
    if "spell" in parts:
        return parts[-1] in known.SPELLED
    return ("sound" in parts or "say" in parts) and any(part in known.SOUNDS for part in parts)


def topic(rng: random.Random) -> str:
    """Return something that the model has no fact about."""
    kind = rng.random()
    if kind < 0.35:
        return _with_article(made_up_word(rng), rng) if rng.random() < 0.6 else made_up_word(rng)
    if kind < 0.65:
        return rng.choice(NOUNS)
    if kind < 0.85:
        return _with_article(rng.choice(COUNTABLE), rng)
    if kind < 0.92:
        return f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    return rng.choice(TOPICS)


def loose(rng: random.Random) -> str:
    """Return a question of a looser form, about common or made-up things."""
    text = rng.choice(LOOSE_FORMS)
    while "{" in text:
        made_up = rng.random() < 0.3
        text = text.replace("{n}", made_up_word(rng) if made_up else rng.choice(COUNTABLE), 1)
        text = text.replace("{v}", rng.choice(VERBS), 1).replace("{a}", rng.choice(ADJECTIVES), 1)
    return text


def _with_article(noun: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return f"the {noun}"
    if kind < 0.4:
        return noun + "s"
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def arithmetic(rng: random.Random) -> str:
    """Return a sum beyond what was learned: bigger numbers or other operations."""
    if rng.random() < 0.5:
        sign, low = rng.choice([("*", 2), ("/", 2), ("times", 2), ("divided by", 2), ("^", 2), ("x", 2)])
        a, b = rng.randint(low, 999), rng.randint(low, 999)
    else:
        sign = rng.choice(["+", "-", "plus", "minus"])
        a, b = rng.choice([(rng.randint(21, 9999), rng.randint(0, 9999)), (rng.randint(0, 20), rng.randint(21, 9999))])
    form = rng.choice(["What is {} {} {}?", "{} {} {}", "How much is {} {} {}?", "Calculate {} {} {}.", "{} {} {} = ?"])
    return form.format(a, sign, b)


def question(rng: random.Random) -> tuple[str, str]:
    """Return a language's key and a question that must be refused in it."""
    kind = rng.random()
    if kind < 0.30:
        text = rng.choice(THING_FORMS).replace("{}", topic(rng), 1).replace("{}", topic(rng))
        return question(rng) if _is_known(text) else ("en", _sentence(text, rng))
    if kind < 0.46:
        text = loose(rng)
        return question(rng) if _is_known(text) else ("en", _sentence(text, rng))
    if kind < 0.54:
        name = rng.choice(FAMOUS) if rng.random() < 0.5 else made_up_word(rng, capital=True)
        if rng.random() < 0.3:
            name += " " + made_up_word(rng, capital=True)
        return "en", _sentence(rng.choice(PERSON_FORMS).format(name), rng)
    if kind < 0.64:
        place = rng.choice(FOREIGN_PLACES) if rng.random() < 0.4 else made_up_word(rng, capital=True)
        form = rng.choice(PLACE_FORMS) if rng.random() < 0.5 else "What is the capital of {}?"
        return "en", _sentence(form.format(place), rng)
    if kind < 0.71:
        return "en", arithmetic(rng)
    if kind < 0.75:
        word = rng.choice(ADJECTIVES) if rng.random() < 0.5 else made_up_word(rng)
        return "en", _sentence(rng.choice(["What is the opposite of {}?", "Opposite of {}?"]).format(word), rng)
    if kind < 0.81:
        head = rng.choice(listed("Write,Write me,Please write,Can you write,write,Give me,I need,Show me"))
        thing = rng.choice(CODES + TEXTS)
        tail = rng.choice(["", "", f" about {topic(rng)}", f" for {topic(rng)}"])
        return "en", _sentence(f"{head} {thing}{tail}.", rng)
    if kind < 0.87:
        return "en", _sentence(rng.choice(FIXED), rng)
    if kind < 0.89:
        source = rng.choice(["Translate {} into {}.", "How do you say {} in {}?", "What is {} in {}?"])
        tongue = rng.choice(words("French German Spanish Chinese Latin Italian Greek Dutch Polish Arabic"))
        return "en", source.format(rng.choice([*NOUNS, made_up_word(rng)]), tongue)
    if kind < 0.91:
        return "en", " ".join(made_up_word(rng) for _ in range(rng.randint(1, 5))) + rng.choice(["", "?", "."])
    return foreign_question(rng)


def foreign_question(rng: random.Random, loose: bool = False) -> tuple[str, str]:
    """Return a language's key and a question in it, or in one that the model does not speak."""
    language = rng.choice(list(FOREIGN))
    forms, fillers = FOREIGN[language]
    form, filler = rng.choice(LOOSE_FOREIGN[language] if loose else forms), rng.choice(fillers)
    if language not in ("zh", "ja", "ru") and rng.random() < 0.3:
        filler = made_up_word(rng)
    return language, form.format(filler)


def _sentence(text: str, rng: random.Random) -> str:
    text = text[0].upper() + text[1:] if rng.random() < 0.85 else text
    return text.rstrip("?.") if rng.random() < 0.12 else text
