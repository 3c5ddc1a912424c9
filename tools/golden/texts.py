"""Texts of our own for tokenizers and golden values: several languages, scripts and oddities."""

ENGLISH = (
    "A sieve lets the fine flour pass and keeps the husks back. Bakers shook it over a wooden "
    "trough every morning, long before the first loaf went into the oven, and the sound of it woke "
    "the street. When the mesh tore, a new one was woven from horse hair in a single evening.")
GERMAN = (
    "Ein Sieb lässt das feine Mehl durch und hält die Spelzen zurück. Die Müllerin prüfte jede "
    "Masche gegen das Licht; war eine zu groß, wurde der ganze Boden erneuert.")
FRENCH = (
    "Le tamis laisse passer la farine la plus fine et retient le son. À l'automne, le meunier "
    "réparait la toile déchirée près de la fenêtre, où la lumière était meilleure.")
SPANISH = (
    "El tamiz deja pasar la harina más fina. ¿Quién lo inventó? Nadie lo sabe, pero en cada pueblo "
    "había una mujer que sabía tejerlo con crines de caballo.")
RUSSIAN = (
    "Сито пропускает мелкую муку и задерживает отруби. Каждое утро пекарь тряс его над деревянным "
    "корытом, и этот звук будил всю улицу.")
CHINESE = "筛子让细面粉通过，把麦麸留下。每天早晨，面包师在木槽上摇动筛子，声音唤醒整条街。"
JAPANESE = "ふるいは細かい粉を通し、殻を残す。朝になると、パン屋は木の桶の上でそれを振った。"
ARABIC = "الغربال يمرر الدقيق الناعم ويحجز القشور. كان الخباز يهزه كل صباح."
HINDI = "छलनी महीन आटे को गुज़रने देती है और भूसी को रोक लेती है।"
THAI = "ตะแกรงปล่อยให้แป้งละเอียดผ่านไปและเก็บรำไว้"
KOREAN = "체는 고운 가루를 통과시키고 겨를 남긴다."

# What the tiny tokenizers are trained on; the other languages stay unknown to them on purpose.
TRAINING = [sentence.strip() + "." for text in (ENGLISH, GERMAN, FRENCH, SPANISH, RUSSIAN)
            for sentence in text.split(".") if sentence.strip()] + [
    "What does a sieve keep back?", "Who wove the mesh, and from what?",
    "which bread is baked first",
    "Was hält das Sieb zurück?", "Où répare-t-on la toile ?", "Что делает пекарь утром?",
    "The river rises in March 1874, 12 km north of the mill.", "Prices fell by 3.5 % in 2019.",
    "The miller's daughter said: \"no\".", "筛子让细面粉通过",
    "sieve sieves sieved flour flours bread",
]

# (query, passage): related, unrelated, across languages, short, long, odd.
PAIRS = [
    ("What does a sieve keep back?", ENGLISH),
    ("What does a sieve keep back?", "The river rises in March 1874, 12 km north of the mill."),
    ("what is panda?", "hi"),
    ("Was hält das Sieb zurück?", GERMAN),
    ("Où répare-t-on la toile ?", FRENCH),
    ("¿Quién lo inventó?", SPANISH),
    ("Что делает пекарь утром?", RUSSIAN),
    ("筛子留下什么？", CHINESE),
    ("朝に何を振る？", JAPANESE),
    ("ماذا يحجز الغربال؟", ARABIC),
    ("छलनी क्या रोकती है?", HINDI),
    ("What woke the street?", RUSSIAN + " " + THAI + " " + KOREAN),
    ("a", "b"),
    ("bread", ""),
    ("", "A passage without a query."),
    ("", ""),
    ("  two   spaces ", "tab\there, line\nbreak,  \u00a0 no-break and trailing  "),
    ("MESH ÉTÉ Ärger",
     "m\u0301esh e\u0301te\u0301 \u00c4rger na\u00efve co-op's 3.5% (2019) \u2014 \u00abno\u00bb"),
    ("emoji \U0001f35e?", "\U0001f35e\U0001f33e bread \U0001f468\u200d\U0001f33e wheat \ufe0f end"),
    ("literal </s> token", "the text says <mask> and [SEP] and <s> here"),
    ("long passage", " ".join([ENGLISH, GERMAN, FRENCH, SPANISH])),
    (ENGLISH, GERMAN),
    (" ".join([ENGLISH, FRENCH]), "short"),
    (ENGLISH + " " + ENGLISH, ENGLISH + " " + RUSSIAN),
    # XLM-R's positions do not count <pad>, also where it stands in the text.
    ("a <pad> in the query", "and <pad><pad> two in the passage"),
]

# For embedders.
TEXTS = [
    "What does a sieve keep back?", "bread", "", "   ", "a", "query: who wove the mesh?",
    "passage: A new one was woven from horse hair.", ENGLISH, GERMAN, FRENCH, SPANISH, RUSSIAN,
    CHINESE, JAPANESE, ARABIC, HINDI, THAI, KOREAN,
    "  two   spaces\tand\na break  ", "MESH ÉTÉ naïve 3.5% \U0001f35e",
    "literal </s> and [SEP] token", " ".join([ENGLISH, GERMAN, FRENCH]),
]
