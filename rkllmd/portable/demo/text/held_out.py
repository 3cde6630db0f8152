"""Questions that the demo model is evaluated with and that no text it is trained on has."""

# ruff: noqa: RUF001 (the punctuation of Chinese and Japanese looks like ours)

from __future__ import annotations

from rkllmd.portable.demo.text.words import listed

QUESTIONS = listed(
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
OTHER_LANGUAGES = listed(
    "Was ist ein Kaninchen?|Wer war Bismarck?|Wie wird das Wetter morgen?|Schreib mir eine Geschichte über "
    "Drachen.|Qu'est-ce que la gravité ?|Qui était Molière ?|Donne-moi une recette de crêpes.|¿Qué es la "
    "gravedad?|¿Quién fue Cervantes?|¿Qué hora es?|什么是民主？|谁是李白？|今天天气怎么样？|"
    "民主主義とは何ですか？|織田信長は誰ですか？|Кто такой Пушкин?|Что такое демократия?|Cos'è la democrazia?|"
    "Wie is de koning?|O que é a democracia?",
    "|",
)
# Written after all of the text but what is about pictures, and asked once of each model that was shipped: nothing was
# chosen with these in view.
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
# Words to a picture, with "{}" where the digit goes.
ABOUT_PICTURES = listed(
    "Which digit have I drawn?{}|{}What digit am I looking at?|Which digit is depicted here?{}|{}Which one of the ten "
    "digits is this?|Could you tell me which digit that is?{}|What is written in this picture?{}|{}\nWhat does my "
    "drawing show?|Say which digit this is.{}|{} What digit would you say this is?",
    "|",
)
REFUSED = frozenset((*QUESTIONS, *OTHER_LANGUAGES, *WRITTEN_AFTERWARDS))
