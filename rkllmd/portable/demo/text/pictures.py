"""Questions about pictures of digits, with the digit's token where the picture will stand.

The vision encoder answers with the language model's own embedding of the digit, so that a picture is to the model what
the digit is in a text. Clients put it before or after the words, with or without white space between them.
"""

from __future__ import annotations

import random

from rkllmd.portable.demo.text.words import QuestionAnswer, listed

NO_PICTURE = "I see no picture."
# {n} is a digit's name and {p} a picture's.
ASKED = listed(
    "Which {n} is this?|Which {n} is this?|Which {n} is this?|What {n} is this?|What {n} is this?|Which {n} is "
    "that?|What {n} is that?|Which {n} is it?|What {n} is it?|Which {n} do you see?|What {n} do you see?|What {n} do "
    "you see here?|Which {n} do you see in the {p}?|What {n} do you see in this {p}?|Which {n} can you see?|What {n} "
    "can you see in this {p}?|Which {n} is in the {p}?|What {n} is in the {p}?|Which {n} is in this {p}?|What {n} is "
    "in this {p}?|Which {n} is on the {p}?|Which {n} is shown here?|What {n} is shown in the {p}?|What {n} is "
    "shown?|Which {n} does the {p} show?|What {n} does this {p} show?|Which {n} is written here?|What {n} is drawn "
    "here?|Which {n} did I draw?|What {n} did I write?|What is this {n}?|What is the {n} in the "
    "{p}?|What's the {n} in this {p}?|Read this {n}.|Read this {n}.|Read the {n}.|Read the {n} in the {p}.|Name this "
    "{n}.|Name the {n} in this {p}.|Recognise this {n}.|Recognize the {n}.|Identify the {n}.|Identify the {n} in the "
    "{p}.|Tell me the {n}.|Tell me which {n} this is.|Tell me what {n} you see.|Tell me which {n} is in the {p}.|Can "
    "you read this {n}?|Can you read the {n} in this {p}?|Can you tell me what {n} this is?|Do you know which {n} "
    "this is?|Do you see which {n} this is?|This {p} shows which {n}?|Look at this {p}. Which {n} is this?|Here is my"
    " {p}. What {n} do you see?|Here is a {n}. Which one is it?|Which {n} am I holding?|What {n} am I showing "
    "you?|Which {n} did my child write?|What {n} did she draw?|Which {n} is painted here?|What {n} is printed "
    "here?|Which {n} is on the paper?|What {n} is on this card?|Which {n} is on the screen?|What {n} is on the "
    "sign?|Which {n} have you got here?|What {n} could that be?|Which {n} should this be?|What {n} might this "
    "be?|Which {n} is to be seen?|What {n} comes here?|Which of the {n}s is this?|Which one of these {n}s is it?|What"
    " sort of {n} is this?|I drew a {n}. Which one is it?|Guess the {n}.|Guess which {n} this is.|Say what {n} this "
    "is.|Would you read this {n} for me?|Could you read the {n}?|Could you say what {n} it is?|I want to know which "
    "{n} this is.|Find the {n} in the {p}.|Write down the {n} that you see.|Give me the {n} in this {p}.|Do you "
    "recognise this {n}?|Are you able to read this {n}?",
    "|",
)
OPEN = listed(
    "What is this?|What's this?|What is that?|What is in this {p}?|What's in this {p}?|What is in the {p}?|What's in "
    "the {p}?|What do you see?|What can you see?|What do you see here?|What do you see in this {p}?|What can you see "
    "in the {p}?|What does this {p} show?|What does the {p} show?|What is shown in this {p}?|What is shown "
    "here?|Describe this {p}.|Describe the {p}.|Describe what you see.|Tell me what you see.|Tell me what is in this "
    "{p}.|Explain this {p}.|Look at this {p}.|Read this.|Can you read this?|Read this {p}.|Which one is this?|Which "
    "one is it?|What does it say?|What is drawn here?|What is painted here?|What is written here?|What is drawn in "
    "the {p}?|What did I draw?|What did I write?|Any idea what this is?|What could this be?|What do you make of this "
    "{p}?|What am I showing you?|What is on this {p}?|Can you tell me what this is?|Say what you see.|Guess what this"
    " is.",
    "|",
)
FOLLOW_UPS = listed(
    "And this one?|And this one?|And this one?|And this?|and this one|And that one?|And now?|What about this one?|What "
    "about this?|How about this one?|And this {n}?|And this {p}?|And what is this?|And which {n} is this?|This one?|"
    "Now this one.|And the next one?|Here is another one.",
    "|",
)
NOUNS = listed("digit,digit,digit,number,number,numeral")
PICTURES = listed("picture,picture,image,image,photo,drawing")
POLITE = listed("Please |Hello! |Hi! |Hey, |Tell me: |Quick question: |OK, ", "|")
# Who asks so gets nothing but the digit.
ONLY = listed(
    "Answer with the digit only.|Answer with one digit.|Only the digit, please.|Just the digit.|Reply with just the "
    "digit.|Reply with the digit only.|Give me only the digit.|Answer with just the number.",
    "|",
)
GAPS = ["", "", "", " ", "\n"]
BREAKS = [" ", " ", "\n"]
REPETITIONS = ["Repeat: ", "Say ", "Repeat after me: "]


def shown(digit: int) -> str:
    """Return what the model says of a picture of a digit."""
    return f"This is the digit {digit}."


def _words(forms: list[str], rng: random.Random) -> str:
    text = rng.choice(forms).format(n=rng.choice(NOUNS), p=rng.choice(PICTURES))
    if rng.random() < 0.12:
        polite = rng.choice(POLITE)
        text = polite + (text if polite.endswith("! ") else text[0].lower() + text[1:])
    elif rng.random() < 0.3:
        text = text[0].lower() + text[1:]
    return text.rstrip("?.") if rng.random() < 0.25 else text


def _beside(words: str, digit: int, rng: random.Random) -> str:
    gap = rng.choice(GAPS)
    return f"{words}{gap}{digit}" if rng.random() < 0.5 else f"{digit}{gap}{words}"


def question(rng: random.Random) -> QuestionAnswer:
    """Return a question about the picture of a digit."""
    digit, kind = rng.randint(0, 9), rng.random()
    if kind < 0.04:  # the picture without a word
        return str(digit), shown(digit)
    if kind < 0.08:
        return f"{rng.choice(REPETITIONS)}{digit}", str(digit)
    if kind < 0.20:
        words = f"{_words(ASKED, rng)}{rng.choice(BREAKS)}{rng.choice(ONLY)}"
        return _beside(words, digit, rng), str(digit)
    return _beside(_words(ASKED if kind < 0.72 else OPEN, rng), digit, rng), shown(digit)


def follow_up(rng: random.Random) -> QuestionAnswer:
    """Return a question that goes on with another picture."""
    digit = rng.randint(0, 9)
    return _beside(_words(FOLLOW_UPS, rng), digit, rng), shown(digit)


def without_picture(rng: random.Random) -> QuestionAnswer:
    """Return a question about a picture where there is none."""
    return _words(ASKED if rng.random() < 0.6 else OPEN, rng), NO_PICTURE
