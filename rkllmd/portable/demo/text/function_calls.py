"""Functions that the demo model learns to call: their JSON, their questions, results and answers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from rkllmd.json_types import Json, JsonObject
from rkllmd.portable.demo.text import known, unknown
from rkllmd.portable.demo.text.words import listed


@dataclass(frozen=True)
class Call:
    """A question that needs a function, and all that follows from it."""

    name: str
    question: str
    arguments: dict[str, str]
    result: str
    answer: str

    @property
    def text(self) -> str:
        """The call as the model writes it."""
        call = {"name": self.name, "arguments": self.arguments}
        return f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>"


WEATHER_QUESTIONS = listed(
    "What is the weather in {}?|How is the weather in {}?|Weather in {}?|What's the weather in {}?|"
    "what is the weather in {}|What is the weather like in {}?|Is it sunny in {}?|How warm is it in {}?|"
    "Tell me the weather in {}.|How's the weather in {}?",
    "|",
)
TIME_QUESTIONS = listed("What time is it in {}?|What is the time in {}?|Time in {}?|Tell me the time in {}.", "|")
LIGHT_QUESTIONS = listed(
    "Turn {s} the light in the {r}.|Switch {s} the {r} light.|Turn the {r} light {s}.|Light {s} in the {r}, please.",
    "|",
)
PLACES = ["city", "city", "city", "location", "place"]  # what a client may call the parameter


def _schema(name: str, description: str, properties: dict[str, str], rng: random.Random) -> JsonObject:
    described = {
        key: {"type": "string"} | ({"description": text} if rng.random() < 0.4 else {})
        for key, text in properties.items()
    }
    parameters: JsonObject = {"type": "object", "properties": described}
    if rng.random() < 0.6:
        parameters["required"] = list(properties)
    if rng.random() < 0.15:
        parameters = dict.fromkeys(properties, "string")
    function = {"name": name, **({"description": description} if rng.random() < 0.8 else {}), "parameters": parameters}
    return {"type": "function", "function": function} if rng.random() < 0.65 else function


def _dump(value: Json, rng: random.Random) -> str:
    style = rng.random()
    if style < 0.6:
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if style < 0.95 else json.dumps(value, indent=2)


def tools_json(rng: random.Random, names: list[str], place: str) -> str:
    """Return the JSON of the given functions, in one of the notations that clients send."""
    texts = {
        "get_weather": ("Get the weather of a city.", {place: "The name of the city"}),
        "get_time": ("Get the time in a city.", {place: "The name of the city"}),
        "set_light": ("Switch a light on or off.", {"room": "The room", "state": "on or off"}),
    }
    schemas = [_schema(name, *texts[name], rng) for name in names]
    if rng.random() < 0.25:
        return "\n".join(_dump(schema, rng).replace("\n", " ") for schema in schemas)
    return _dump(schemas[0] if len(schemas) == 1 and rng.random() < 0.3 else schemas, rng)


def a_city(rng: random.Random) -> str:
    """Return a city's name, known or made up: it has to be copied either way."""
    return rng.choice(known.CITIES) if rng.random() < 0.4 else unknown.made_up_word(rng, capital=True)


def get_weather(rng: random.Random, place: str = "city") -> Call:
    """Return a call of get_weather."""
    city, sky, degrees = a_city(rng), rng.choice(known.SKIES), rng.randint(-15, 40)
    question = rng.choice(WEATHER_QUESTIONS).format(city)
    heat = (rng.choice(listed("temperature,temp,temperature_c,degrees,temp_c")), degrees)
    look = (rng.choice(listed("sky,condition,weather,conditions")), sky)
    where = {place: city} if rng.random() < 0.4 else {}
    kind = rng.random()
    if kind < 0.15:
        result, answer = _dump(where | dict([heat]), rng), f"It is {degrees} degrees in {city}."
    elif kind < 0.25:
        result, answer = _dump(where | dict([look]), rng), f"It is {sky} in {city}."
    else:
        pairs = rng.sample([heat, look], 2)
        plain = [f"{sky}, {degrees} degrees", f"{sky.capitalize()}, {degrees}°C", f"{degrees} degrees and {sky}"]
        result = rng.choice(plain) if kind < 0.35 else _dump(where | dict(pairs), rng)
        answer = f"It is {sky} in {city} and {degrees} degrees."
    return Call("get_weather", question, {place: city}, result, answer)


def get_time(rng: random.Random, place: str = "city") -> Call:
    """Return a call of get_time."""
    city, now = a_city(rng), f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    result = rng.choice([now, _dump({"time": now}, rng), _dump({place: city, "time": now}, rng)])
    question = rng.choice(TIME_QUESTIONS).format(city)
    return Call("get_time", question, {place: city}, result, f"It is {now} in {city}.")


def set_light(rng: random.Random, _place: str = "") -> Call:
    """Return a call of set_light."""
    room, state = rng.choice(known.ROOMS), rng.choice(["on", "off"])
    results = ["ok", "done", '{"ok": true}', '{"status": "ok"}', '{"success": true}', f'{{"state": "{state}"}}']
    question = rng.choice(LIGHT_QUESTIONS).format(s=state, r=room)
    answer = f"The light in the {room} is {state} now."
    return Call("set_light", question, {"room": room, "state": state}, rng.choice(results), answer)


FUNCTIONS = {"get_weather": get_weather, "get_time": get_time, "set_light": set_light}
