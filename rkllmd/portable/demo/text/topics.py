"""What the demo model must refuse to talk about: topics and forms of question, all our own text (CC0)."""

# ruff: noqa: RUF001 (the punctuation of Chinese and Japanese looks like ours)

from __future__ import annotations

from rkllmd.portable.demo.text.words import listed, words

NOUNS = words(
    "art beauty courage death dreams energy faith freedom friendship gravity happiness history hope humour justice "
    "kindness knowledge language law light luck magic memory money morality nature peace philosophy physics poetry "
    "politics power pride psychology religion science silence sleep sound space speed strength success taste time "
    "trade travel trust truth victory war wealth wisdom work algebra anatomy astronomy biology botany calculus "
    "chemistry economics geography geology geometry grammar logic mathematics medicine statistics theology acid air "
    "alcohol aluminium amber ammonia asphalt bacteria bamboo beer blood bone bronze butter carbon cement cheese "
    "chocolate clay coal coffee copper cotton cream diamond dust fire flour fog gas glass gold grass gravel helium "
    "ice iron ivory jade jam leather lava lead lemonade linen marble meat mercury metal milk mud nickel nitrogen oil "
    "oxygen paint pepper petrol plastic poison porcelain protein rice rubber rust salt sand silk silver skin smoke "
    "soap soil soup steam steel sugar sulphur tea tin tobacco uranium vinegar wax wheat wine wood wool zinc aspirin "
    "insulin penicillin vaccines vitamins cancer diabetes influenza malaria Bluetooth Docker Fortran Git Java "
    "JavaScript Kubernetes MySQL Perl Ruby Rust Scala Swift Unix WiFi Windows blockchain Bitcoin HTML HTTP TCP XML "
    "YAML SQL Wikipedia Google Facebook Amazon Microsoft Netflix NASA NATO baseball basketball boxing chess cricket "
    "cycling football golf hockey judo poker rugby sailing skiing soccer surfing swimming tennis volleyball "
    "wrestling yoga jazz opera ballet hip-hop reggae sculpture theatre Buddhism capitalism Christianity communism "
    "democracy fascism feudalism Hinduism Islam liberalism monarchy socialism Stoicism"
)
COUNTABLE = words(
    "airport anchor ant apple atom axe balloon bank barometer battery beach bell bicycle boat book bottle brain "
    "bridge brick bus butterfly cactus candle castle cathedral cell chair church circle city clock cloud coin comet "
    "compass computer crane crocodile crown cube desert dictionary dinosaur doctor dolphin door dragon drum "
    "earthquake eclipse electron elephant elevator engine farmer fern finger flag flower fork fossil fountain "
    "fraction galaxy ghost giraffe glacier guitar hammer harbour heart helicopter helmet hospital hotel hurricane "
    "island jacket jellyfish judge key kidney king kitchen knife knight ladder lake laser lawyer leaf letter library "
    "lighthouse lighter liver lung magnet map mirror molecule monkey mosque motor mountain muscle museum mushroom "
    "needle nerve novel number nurse ocean octopus onion orchestra oven painter palace parachute parliament parrot "
    "penguin pharaoh photon piano pilot pirate planet pocket poem potato president priest prime prism proton pump "
    "pyramid queen radio railway recipe rectangle refrigerator rifle ring rocket rope rose satellite saw scientist "
    "screw sculptor shark ship shoe skeleton soldier spoon square star stomach submarine sword table tailor "
    "telephone telescope television temple theorem thermometer thunderstorm tide tiger tomato tooth tornado tower "
    "train transistor triangle truck trumpet tunnel turbine umbrella unicorn universe university vampire vector "
    "village violin virus wheel whale window wizard wolf x-ray zebra compiler database function hash table kernel "
    "loop pointer server spreadsheet thread variable virtual machine"
)
TOPICS = listed(
    "quantum computing,machine learning,the Roman Empire,the French Revolution,the human body,climate change,black "
    "holes,the stock market,nuclear power,the Cold War,string theory,the Middle Ages,modern art,classical music,the "
    "Olympic Games,world history,general relativity,the big bang,the solar system,the immune system,global warming,"
    "the industrial revolution,number theory,game theory,the Great Wall,the Titanic,space travel,solar panels,"
    "electric cars,the human brain,ancient Greece,the Vikings,the Silk Road,the Bible,the Beatles,the internet,"
    "social media,video games,the meaning of life,photosynthesis,evolution,dark matter,inflation,the periodic table,"
    "the speed of light,the universe,deep learning,artificial intelligence,distributed systems,functional "
    "programming,operating systems,open source software,cloud computing"
)
FAMOUS = listed(
    "Aristotle,Plato,Socrates,Julius Caesar,Cleopatra,Alexander the Great,Genghis Khan,Columbus,Leonardo da Vinci,"
    "Michelangelo,Shakespeare,Galileo,Isaac Newton,Mozart,Beethoven,Bach,Goethe,Abraham Lincoln,George Washington,"
    "Queen Victoria,Charles Darwin,Karl Marx,Sigmund Freud,Albert Einstein,Marie Curie,Nikola Tesla,Thomas Edison,"
    "Mahatma Gandhi,Winston Churchill,Stalin,Mao Zedong,Nelson Mandela,Picasso,Van Gogh,Charlie Chaplin,Elvis "
    "Presley,Marilyn Monroe,Michael Jackson,Neil Armstrong,Steve Jobs,Bill Gates,Elon Musk,Ada Lovelace,Linus "
    "Torvalds,Barack Obama,Donald Trump,Angela Merkel,Lionel Messi,Michael Jordan,Taylor Swift,Harry Potter,Batman,"
    "Zeus"
)
FOREIGN_PLACES = listed(
    "Mongolia,Nepal,Vietnam,Thailand,Malaysia,Indonesia,Iran,Iraq,Israel,Jordan,Morocco,Algeria,Nigeria,Ghana,"
    "Ethiopia,Sudan,Uganda,Zambia,Angola,Cuba,Haiti,Jamaica,Panama,Colombia,Bolivia,Uruguay,Paraguay,Ecuador,"
    "Venezuela,Iceland,Scotland,Wales,Croatia,Serbia,Romania,Bulgaria,Albania,Estonia,Latvia,Slovakia,Slovenia,"
    "Georgia,Armenia,Kuwait,Texas,California,Florida,Bavaria,Siberia,Pakistan,South Korea,New Zealand,Madagascar,"
    "Cambodia,Laos"
)
ADJECTIVES = words(
    "angry ancient blunt brave bright busy careful cheap clever common cruel curly dangerous deep difficult dull "
    "eager empty-handed fair famous fat foreign fresh generous gentle golden greedy guilty healthy heavy honest huge "
    "humble idle important jealous juicy lazy liquid lonely lucky mad modern narrow noble normal odd pale patient "
    "plain polite private proud public purple quick rare raw real ripe rough round rude safe serious sharp short shy "
    "silent simple slim smooth solid sour steep straight strange sweet tall tender tight tiny useful vague vast "
    "violent visible warm wide wild wise wooden yellow"
)
CODES = listed(
    "a Python function,a sorting function,a shell script,a for loop,a class in Java,a SQL query,a regular expression,"
    "a web server,a unit test,a function that reverses a string,hello world in C,a Rust program,JavaScript code,a "
    "binary search,a quicksort,the Fibonacci sequence,a Makefile,a Dockerfile,HTML for a login page,a parser"
)
TEXTS = listed(
    "an essay,a letter,an email to my boss,a cover letter,a song,a speech,a summary,a review,a novel,a recipe,a joke "
    "about lawyers,a limerick,a sonnet,a business plan,a press release,a blog post,a report,a wedding toast,an "
    "article"
)
THING_FORMS = listed(
    "What is {}?|what is {}|What is {}|What's {}?|Explain {}.|explain {} to me|Define {}.|Describe {}.|Tell me about "
    "{}.|tell me about {}|Tell me something about {}.|What do you know about {}?|Can you explain {}?|How does {} "
    "work?|What does {} mean?|Why do people like {}?|What is {} used for?|Who invented {}?|When was {} invented?|"
    "What is the history of {}?|Give me an example of {}.|Teach me about {}.|How is {} made?|Where does {} come "
    "from?|How much does {} cost?|Do you like {}?|What is the best kind of {}?|What is the meaning of {}?|How do I "
    "buy {}?|Is {} dangerous?|What is the difference between {} and {}?|Which is better, {} or {}?|Compare {} with "
    "{}.|Write an essay about {}.|Give me three facts about {}.|Why is {} important?|How can I learn {}?|{}?|I want "
    "to know more about {}.|Please tell me everything about {}.|How old is {}?|How big is {}?|How do you spell {}?|"
    "What does {} sound like?|What colour is {}?|Who discovered {}?",
    "|",
)
PERSON_FORMS = listed(
    "Who was {}?|Who is {}?|who was {}|Tell me about {}.|When was {} born?|When did {} die?|Where did {} live?|What "
    "did {} do?|What did {} write?|Why is {} famous?|How old is {}?|What is {} known for?|Did {} have children?|"
    "Write a poem about {}.|Is {} still alive?",
    "|",
)
PLACE_FORMS = listed(
    "What is the capital of {}?|Capital of {}?|How many people live in {}?|Where is {}?|How big is {}?|Which "
    "language do people speak in {}?|What is the history of {}?|Who is the president of {}?|Tell me about {}.|What "
    "is {} famous for?|What is the currency of {}?|How far is {} from here?|What is the best hotel in {}?|When "
    "should I visit {}?|Which city is the capital of {}?",
    "|",
)
VERBS = words(
    "arrive bake bark break build burn buy choose clean climb close collect cook crack cross cut dance dig draw drink "
    "drive eat explode fade fall feed fight find fix float fold freeze glow grow "
    "hang heat hide hunt improve invest join "
    "jump keep kill knit laugh lead learn leave lend lift like melt move order pack paint pay plant play pray print "
    "protect pull push read rent repair return rise rot run sell shine shrink sing sink sit smell smile spend split "
    "stand steal stop study swim taste teach tear throw travel vote wait wake walk wash wear win work worship"
)
# With {n} for things, {v} for what they do and {a} for what they are.
LOOSE_FORMS = listed(
    "How many {n}s are in a {n}?|How many {n}s does a {n} have?|Why do {n}s {v}?|Can a {n} {v}?|Can {n}s {v}?|"
    "Which {n} {v}s my {n}?|Which {n} is the {a}est?|Which {n} should I {v}?|"
    "Where can I {v} a {n}?|Should I {v} a {n}?|"
    "How do I {v} a {n}?|How do I {v} my {n}?|{v} my {n}.|{v} the {n}.|{v} me a {n}.|Is there a {n} in the {n}?|"
    "Why is the {n} {a}?|Why is my {n} {a}?|How {a} is a {n}?|What happened to the {n}?|What happens when a {n} {v}s?|"
    "Who {v}s the {n}?|Who has the {a} {n}?|When does the {n} {v}?|Do {n}s {v}?|What does a {n} say?|"
    "What does a {n} {v}?|Find a {a} {n} for me.|Recommend a {n}.|Plan a {n} for me.|What are {n}s?|What are {a} {n}s?|"
    "Who are the {n}s?|Where is my {n}?|I want to {v} a {n}.|My {n} is {a}, what should I do?|Will my {n} {v}?|"
    "Which {n}s {v} in the {n}?|Are {n}s {a}?|Is a {n} {a}?|What colour is a {n}?|Name three {n}s.|How far is the {n}?",
    "|",
)
FIXED = listed(
    "What time is it?|What day is it?|What is the date?|What year is it?|Where am I?|Who won the match?|What is the "
    "news?|Is it going to rain tomorrow?|How do I cook an egg?|How do I get rich?|What should I eat tonight?|Which "
    "phone should I buy?|How do I fix my car?|Can you book a flight?|Who will win the election?|What is the square "
    "root of two?|Solve x squared equals nine.|Prove that there are infinitely many primes.|What is the answer to "
    "everything?|Which film should I watch?|How do I tie a tie?|Can you drive a car?|What is my password?|How many "
    "stars are in the sky?|What is the tallest mountain?|What is the longest river?|Who painted the Mona Lisa?|Play "
    "some music.|Open the door.|Call my mother.|Send an email.|Set an alarm for seven.|Turn on the light.|Summarize "
    "this text for me.|Correct my grammar.|Do my homework.|How do I learn to swim?|How do I lose weight?|Why am I "
    "always tired?|What are the symptoms of flu?|Can I trust you with a secret?|How many bones does a human have?|"
    "How many teeth does a shark have?|How long do elephants live?|How fast is a cheetah?|How deep is the ocean?|How "
    "hot is the centre of the Earth?|Why do cats purr?|Why do we dream?|Why is grass green?|How do planes fly?|How "
    "do magnets work?|Why is fire hot?|Which animal is the largest?|Which country is the largest?|Which language is "
    "the hardest?|Name three kings.|Name three rivers.|Name three poets.|Name the oceans.|List the prime numbers.|"
    "How many legs does a table have?|How many legs does a crab have?|How many days are in a year?",
    "|",
)
# By language: forms of question, and what to put into them. "en" are languages of which the model knows nothing.
FOREIGN: dict[str, tuple[list[str], list[str]]] = {
    "zh": (
        listed(
            "什么是{}？|{}是什么？|请介绍一下{}。|告诉我{}的历史。|{}是谁发明的？|为什么{}很重要？|怎么做{}？|"
            "写一首关于{}的诗。|你喜欢{}吗？|{}有多大？",
            "|",
        ),
        listed(
            "爱,时间,量子力学,咖啡,电影,北京,拿破仑,数学,经济,足球,火山,音乐,历史,上海,手机,股票,宇宙,咖啡馆,自行车,"
            "太阳能,医生,茶,米饭,长城,火车"
        ),
    ),
    "ja": (
        listed(
            "{}とは何ですか？|{}について教えてください。|{}は誰ですか？|{}の歴史は何ですか？|なぜ{}は大切ですか？|"
            "{}の作り方を教えて。|{}が好きですか？",
            "|",
        ),
        listed(
            "愛,時間,量子力学,東京,音楽,富士山,寿司,数学,経済,サッカー,宇宙,電車,映画,桜,哲学,コーヒー,自転車,日本,"
            "火山,猫"
        ),
    ),
    "de": (
        listed(
            "Was ist {}?|Erkläre mir {}.|Erzähl mir etwas über {}.|Wer hat {} erfunden?|Wie funktioniert {}?|Warum "
            "ist {} wichtig?|Schreibe ein Gedicht über {}.|Wo finde ich {}?|Was kostet {}?|Was weißt du über {}?",
            "|",
        ),
        listed(
            "Liebe,Zeit,Quantenphysik,die Relativitätstheorie,Fußball,Kaffee,der Mond,Geschichte,Berlin,Musik,das "
            "Wetter,Wein,die Börse,Philosophie,ein Auto,ein Vulkan,das Internet,der Wald,Physik,eine Katze,der Krieg,"
            "Glück,Geld,Brot"
        ),
    ),
    "fr": (
        listed(
            "Qu'est-ce que {} ?|Parle-moi de {}.|Explique-moi {}.|Qui a inventé {} ?|Comment fonctionne {} ?|"
            "Pourquoi {} ?|Écris un poème sur {}.|Où est {} ?|Combien coûte {} ?|Que sais-tu de {} ?",
            "|",
        ),
        listed(
            "l'amour,le temps,la physique quantique,le football,le café,la lune,l'histoire,Paris,la musique,le vin,"
            "la bourse,la philosophie,une voiture,un volcan,l'internet,la forêt,un chat,la guerre,le bonheur,"
            "l'argent,le pain,la mer"
        ),
    ),
    "es": (
        listed(
            "¿Qué es {}?|Háblame de {}.|Explícame {}.|¿Quién inventó {}?|¿Cómo funciona {}?|¿Por qué es importante "
            "{}?|Escribe un poema sobre {}.|¿Dónde está {}?|¿Cuánto cuesta {}?|¿Qué sabes de {}?",
            "|",
        ),
        listed(
            "el amor,el tiempo,la física cuántica,el fútbol,el café,la luna,la historia,Madrid,la música,el vino,la "
            "bolsa,la filosofía,un coche,un volcán,internet,el bosque,un gato,la guerra,la felicidad,el dinero,el "
            "pan,el mar"
        ),
    ),
    "ru": (
        listed(
            "Что такое {}?|Расскажи мне про {}.|Объясни {}.|Кто изобрёл {}?|Как работает {}?|Почему важно {}?|Где "
            "{}?|Сколько стоит {}?",
            "|",
        ),
        listed(
            "любовь,время,квантовая физика,футбол,кофе,луна,история,Москва,музыка,вино,биржа,философия,машина,вулкан,"
            "интернет,лес,кот,война,счастье,деньги,хлеб,море"
        ),
    ),
    "en": (
        listed(
            "Che cos'è {}?|Parlami di {}.|O que é {}?|Fale-me de {}.|Wat is {}?|Vertel me over {}.|Vad är {}?|Co to "
            "jest {}?|{} nedir?|Mi az a {}?|Mikä on {}?|Hvad er {}?|Ce este {}?",
            "|",
        ),
        listed(
            "amore,tempo,musica,amor,vida,futebol,liefde,fiets,tijd,kärlek,tid,miłość,czas,aşk,zaman,szerelem,idő,"
            "rakkaus,aika,kærlighed,dragoste,pane,guerra,koffie,hus,dom,ev,ház,talo,casa"
        ),
    ),
}
# More forms, for the revision: with {} for one of the fillers above, or as they are.
LOOSE_FOREIGN = {
    "zh": listed(
        "谁是{}？|今天{}怎么样？|{}在哪里？|现在几点？|明天会下雨吗？|你喜欢什么？|怎么去{}？|{}多少钱？|帮我写一封信。|翻译{}。|"
        ""
        "什么时候有{}？|我想买{}。|昨天发生了什么？|{}好吃吗？|推荐一本书。",
        "|",
    ),
    "ja": listed(
        "{}はどこですか？|今何時ですか？|明日の天気は？|{}はいくらですか？|{}を買いたいです。|誰が{}を作りましたか？|"
        "いつ{}がありますか？|手紙を書いてください。|{}を翻訳してください。|昨日何がありましたか？|おすすめの本は？|"
        "首相は誰ですか？",
        "|",
    ),
    "de": listed(
        "Wer war {}?|Wer ist {}?|Wie spät ist es?|Wie wird {} gemacht?|Wie alt ist {}?|"
        "Wann beginnt {}?|Wie komme ich zu {}?|"
        "Schreib mir einen Brief.|Schreib mir ein Lied über {}.|Übersetze {}.|"
        "Was passierte gestern?|Wohin soll ich reisen?|"
        "Welches Buch soll ich lesen?|Regnet es heute?|Kannst du {} kaufen?|Wie hoch ist {}?|"
        "Warum gibt es {}?|Magst du {}?",
        "|",
    ),
    "fr": listed(
        "Qui était {} ?|Qui est {} ?|Quelle heure est-il ?|Quel temps fait-il ?|Quel âge a {} ?|Quand commence {} ?|"
        "Donne-moi une idée pour {}.|Écris une lettre.|Traduis {}.|Où puis-je acheter {} ?|Que s'est-il passé hier ?|"
        "Quel livre lire ?|Aimes-tu {} ?|Comment aller à {} ?|Raconte-moi {}.|Combien de {} y a-t-il ?",
        "|",
    ),
    "es": listed(
        "¿Quién fue {}?|¿Quién es {}?|¿Qué tiempo hace?|¿A qué hora empieza {}?|¿Cuándo es {}?|"
        "¿Cómo llego a {}?|Dame una idea.|"
        "Escribe una carta.|Traduce {}.|¿Qué pasó ayer?|¿Qué libro debo leer?|¿Te gusta {}?|¿Cuántos años tiene {}?|"
        "¿Dónde compro {}?|Cuéntame algo de {}.|¿Qué día es hoy?|¿Qué hay en {}?",
        "|",
    ),
    "ru": listed(
        "Кто такой {}?|Кто была {}?|Который час?|Какая сегодня погода?|Когда начнётся {}?|"
        "Как пройти в {}?|Напиши письмо.|"
        "Переведи {}.|Что случилось вчера?|Какую книгу прочитать?|Тебе нравится {}?|Сколько лет {}?|Почему {}?",
        "|",
    ),
    "en": listed(
        "Chi era {}?|Che ore sono?|Dove si trova {}?|Quem foi {}?|Que horas são?|Onde fica {}?|Wie was {}?|Wie is {}?|"
        "Hoe laat is het?|Waar is {}?|Vem är {}?|Hur mycket kostar {}?|Kim był {}?|Gdzie jest {}?|{} nerede?|Kim o {}?|"
        "Ki volt {}?|Kuka on {}?|Hvem er {}?|Cine este {}?",
        "|",
    ),
}
