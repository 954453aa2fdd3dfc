"""What people answer when they were asked for digits, a date, a yes: example sentences by kind of question.

They are expanded from the templates below with a fixed seed: the same sentences every time. In a template,
"|"
separates alternatives, "3*" in front of one makes it that much likelier, "<name>" stands for another
template.
English only, as is the model of the recognizer that uses them. Words are written as the dialogue understands
them: "am", not "a.m.".
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

COUNT = 3000
"""Sentences a kind: each pair of digits comes some hundred times, and they take a tenth of a second."""

_WEIGHT = re.compile(r"(\d+)\*(.*)", re.DOTALL)

TEMPLATES: Mapping[str, str] = {
    "digit": "2*zero | oh | 3*one | 3*two | 3*three | 3*four | 3*five | 3*six | 3*seven | 3*eight | 3*nine",
    "more": "14*<digit> | double <digit> | triple <digit>",
    "three": "<more> <digit> <digit> | 5*<digit> <digit> <digit>",
    "four": "<more> <digit> <digit> <digit> | 5*<digit> <digit> <digit> <digit>",
    "phone": "<three> <three> <four>",
    "run": "8*<phone> | 2*<three> | 2*<four> | <three> <three> | <three> <four> | <four> <four> | <digit>",
    "is": "it's | it is | that's | that is | my number is | 2*my phone number is | the number is | this is",
    "opening": "sure | okay | yes | yeah | no | um | uh | well | sorry | of course | hi",
    "digits": "12*<run> | 3*<is> <run> | 2*<opening> <run> | 2*<opening> <is> <run> | <aside>",
    "weekday": "monday | tuesday | wednesday | thursday | friday | saturday | sunday",
    "month": """january | february | march | april | may | june | july | august | september | october |
        november | december""",
    "ordinal": """first | second | third | fourth | fifth | sixth | seventh | eighth | ninth | tenth |
        eleventh | twelfth | thirteenth | fourteenth | fifteenth | sixteenth | seventeenth | eighteenth |
        nineteenth | twentieth | twenty first | twenty second | twenty third | twenty fourth | twenty fifth |
        twenty sixth | twenty seventh | twenty eighth | twenty ninth | thirtieth | thirty first""",
    "number": """one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve |
        thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen | twenty | twenty one |
        twenty two | twenty three | twenty four | twenty five | twenty six | twenty seven | twenty eight |
        twenty nine | thirty | thirty one""",
    "hour": """one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | nine |
        ten | eleven | twelve | one | two | three""",
    "day": """4*tomorrow | 2*today | 2*the day after tomorrow | 4*next <weekday> | 2*this <weekday> |
        5*<weekday> | 4*on <weekday> | 3*<weekday> the <ordinal> | 4*<month> <ordinal> | 3*<month> <number> |
        2*the <ordinal> of <month> | 3*the <ordinal> | 2*<weekday> <month> <ordinal> |
        <weekday> the <ordinal> of <month> | next week | <weekday> next week | a week from <weekday> |
        in <number> days""",
    "part": """in the morning | in the afternoon | am | am | pm | pm | o'clock | o'clock |
        o'clock in the morning | o'clock in the afternoon""",
    "clock": """4*<hour> | 5*<hour> <part> | half past <hour> | 2*<hour> thirty | <hour> fifteen | noon |
        quarter past <hour> | <hour> thirty <part>""",
    "hourly": "4*at <clock> | 3*<clock> | in the morning | in the afternoon | around <clock>",
    "when": "4*<day> at <clock> | 4*<day> | 2*<day> <clock> | <clock> on <day> | at <clock> <day>",
    "asking": """how about | what about | maybe | let's say | let's do | could we do | i would like |
        i'd like |
        can i come | can you do | i want | make it | change it to | move it to | is there anything | yes |
        no | okay | sure | um | please | do you have anything | for | actually""",
    "date": "6*<when> | 3*<asking> <when> | <when> please | <hourly> | <asking> <hourly> | <aside>",
    "time": """8*<hourly> | 3*<asking> <hourly> | 2*<hourly> please | the <hour> <part> one | the first one |
        the last one | the earliest | the latest | <when> | <asking> <when> | 2*<aside>""",
    "agreeing": """8*yes | 4*yeah | 2*yep | 2*yup | 4*yes please | sure | okay | correct | right | exactly |
        that's right | yes that's right | yeah that's right | that's correct | yes that's correct |
        that is correct |
        it is | yes it is | go ahead | please do | sounds good | that sounds good | that works |
        yes that works |
        perfect | of course | absolutely | that's fine | yes that's fine | great | all right | yes do that |
        yes i do | yes i would | yes go ahead | yes book it | yes cancel it""",
    "refusing": """8*no | 2*nope | 4*no thank you | 3*no thanks | that's wrong | no that's wrong |
        not really |
        that's not right | no that's not right | that is not correct | no it isn't | no it's not |
        never mind |
        no i don't | not that one | don't | no don't | no not yet | wrong | no wait | incorrect | no keep it |
        no that's all | that's all | that's it | nothing else | no that's it""",
    "yes_no": """8*<agreeing> | 8*<refusing> | 2*no <is> <run> | no it should be <run> |
        <refusing> <is> <run> |
        no <when> | no <hourly> | actually <when> | yes <when> | yes <hourly> | <refusing> <when> |
        <refusing> i said <run> | <when> | <hourly> | <run> | 2*<aside>""",
    "letter": """a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p | q | r | s | t | u | v | w |
        x |
        y | z""",
    "sign": "2*<letter> | <digit>",
    "code": """5*<sign> <sign> <sign> <sign> <sign> <sign> <sign> <sign> | <sign> <sign> <sign> <sign> |
        it's <sign> <sign> <sign> <sign> <sign> <sign> <sign> <sign> |
        the code is <sign> <sign> <sign> <sign> <sign> <sign> <sign> <sign> | <aside> | <when>""",
    "first": """anna | maria | james | john | robert | michael | william | david | richard | joseph | thomas |
        charles | mary | patricia | jennifer | linda | elizabeth | barbara | susan | jessica | sarah |
        karen | nancy |
        lisa | margaret | betty | sandra | ashley | emily | donna | michelle | carol | amanda | laura |
        helen | peter |
        paul | mark | george | kenneth | steven | edward | brian | kevin | andrew | joshua | matthew |
        daniel |
        anthony | christopher | alice | emma | olivia | sophia | julia | kate | grace | henry | jack |
        samuel |
        benjamin | nathan | adam | frank | walter | martin | simon | victor | oscar | lucas | carlos |
        juan | jose |
        luis | miguel | ana | carmen | rosa | elena | eva | nina | clara | diana | irene | ruth | tom |
        bob | bill |
        jim | mike | joe | dan | ben | sam | alex | chris | nick | tony | jane | ann | amy | sue | beth |
        kim""",
    "last": """smith | johnson | williams | brown | jones | garcia | miller | davis | rodriguez | martinez |
        hernandez | lopez | gonzalez | wilson | anderson | thomas | taylor | moore | jackson | martin |
        lee | perez |
        thompson | white | harris | sanchez | clark | lewis | robinson | walker | young | allen | king |
        wright |
        scott | hill | green | adams | baker | nelson | carter | mitchell | roberts | turner | phillips |
        campbell |
        parker | evans | edwards | collins | stewart | morris | murphy | cook | rogers | morgan | cooper |
        peterson |
        reed | bailey | bell | kelly | howard | ward | cox | richardson | wood | watson | brooks | bennett |
        gray""",
    "named": "4*<first> | 2*<first> <last> | <last>",
    "name": """4*<named> | 6*my name is <named> | 2*i am <named> | 2*i'm <named> | 2*it's <named> |
        this is <named> |
        the name is <named> | yes my name is <named> | sure it's <named> | <aside>""",
    "aside": """sorry | what | pardon | can you repeat that | could you say that again |
        say that again please |
        i don't know | i don't have one | hold on | one moment please | just a moment | wait | help |
        goodbye |
        bye | stop | cancel | never mind | thank you | thanks | hello | 2*yes | 2*no | that's wrong | okay""",
    "request": "<aside> | <agreeing> | <refusing> | <when> | <digits>",
}
KINDS = ("digits", "yes_no", "date", "time", "code", "name")


def sentences(kind: str, phrases: Sequence[str] = ()) -> Iterator[str]:
    """Examples of answers. `phrases` are templates too: what people may say at any time. For a kind without a
    template they are most of what is said, beside a few answers of every kind."""
    chance = random.Random(kind)
    every, own = (6, f"<{kind}>") if kind in KINDS else (1, "<request>")
    for number in range(COUNT):
        asked = number % 3 if every == 1 else not number % every
        template = chance.choice(phrases) if phrases and asked else own
        yield " ".join(_words(template, chance))


def _words(template: str, chance: random.Random) -> Iterator[str]:
    """The words of one sentence; a name that is unknown is left out."""
    for part in template.split():
        if not part.startswith("<"):
            yield part.lower()
        elif name := _alternatives(TEMPLATES.get(part[1:-1], "")):
            yield from _words(chance.choice(name), chance)


@lru_cache(maxsize=200)
def _alternatives(template: str) -> list[str]:
    """Those of a template, the likelier ones several times."""
    found = list[str]()
    for alternative in template.split("|"):
        weight = _WEIGHT.fullmatch(alternative.strip())
        found += [weight[2]] * int(weight[1]) if weight else [alternative.strip()]
    return found if template else []
