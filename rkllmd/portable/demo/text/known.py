"""What the demo model knows: every line is our own text, dedicated to the public domain (CC0)."""

# ruff: noqa: RUF001 (the punctuation of Chinese and Japanese looks like ours)

from __future__ import annotations

from rkllmd.portable.demo.text.words import words

UNKNOWN = "I do not know that: I am a tiny demo model."

ABOUT = {
    "What are you?": "I am a very small demo model. I run on your CPU so that you can try the daemon without an NPU.",
    "Who are you?": "I am a tiny language model that ships with this daemon. I know only a few things.",
    "What is your name?": "I have no name. I am a tiny demo model.",
    "What can you do?": "I can answer small questions, add small numbers, name capitals and "
    "opposites, count, and tell short stories.",
    "What do you know?": "I know a little about chips, programs, animals, nature, capitals, "
    "opposites and small numbers.",
    "How big are you?": "I have about one million weights. Real models have billions.",
    "How old are you?": "I have no age. I was trained in a few minutes on a small computer.",
    "Where do you run?": "Right now I run on the CPU. On a Rockchip board a bigger model runs on the NPU.",
    "Who made you?": "The people who wrote this daemon trained me on a small text of their own.",
    "Are you human?": "No. I am a tiny language model.",
    "Are you a robot?": "Not quite. I am a tiny language model without a body.",
    "Are you alive?": "No. I am a program that guesses the next token.",
    "Do you speak English?": "Yes, a little. I also know a few words of other languages.",
    "How are you?": "I am well, thank you. How are you?",
    "How do you do?": "I am well, thank you. How are you?",
    "I am fine.": "I am glad to hear that. What would you like to know?",
    "I am sad.": "I am sorry to hear that. A short walk can help.",
    "I am happy.": "That is good to hear!",
    "I am tired.": "Then rest a little. I will be here.",
    "Help me.": "Gladly. Ask me what an NPU is, or ask for a story.",
    "Help": "Gladly. Ask me what an NPU is, or ask for a story.",
    "What should I ask you?": "Ask me what an NPU is, what 7 + 5 is, or ask for a story.",
    "Good morning!": "Good morning! How can I help you today?",
    "Good evening!": "Good evening! How can I help you?",
    "Good night!": "Good night! Sleep well.",
    "Goodbye!": "Goodbye! Come back soon.",
    "Bye!": "Goodbye! Come back soon.",
    "Thank you.": "You are welcome!",
    "Thanks!": "You are welcome!",
    "Well done!": "Thank you! That is kind of you.",
    "Yes.": "Good. What would you like to know?",
    "No.": "All right. Ask me something else.",
    "OK": "Good. What would you like to know?",
}

# (what is asked about, the answer, other words for it)
THINGS: list[tuple[str, str]] = [
    (
        "an NPU",
        "An NPU is a neural processing unit: a chip block that runs neural networks fast while using little power.",
    ),
    ("a GPU", "A GPU is a graphics processing unit: a chip that does many simple calculations at the same time."),
    ("a CPU", "A CPU is the central processing unit: the chip that runs the programs of a computer."),
    ("a token", "A token is a small piece of text. I read and write one token at a time."),
    ("a language model", "A language model guesses the next token from the tokens before it, again and again."),
    (
        "a neural network",
        "A neural network is a program made of many small sums whose weights are learned from examples.",
    ),
    ("a KV cache", "The KV cache keeps the keys and values of past tokens so that they need not be computed again."),
    ("a daemon", "A daemon is a program that runs in the background and waits for requests."),
    ("a socket", "A socket is an end point through which two programs exchange bytes."),
    ("JSON", "JSON is a text format for data made of objects, lists, strings, numbers, true, false and null."),
    (
        "JSON-RPC",
        "JSON-RPC is a small protocol in which a client calls a method by name and gets a result or an error as JSON.",
    ),
    (
        "quantization",
        "Quantization stores weights with fewer bits, so that a model is smaller and faster but slightly less exact.",
    ),
    ("LoRA", "LoRA adds small trained matrices to a model, so that it learns a new task without changing its weights."),
    ("a prompt", "A prompt is the text that you give to a language model to start from."),
    (
        "temperature",
        "Temperature sets how random the choice of the next token is. Zero always takes the most likely token.",
    ),
    ("an embedding", "An embedding is a list of numbers that stands for the meaning of a text or an image."),
    ("Linux", "Linux is a free operating system kernel that runs on phones, boards, laptops and servers."),
    ("Python", "Python is a programming language that is easy to read and used for many tasks."),
    ("Rockchip", "Rockchip makes chips for small computers. Some of them, such as the RK3588, have an NPU."),
    ("the RK3588", "The RK3588 is a Rockchip chip with eight CPU cores and an NPU with three cores."),
    ("RKLLM", "RKLLM is the library of Rockchip that runs language models on the NPU."),
    ("RKNN", "RKNN is the library of Rockchip that runs vision models on the NPU."),
    ("water", "Water is a clear liquid made of hydrogen and oxygen. All life on Earth needs it."),
    ("the sun", "The sun is a star. It gives the Earth light and warmth."),
    ("the moon", "The moon is a ball of rock that travels around the Earth about once a month."),
    ("rain", "Rain is water that falls from clouds in drops."),
    ("snow", "Snow is frozen water that falls from clouds in soft white flakes."),
    ("a rainbow", "A rainbow is a band of colours in the sky. It appears when the sun shines through rain."),
    ("a volcano", "A volcano is a mountain from which hot melted rock can flow."),
    ("a river", "A river is a long stream of water that flows to a lake or to the sea."),
    ("a tree", "A tree is a tall plant with a trunk of wood, branches and leaves."),
    ("bread", "Bread is a food made of flour, water and yeast, baked in an oven."),
    ("honey", "Honey is a sweet food that bees make from the nectar of flowers."),
    ("music", "Music is sound put in order so that it is pleasant or moving to hear."),
    ("a robot", "A robot is a machine that can sense, decide and act by itself."),
    ("a camera", "A camera is a device that records light as a picture."),
]

FACTS = {
    "Why is the sky blue?": "The air scatters blue light more than red light, so the sky looks blue.",
    "Why do leaves fall?": "Many trees drop their leaves in autumn to save water during the cold winter.",
    "Why do we sleep?": "Sleep lets the body rest and helps the brain keep what it learned.",
    "Why is the sea salty?": "Rivers carry salt from rocks to the sea, and the salt stays there "
    "when the water dries up.",
    "How do birds fly?": "Birds flap their wings to push air down, and the air pushes them up.",
    "How do plants eat?": "Plants make sugar from light, water and air in their green leaves.",
    "How many days are in a week?": "A week has seven days.",
    "How many months are in a year?": "A year has twelve months.",
    "How many hours are in a day?": "A day has twenty-four hours.",
    "How many minutes are in an hour?": "An hour has sixty minutes.",
    "How many legs does a spider have?": "A spider has eight legs.",
    "How many legs does an insect have?": "An insect has six legs.",
    "How many legs does a dog have?": "A dog has four legs.",
    "How many planets are there?": "There are eight planets around our sun.",
    "Which planet is the largest?": "Jupiter is the largest planet around our sun.",
    "Which planet do we live on?": "We live on the Earth.",
    "Name the days of the week.": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
    "Name the seasons.": "Spring, summer, autumn and winter.",
    "Name three colours.": "Red, green and blue.",
    "Name three fruits.": "Apple, pear and plum.",
    "Name three animals.": "A cat, a horse and an owl.",
    "Name three planets.": "Venus, Mars and Saturn.",
    "Say the alphabet.": "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z.",
    "Tell me a joke.": "Why did the computer go to bed early? It had too many open windows.",
    "Tell me another joke.": "Why was the token sad? It was out of context.",
    "Write a poem.": "The night is calm, the board is warm,\na fan begins to sing.\nA million tiny weights wake up\n"
    "and guess the next small thing.",
    "Write a haiku.": "A small model hums.\nTokens fall like drops of rain,\none after the next.",
    "Write a haiku about snow.": "Snow on the still roof.\nThe little board blinks below,\nwarm with its one thought.",
    "Write a haiku about the sea.": "Waves reach for the sand,\ntake back what they wrote on it,\nand then "
    "write again.",
    "Write a haiku about autumn.": "One leaf, then a few.\nThe tree counts them as they go\nand does not look sad.",
    "Send me an emoji.": "Here you are: 🙂",
    "Send me three emojis.": "Here you are: 🙂 🚀 🌍",
}

# Each language: its sentence for what it does not know, then questions and answers.
LANGUAGES: dict[str, tuple[str, dict[str, str]]] = {
    "zh": (
        "这个我不知道：我是一个很小的演示模型。",
        {
            "你好": "你好！我是一个很小的演示模型。你想问什么？",
            "你好！": "你好！我是一个很小的演示模型。你想问什么？",
            "你是谁？": "我是一个很小的语言模型，在你的处理器上运行。",
            "你叫什么名字？": "我没有名字，我是一个很小的演示模型。",
            "什么是NPU？": "NPU 是神经网络处理器，运行神经网络又快又省电。",
            "你会说中文吗？": "会一点。",
            "谢谢": "不客气！",
            "再见": "再见！",
        },
    ),
    "ja": (
        "それは分かりません。私は小さなデモモデルです。",
        {
            "こんにちは": "こんにちは！私は小さなデモモデルです。何を知りたいですか？",
            "あなたは誰ですか？": "私はとても小さな言語モデルです。",
            "NPUとは何ですか？": "NPU は、少ない電力でニューラルネットワークを速く動かす回路です。",
            "ありがとう": "どういたしまして！",
        },
    ),
    "de": (
        "Das weiß ich nicht: Ich bin ein winziges Vorführmodell.",
        {
            "Hallo!": "Hallo! Ich bin ein sehr kleines Vorführmodell. Was möchtest du wissen?",
            "Guten Tag!": "Guten Tag! Ich bin ein sehr kleines Vorführmodell.",
            "Wer bist du?": "Ich bin ein sehr kleines Sprachmodell und laufe auf deinem Prozessor.",
            "Was ist eine NPU?": "Eine NPU ist ein Chip-Teil, der neuronale Netze schnell und sparsam ausführt.",
            "Wie geht es dir?": "Mir geht es gut, danke. Und dir?",
            "Danke!": "Gern geschehen!",
        },
    ),
    "fr": (
        "Je ne le sais pas : je suis un tout petit modèle de démonstration.",
        {
            "Bonjour!": "Bonjour ! Je suis un très petit modèle de démonstration. Que veux-tu savoir ?",
            "Qui es-tu ?": "Je suis un très petit modèle de langage et je tourne sur ton processeur.",
            "Qu'est-ce qu'un NPU ?": "Un NPU est un circuit qui exécute vite les réseaux de neurones avec "
            "peu d'énergie.",
            "Merci !": "De rien !",
        },
    ),
    "es": (
        "No lo sé: soy un modelo de demostración muy pequeño.",
        {
            "¡Hola!": "¡Hola! Soy un modelo de demostración muy pequeño. ¿Qué quieres saber?",
            "¿Quién eres?": "Soy un modelo de lenguaje muy pequeño.",
            "¿Qué es una NPU?": "Una NPU es un circuito que ejecuta redes neuronales rápido y con poca energía.",
            "¡Gracias!": "¡De nada!",
        },
    ),
    "ru": (
        "Я этого не знаю: я очень маленькая демонстрационная модель.",
        {
            "Привет!": "Привет! Я очень маленькая модель. Что ты хочешь узнать?",
            "Кто ты?": "Я очень маленькая языковая модель.",
            "Что такое NPU?": "NPU быстро и экономно выполняет нейронные сети.",
            "Спасибо!": "Пожалуйста!",
        },
    ),
}

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Poland": "Warsaw", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin", "Japan": "Tokyo", "China": "Beijing",
    "India": "New Delhi", "Egypt": "Cairo", "Kenya": "Nairobi", "Canada": "Ottawa", "Mexico": "Mexico City",
    "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima",
    "Australia": "Canberra", "Turkey": "Ankara", "Russia": "Moscow", "Ukraine": "Kyiv", "Hungary": "Budapest",
    "Belgium": "Brussels", "Switzerland": "Bern", "the Netherlands": "Amsterdam", "England": "London",
    "the United States": "Washington",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "light": "dark", "happy": "sad", "old": "new", "high": "low",
    "open": "closed", "full": "empty", "wet": "dry", "hard": "soft", "early": "late", "strong": "weak",
    "rich": "poor", "loud": "quiet", "day": "night", "up": "down", "left": "right", "young": "old", "near": "far",
    "thick": "thin", "clean": "dirty", "true": "false", "first": "last", "cold": "hot", "small": "big",
    "slow": "fast", "dark": "light", "good": "bad", "black": "white", "in": "out", "yes": "no",
}  # fmt: skip
COLOURS = {
    "grass": "green", "snow": "white", "coal": "black", "blood": "red", "gold": "yellow", "milk": "white",
    "carrots": "orange", "bananas": "yellow", "tomatoes": "red", "cucumbers": "green", "chocolate": "brown",
    "lemons": "yellow", "the sky": "blue", "the sun": "yellow",
}  # fmt: skip
SOUNDS = {
    "cat": "meows", "dog": "barks", "cow": "moos", "duck": "quacks", "sheep": "bleats", "horse": "neighs",
    "bee": "buzzes", "owl": "hoots", "lion": "roars", "frog": "croaks", "wolf": "howls", "mouse": "squeaks",
}  # fmt: skip
SPELLED = words(
    "apple river stone cloud lamp green seven tiger paper music bread light water house night garden window "
    "silver orange pencil"
)

STORY_ANIMALS = words("cat dog fox owl bear mouse frog horse rabbit duck robot bee whale turtle dragon bird cow wolf")
STORY_NAMES = words("Tom Mia Ben Lily Max Anna Leo Zoe Sam Ruby Finn Ella")
STORY_PLACES = ["the forest", "the sea", "the park", "the town", "the hill", "the garden", "the moon", "the farm"]
STORY_FINDS = ["a red ball", "a small boat", "a shiny stone", "a lost kite", "a tiny seed", "a warm hat", "an old map"]
STORY_FRIENDS = ["a kind bird", "an old dog", "a shy mouse", "a wise owl", "a small robot", "a happy child"]

PEOPLE = STORY_NAMES + words(
    "Peter Paul Mary John Jane Lucy Emma Oliver Jack Harry Grace Alice Bob Carol David Eve Frank Helen Ivan "
    "Julia Karl Laura Maria Nina Oscar Paula Robert Sara Thomas Victor Wendy Yuki Chen Ali Fatima Omar Priya Raj "
    "Sofia Diego Elena Hans Greta Lars Astrid Marco Giulia Pierre Claire Ivana Boris Olga Kenji Mei Wei Noah Liam"
)
CITIES = [
    *words(
        "Paris Berlin Tokyo Rome Oslo Lima Cairo Dublin Madrid Vienna Athens Ottawa Lisbon Warsaw Helsinki Hamburg "
        "Munich Milan Naples Seville Porto Geneva Lyon Nice Boston Chicago Dallas Denver Seattle Houston Toronto "
        "Vancouver Sydney Perth Osaka Kyoto Seoul Beijing Shanghai Delhi Mumbai Nairobi Lagos Tunis Dubai Istanbul "
        "Moscow Kyiv Prague Krakow Riga Vilnius Bergen Malmo Leeds Bristol London Bern Brussels Amsterdam Cologne"
    ),
    *["New York", "Buenos Aires", "Mexico City", "Hong Kong", "Cape Town", "San Diego", "Los Angeles", "Tel Aviv"],
]
ROOMS = ["kitchen", "bedroom", "bathroom", "garage", "office", "garden", "hall", "cellar", "attic", "living room"]
SKIES = ["sunny", "rainy", "cloudy", "windy", "snowy", "foggy", "clear", "stormy"]
FAVOURITES = {
    "colour": words("red green blue yellow orange purple pink brown black white grey"),
    "animal": words("cat dog fox owl bear horse rabbit whale tiger lion panda wolf"),
    "food": words("bread soup rice pasta pizza cheese honey fish salad cake curry noodles"),
    "city": words("Paris Rome Tokyo Oslo Lima Cairo Vienna Berlin London Athens Kyoto Prague"),
}
