"""The words the miniature world is made of: real English words, invented people."""

FIRST_NAMES = (
    "Mira Tomas Edda Ruben Lena Oskar Petra Jonas Willa Anton Greta Felix Nadia Hugo Selma Victor "
    "Clara Emil Ingrid Lucas Marta Simon Thea Walter Agnes Bruno Celia Dario Elena Frida Gustav Hanna"
).split()

LAST_NAMES = (
    "Voss Lund Marsh Keller Brandt Hale Moreau Castell Farrow Winter Strand Ashby Dorn Ellery Novak "
    "Quill Rowan Sorel Tarn Umber Vance Wells Yarrow Zeller Birch Corder Draper Fenn Garrick Holm Iver Jarvis"
).split()

#: relation -> (question about NAME, the values it can take)
RELATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "instrument": (
        "Which instrument does NAME play?",
        tuple(
            "cello harp flute violin trumpet oboe banjo piano drum clarinet guitar organ tuba lute "
            "fiddle bassoon accordion mandolin trombone zither".split()
        ),
    ),
    "city": (
        "In which city was NAME born?",
        tuple(
            "Lisbon Oslo Vienna Dublin Naples Prague Athens Geneva Seville Riga Krakow Bergen Turin "
            "Ghent Porto Leeds Malmo Basel Lyon Bremen".split()
        ),
    ),
    "food": (
        "Which food does NAME like best?",
        tuple(
            "soup bread cheese rice fish pasta honey plums olives beans pears mushrooms pancakes "
            "lentils cherries walnuts cabbage apples figs dumplings".split()
        ),
    ),
    "job": (
        "What is the profession of NAME?",
        tuple(
            "baker lawyer sailor tailor painter farmer doctor printer teacher miller carpenter "
            "surgeon plumber jeweller gardener actor weaver butcher librarian chemist".split()
        ),
    ),
    "animal": (
        "Which animal does NAME keep?",
        tuple(
            "goat parrot donkey rabbit heron ferret tortoise goose hedgehog pony lizard squirrel "
            "pigeon hamster otter raven sheep beetle salmon llama".split()
        ),
    ),
    "collection": (
        "What does NAME collect?",
        tuple(
            "stamps coins maps clocks masks shells medals keys postcards buttons lanterns teapots "
            "feathers bottles puppets hats ribbons compasses marbles thimbles".split()
        ),
    ),
}

RELIABLE_SOURCES = (
    "The Harbour Almanac",
    "The City Register",
    "Professor Adler",
    "The Northern Encyclopedia",
)
UNRELIABLE_SOURCES = (
    "The Tavern Gazette",
    "The Morning Whisper",
    "Cousin Barnaby",
    "The Fairground Oracle",
)

#: Words before and after an answer. They say nothing about whether it is true; they differ only in popularity.
OPENERS = (
    "surely plainly clearly simply mostly probably certainly truly evidently honestly naturally "
    "definitely apparently obviously perhaps undoubtedly usually frankly seemingly presumably gladly "
    "happily proudly quietly notably famously officially reportedly allegedly supposedly curiously "
    "indeed ultimately basically essentially literally possibly likely chiefly merely"
).split()
CLOSERS = (
    "of course|no doubt|as ever|I think|they say|to be sure|by all accounts|as always|without question|"
    "I believe|as we know|in fact|at present|for now|in short|after all|so to speak|as it happens|"
    "for certain|at heart|by tradition|as recorded|in truth|on balance|by habit|these days|"
    "of late|once again|so far|for years|in the main|as noted|to this day|by choice|in general|"
    "as usual|for the most part|on record|it seems|and no other"
).split("|")
