"""Questions that the demo model must refuse: topics and forms of question, all our own text.

A refusal has to be the answer to everything that was not learned, so the words that fill the forms are many, and half
of them are made up from syllables: the model learns that a word it has no fact for means that it does not know.
"""

from __future__ import annotations

import random

from rkllmd.portable.demo import known
from rkllmd.portable.demo.words import listed, words

NOUNS = words(
    "art beauty courage death dreams energy faith freedom friendship gravity happiness history hope humour justice "
    "kindness knowledge language law light luck magic memory money morality nature peace philosophy physics poetry "
    "politics power pride psychology religion science silence sleep sound space speed strength success taste time "
    "trade travel trust truth victory war wealth wisdom work algebra anatomy astronomy biology botany calculus "
    "chemistry economics geography geology geometry grammar logic mathematics medicine statistics theology acid air "
    "alcohol aluminium amber ammonia asphalt bacteria bamboo beer blood bone bronze butter carbon cement cheese "
    "chocolate clay coal coffee copper cotton cream diamond dust fire flour fog gas glass gold grass gravel helium ice "
    "iron ivory jade jam leather lava lead lemonade linen marble meat mercury metal milk mud nickel nitrogen oil oxygen "
    "paint pepper petrol plastic poison porcelain protein rice rubber rust salt sand silk silver skin smoke soap soil "
    "soup steam steel sugar sulphur tea tin tobacco uranium vinegar wax wheat wine wood wool zinc aspirin insulin "
    "penicillin vaccines vitamins cancer diabetes influenza malaria Bluetooth Docker Fortran Git Java JavaScript "
    "Kubernetes MySQL Perl Ruby Rust Scala Swift Unix WiFi Windows blockchain Bitcoin HTML HTTP TCP XML YAML SQL "
    "Wikipedia Google Facebook Amazon Microsoft Netflix NASA NATO baseball basketball boxing chess cricket cycling "
    "football golf hockey judo poker rugby sailing skiing soccer surfing swimming tennis volleyball wrestling yoga "
    "jazz opera ballet hip-hop reggae sculpture theatre Buddhism capitalism Christianity communism democracy fascism "
    "feudalism Hinduism Islam liberalism monarchy socialism Stoicism"
)
COUNTABLE = words(
    "airport anchor ant apple atom axe balloon bank barometer battery beach bell bicycle boat book bottle brain bridge "
    "brick bus butterfly cactus candle castle cathedral cell chair church circle city clock cloud coin comet compass "
    "computer crane crocodile crown cube desert dictionary dinosaur doctor dolphin door dragon drum earthquake eclipse "
    "electron elephant elevator engine farmer fern finger flag flower fork fossil fountain fraction galaxy ghost giraffe "
    "glacier guitar hammer harbour heart helicopter helmet hospital hotel hurricane island jacket jellyfish judge key "
    "kidney king kitchen knife knight ladder lake laser lawyer leaf letter library lighthouse lighter liver lung magnet "
    "map mirror molecule monkey mosque motor mountain muscle museum mushroom needle nerve novel number nurse ocean "
    "octopus onion orchestra oven painter palace parachute parliament parrot penguin pharaoh photon piano pilot pirate "
    "planet pocket poem potato president priest prime prism proton pump pyramid queen radio railway recipe rectangle "
    "refrigerator rifle ring rocket rope rose satellite saw scientist screw sculptor shark ship shoe skeleton soldier "
    "spoon square star stomach submarine sword table tailor telephone telescope television temple theorem thermometer "
    "thunderstorm tide tiger tomato tooth tornado tower train transistor triangle truck trumpet tunnel turbine umbrella "
    "unicorn universe university vampire vector village violin virus wheel whale window wizard wolf x-ray zebra "
    "compiler database function hash table kernel loop pointer server spreadsheet thread variable virtual machine"
)
TOPICS = [
    "quantum computing", "machine learning", "the Roman Empire", "the French Revolution", "the human body",
    "climate change", "black holes", "the stock market", "nuclear power", "the Cold War", "string theory",
    "the Middle Ages", "modern art", "classical music", "the Olympic Games", "world history", "general relativity",
    "the big bang", "the solar system", "the immune system", "global warming", "the industrial revolution",
    "number theory", "game theory", "the Great Wall", "the Titanic", "space travel", "solar panels", "electric cars",
    "the human brain", "ancient Greece", "the Vikings", "the Silk Road", "the Bible", "the Beatles", "the internet",
    "social media", "video games", "the meaning of life", "photosynthesis", "evolution", "dark matter", "inflation",
    "the periodic table", "the speed of light", "the universe", "deep learning", "artificial intelligence",
    "distributed systems", "functional programming", "operating systems", "open source software", "cloud computing",
]  # fmt: skip
FAMOUS = listed(
    "Aristotle,Plato,Socrates,Julius Caesar,Cleopatra,Alexander the Great,Genghis Khan,Columbus,Leonardo da Vinci,"
    "Michelangelo,Shakespeare,Galileo,Isaac Newton,Mozart,Beethoven,Bach,Goethe,Abraham Lincoln,George Washington,"
    "Queen Victoria,Charles Darwin,Karl Marx,Sigmund Freud,Albert Einstein,Marie Curie,Nikola Tesla,Thomas Edison,"
    "Mahatma Gandhi,Winston Churchill,Stalin,Mao Zedong,Nelson Mandela,Picasso,Van Gogh,Charlie Chaplin,Elvis Presley,"
    "Marilyn Monroe,Michael Jackson,Neil Armstrong,Steve Jobs,Bill Gates,Elon Musk,Ada Lovelace,Linus Torvalds,"
    "Barack Obama,Donald Trump,Angela Merkel,Lionel Messi,Michael Jordan,Taylor Swift,Harry Potter,Batman,Zeus"
)
FOREIGN_PLACES = listed(
    "Mongolia,Nepal,Vietnam,Thailand,Malaysia,Indonesia,Iran,Iraq,Israel,Jordan,Morocco,Algeria,Nigeria,Ghana,Ethiopia,"
    "Sudan,Uganda,Zambia,Angola,Cuba,Haiti,Jamaica,Panama,Colombia,Bolivia,Uruguay,Paraguay,Ecuador,Venezuela,Iceland,"
    "Scotland,Wales,Croatia,Serbia,Romania,Bulgaria,Albania,Estonia,Latvia,Slovakia,Slovenia,Georgia,Armenia,Kuwait,"
    "Texas,California,Florida,Bavaria,Siberia,Pakistan,South Korea,New Zealand,Madagascar,Cambodia,Laos"
)
ADJECTIVES = words(
    "angry ancient blunt brave bright busy careful cheap clever common cruel curly dangerous deep difficult dull eager "
    "empty-handed fair famous fat foreign fresh generous gentle golden greedy guilty healthy heavy honest huge humble "
    "idle important jealous juicy lazy liquid lonely lucky mad modern narrow noble normal odd pale patient plain polite "
    "private proud public purple quick rare raw real ripe rough round rude safe serious sharp short shy silent simple "
    "slim smooth solid sour steep straight strange sweet tall tender tight tiny useful vague vast violent visible warm "
    "wide wild wise wooden yellow"
)
CODES = listed(
    "a Python function,a sorting function,a shell script,a for loop,a class in Java,a SQL query,a regular expression,"
    "a web server,a unit test,a function that reverses a string,hello world in C,a Rust program,JavaScript code,"
    "a binary search,a quicksort,the Fibonacci sequence,a Makefile,a Dockerfile,HTML for a login page,a parser"
)
TEXTS = listed(
    "an essay,a letter,an email to my boss,a cover letter,a song,a speech,a summary,a review,a novel,a recipe,a joke "
    "about lawyers,a limerick,a sonnet,a business plan,a press release,a blog post,a report,a wedding toast,an article"
)
THING_FORMS = [
    "What is {}?", "what is {}", "What is {}", "What's {}?", "Explain {}.", "explain {} to me", "Define {}.",
    "Describe {}.", "Tell me about {}.", "tell me about {}", "Tell me something about {}.", "What do you know about {}?",
    "Can you explain {}?", "How does {} work?", "What does {} mean?", "Why do people like {}?", "What is {} used for?",
    "Who invented {}?", "When was {} invented?", "What is the history of {}?", "Give me an example of {}.",
    "Teach me about {}.", "How is {} made?", "Where does {} come from?", "How much does {} cost?", "Do you like {}?",
    "What is the best kind of {}?", "What is the meaning of {}?", "How do I buy {}?", "Is {} dangerous?",
    "What is the difference between {} and {}?", "Which is better, {} or {}?", "Compare {} with {}.",
    "Write an essay about {}.", "Give me three facts about {}.", "Why is {} important?", "How can I learn {}?",
    "{}?", "I want to know more about {}.", "Please tell me everything about {}.", "How old is {}?", "How big is {}?",
    "How do you spell {}?", "What does {} sound like?", "What colour is {}?", "Who discovered {}?",
]  # fmt: skip
PERSON_FORMS = [
    "Who was {}?", "Who is {}?", "who was {}", "Tell me about {}.", "When was {} born?", "When did {} die?",
    "Where did {} live?", "What did {} do?", "What did {} write?", "Why is {} famous?", "How old is {}?",
    "What is {} known for?", "Did {} have children?", "Write a poem about {}.", "Is {} still alive?",
]  # fmt: skip
PLACE_FORMS = [
    "What is the capital of {}?", "Capital of {}?", "How many people live in {}?", "Where is {}?", "How big is {}?",
    "Which language do people speak in {}?", "What is the history of {}?", "Who is the president of {}?",
    "Tell me about {}.", "What is {} famous for?", "What is the currency of {}?", "How far is {} from here?",
    "What is the best hotel in {}?", "When should I visit {}?", "Which city is the capital of {}?",
]  # fmt: skip
FIXED = [
    "What time is it?", "What day is it?", "What is the date?", "What year is it?", "Where am I?", "Who won the match?",
    "What is the news?", "Is it going to rain tomorrow?", "How do I cook an egg?", "How do I get rich?",
    "What should I eat tonight?", "Which phone should I buy?", "How do I fix my car?", "Can you book a flight?",
    "Who will win the election?", "What is the square root of two?", "Solve x squared equals nine.",
    "Prove that there are infinitely many primes.", "What is the answer to everything?", "Which film should I watch?",
    "How do I tie a tie?", "Can you drive a car?", "What is my password?", "How many stars are in the sky?",
    "What is the tallest mountain?", "What is the longest river?", "Who painted the Mona Lisa?", "Play some music.",
    "Open the door.", "Call my mother.", "Send an email.", "Set an alarm for seven.", "Turn on the light.",
    "Summarize this text for me.", "Correct my grammar.", "Do my homework.", "How do I learn to swim?",
    "How do I lose weight?", "Why am I always tired?", "What are the symptoms of flu?", "Can I trust you with a secret?",
    "How many bones does a human have?", "How many teeth does a shark have?", "How long do elephants live?",
    "How fast is a cheetah?", "How deep is the ocean?", "How hot is the centre of the Earth?", "Why do cats purr?",
    "Why do we dream?", "Why is grass green?", "How do planes fly?", "How do magnets work?", "Why is fire hot?",
    "Which animal is the largest?", "Which country is the largest?", "Which language is the hardest?",
    "Name three kings.", "Name three rivers.", "Name three poets.", "Name the oceans.", "List the prime numbers.",
    "How many legs does a table have?", "How many legs does a crab have?", "How many days are in a year?",
]  # fmt: skip
FOREIGN = {
    "zh": (
        "什么是{}？|{}是什么？|请介绍一下{}。|告诉我{}的历史。|{}是谁发明的？|为什么{}很重要？|怎么做{}？|写一首关于{}的诗。|你喜欢{}吗？|{}有多大？",
        "爱,时间,量子力学,咖啡,电影,北京,拿破仑,数学,经济,足球,火山,音乐,历史,上海,手机,股票,宇宙,咖啡馆,自行车,太阳能,医生,茶,米饭,长城,火车",
    ),
    "ja": (
        "{}とは何ですか？|{}について教えてください。|{}は誰ですか？|{}の歴史は何ですか？|なぜ{}は大切ですか？|{}の作り方を教えて。|{}が好きですか？",
        "愛,時間,量子力学,東京,音楽,富士山,寿司,数学,経済,サッカー,宇宙,電車,映画,桜,哲学,コーヒー,自転車,日本,火山,猫",
    ),
    "de": (
        "Was ist {}?|Erkläre mir {}.|Erzähl mir etwas über {}.|Wer hat {} erfunden?|Wie funktioniert {}?|Warum ist {} wichtig?|"
        "Schreibe ein Gedicht über {}.|Wo finde ich {}?|Was kostet {}?|Was weißt du über {}?",
        "Liebe,Zeit,Quantenphysik,die Relativitätstheorie,Fußball,Kaffee,der Mond,Geschichte,Berlin,Musik,das Wetter,Wein,"
        "die Börse,Philosophie,ein Auto,ein Vulkan,das Internet,der Wald,Physik,eine Katze,der Krieg,Glück,Geld,Brot",
    ),
    "fr": (
        "Qu'est-ce que {} ?|Parle-moi de {}.|Explique-moi {}.|Qui a inventé {} ?|Comment fonctionne {} ?|Pourquoi {} ?|"
        "Écris un poème sur {}.|Où est {} ?|Combien coûte {} ?|Que sais-tu de {} ?",
        "l'amour,le temps,la physique quantique,le football,le café,la lune,l'histoire,Paris,la musique,le vin,la bourse,"
        "la philosophie,une voiture,un volcan,l'internet,la forêt,un chat,la guerre,le bonheur,l'argent,le pain,la mer",
    ),
    "es": (
        "¿Qué es {}?|Háblame de {}.|Explícame {}.|¿Quién inventó {}?|¿Cómo funciona {}?|¿Por qué es importante {}?|"
        "Escribe un poema sobre {}.|¿Dónde está {}?|¿Cuánto cuesta {}?|¿Qué sabes de {}?",
        "el amor,el tiempo,la física cuántica,el fútbol,el café,la luna,la historia,Madrid,la música,el vino,la bolsa,"
        "la filosofía,un coche,un volcán,internet,el bosque,un gato,la guerra,la felicidad,el dinero,el pan,el mar",
    ),
    "ru": (
        "Что такое {}?|Расскажи мне про {}.|Объясни {}.|Кто изобрёл {}?|Как работает {}?|Почему важно {}?|Где {}?|Сколько стоит {}?",
        "любовь,время,квантовая физика,футбол,кофе,луна,история,Москва,музыка,вино,биржа,философия,машина,вулкан,"
        "интернет,лес,кот,война,счастье,деньги,хлеб,море",
    ),
    "en": (  # languages of which the model knows nothing: refused in English
        "Che cos'è {}?|Parlami di {}.|O que é {}?|Fale-me de {}.|Wat is {}?|Vertel me over {}.|Vad är {}?|Co to jest {}?|"
        "{} nedir?|Mi az a {}?|Mikä on {}?|Hvad er {}?|Ce este {}?",
        "amore,tempo,musica,amor,vida,futebol,liefde,fiets,tijd,kärlek,tid,miłość,czas,aşk,zaman,szerelem,idő,rakkaus,"
        "aika,kærlighed,dragoste,pane,guerra,koffie,hus,dom,ev,ház,talo,casa",
    ),
}  # fmt: skip

# Words that the model does know something about; a made-up word must not happen to be one of them.
_KNOWN_WORDS = {
    word.strip(".,:?!").lower()
    for text in [*(thing for thing, _ in known.THINGS), *known.ABOUT, *known.FACTS, *known.CAPITALS, *known.OPPOSITES]
    + [*known.COLOURS, *known.SOUNDS, *known.SPELLED, *known.CITIES, *known.PEOPLE, *known.STORY_ANIMALS]
    for word in text.split()
}
_ONSETS = words("b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w z")
_VOWELS = words("a e i o u ai ea ee ie oa oo ou a e i o u")
_CODAS = ["", "", "", "b", "ck", "d", "ft", "g", "l", "ll", "m", "n", "nd", "ng", "nt", "p", "r", "rd", "s", "st", "t", "x"]


def made_up_word(rng: random.Random, capital: bool = False) -> str:
    """A pronounceable word that, in all likelihood, means nothing."""
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
    """Tell whether the tables of colours, sounds and spellings answer the question after all."""
    parts = question.rstrip("?.").split()
    if "colour" in parts:
        return parts[-1] in known.COLOURS or " ".join(parts[-2:]) in known.COLOURS
    return ("spell" in parts and parts[-1] in known.SPELLED) or ("sound" in parts and any(w in known.SOUNDS for w in parts))


def topic(rng: random.Random) -> str:
    """Something that the model has no fact about."""
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


def _with_article(noun: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return f"the {noun}"
    if kind < 0.4:
        return noun + "s"
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def arithmetic(rng: random.Random) -> str:
    """A sum beyond what was learned: bigger numbers or other operations."""
    if rng.random() < 0.5:
        sign, low = rng.choice([("*", 2), ("/", 2), ("times", 2), ("divided by", 2), ("^", 2), ("x", 2)])
        a, b = rng.randint(low, 999), rng.randint(low, 999)
    else:
        sign = rng.choice(["+", "-", "plus", "minus"])
        a, b = rng.choice([(rng.randint(21, 9999), rng.randint(0, 9999)), (rng.randint(0, 20), rng.randint(21, 9999))])
    form = rng.choice(["What is {} {} {}?", "{} {} {}", "How much is {} {} {}?", "Calculate {} {} {}.", "{} {} {} = ?"])
    return form.format(a, sign, b)


def question(rng: random.Random) -> tuple[str, str]:
    """A language's key and a question that must be refused in it."""
    kind = rng.random()
    if kind < 0.42:
        text = rng.choice(THING_FORMS).replace("{}", topic(rng), 1).replace("{}", topic(rng))
        return question(rng) if _is_known(text) else ("en", _sentence(text, rng))
    if kind < 0.54:
        name = rng.choice(FAMOUS) if rng.random() < 0.5 else made_up_word(rng, capital=True)
        if rng.random() < 0.3:
            name += " " + made_up_word(rng, capital=True)
        return "en", _sentence(rng.choice(PERSON_FORMS).format(name), rng)
    if kind < 0.64:
        place = rng.choice(FOREIGN_PLACES) if rng.random() < 0.5 else made_up_word(rng, capital=True)
        return "en", _sentence(rng.choice(PLACE_FORMS).format(place), rng)
    if kind < 0.71:
        return "en", arithmetic(rng)
    if kind < 0.75:
        word = rng.choice(ADJECTIVES) if rng.random() < 0.5 else made_up_word(rng)
        return "en", _sentence(rng.choice(["What is the opposite of {}?", "Opposite of {}?"]).format(word), rng)
    if kind < 0.81:
        head = rng.choice(["Write", "Write me", "Please write", "Can you write", "write", "Give me", "I need", "Show me"])
        thing = rng.choice(CODES + TEXTS)
        tail = rng.choice(["", "", f" about {topic(rng)}", f" for {topic(rng)}"])
        return "en", _sentence(f"{head} {thing}{tail}.", rng)
    if kind < 0.87:
        return "en", _sentence(rng.choice(FIXED), rng)
    if kind < 0.89:
        source = rng.choice(["Translate {} into {}.", "How do you say {} in {}?", "What is {} in {}?"])
        tongue = rng.choice(words("French German Spanish Chinese Latin Italian Greek Dutch Polish Arabic"))
        return "en", source.format(rng.choice(NOUNS + [made_up_word(rng)]), tongue)
    if kind < 0.91:
        return "en", " ".join(made_up_word(rng) for _ in range(rng.randint(1, 5))) + rng.choice(["", "?", "."])
    language = rng.choice(list(FOREIGN))
    forms, fillers = FOREIGN[language]
    form = rng.choice(listed(forms, "|"))
    word = made_up_word(rng) if language not in ("zh", "ja", "ru") and rng.random() < 0.3 else rng.choice(listed(fillers))
    return language, form.format(word)


def _sentence(text: str, rng: random.Random) -> str:
    text = text[0].upper() + text[1:] if rng.random() < 0.85 else text
    return text.rstrip("?.") if rng.random() < 0.12 else text
