"""How English and Spanish ask, and what is answered. Data only; `pipeline.questions` owns the rules.

Patterns are searched in lower case. Where a question names two things, the first one is what is asked for:
"the code that we sent to your phone" is a code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asking:
    """One language."""

    open: re.Pattern[str]
    """Offers of help, which may be answered with anything."""
    request: re.Pattern[str]
    """"Please tell me your …", "may I have …": asks for something, whatever it begins with."""
    which: re.Pattern[str]
    """A question word: not answered with yes or no."""
    inverted: re.Pattern[str]
    """Begins with a verb, as questions for yes or no do."""
    confirms: re.Pattern[str]
    """"… is that right?": yes or no, whatever was named before."""
    tag: re.Pattern[str]
    """Short questions without a verb: "anything else?"."""
    either: re.Pattern[str]
    named: Mapping[Any, re.Pattern[str]]
    choices: Mapping[Any, re.Pattern[str]]
    """What stands beside an "or"."""
    phone: re.Pattern[str]
    confirmation: re.Pattern[str]
    """Names our own codes, whose length is known."""
    digits: re.Pattern[str]
    numbers: Mapping[str, int]
    values: Mapping[str, str]
    """Number words as digits are dictated."""
    doublers: Mapping[str, int]
    fillers: frozenset[str]
    enders: frozenset[str]
    """After one of these, a number that is too short is all there is."""
    answers: frozenset[str]
    """Whole answers to a yes-or-no question."""
    likely: Mapping[Any, tuple[str, ...]]


def _any(text: str) -> re.Pattern[str]:
    """Any of those patterns, separated by slashes."""
    phrases = [" ".join(phrase.split()) for phrase in text.split("/")]
    return re.compile(r"\b(?:" + "|".join(p for p in phrases if p) + r")(?!\w)")


def _begins(text: str, before: str) -> re.Pattern[str]:
    """The same, where a clause begins: at the start, after a comma, or after one of the words `before`."""
    return re.compile(rf"(?:^|[,;:]\s*|¿\s*)(?:(?:{before})[\s,]+)*(?:{'|'.join(text.split())})(?!\w)")


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(p.split()) for p in text.split("/"))


def _values(small: str, tens: str, **more: str) -> dict[str, str]:
    return (
        {word: str(value) for value, word in enumerate(small.split())}
        | {word: str(10 * value) for value, word in enumerate(tens.split(), 2)}
        | more
    )


_EN_DIGITS = "zero one two three four five six seven eight nine"
_EN_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_EN_MONTHS = "january february march april may june july august september october november december"
_EN_HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|noon"
_EN_GIVE = "(?:give|tell|say|spell|repeat|provide|share|read|enter|state|confirm)"
_EN_WHAT = "(?:what |with )?(?:me |us |out )?(?:your|the|an?|it|that|which|what|all)"
_EN_CODE = r"(?:confirmation|booking|reference|appointment|verification|access|reservation) (?:code|number)"

ENGLISH = Asking(
    open=_any(
        r"""
        (?:can|could|may|shall|should|do|will) (?:i|we|you need|you want) (?:me to )?(?:help|assist)\w*
        / how (?:can|may|could|else can|should) (?:i|we) (?:help|assist|be of|serve)
        / what (?:can|could|else can|may|would you like me to|shall) (?:i|we)? ?(?:do|help)
        """
    ),
    request=_any(
        rf"""
        (?:please|kindly|(?:could|can|would|will) you|you can|i need you to) (?:\w+ )?(?:please )?{_EN_GIVE}
        (?:me |us )?{_EN_WHAT}
        / (?:^|[?.!] )(?:and |so |then |now |ok |okay |first,? |great, )*{_EN_GIVE}
        / (?:may|can|could|might) (?:i|we) (?:please )?(?:have|get|take|ask|know|ask for|see)
        / (?:i|we)(?:'ll| will| would|'d)? (?:just |also )?(?:need|like) (?:to have )?(?:your|the|a)
        / do you (?:have|know|remember) (?:your|the|a|that) \w* ?(?:code|number)
        / (?:would|do|could) you mind (?:telling|giving|spelling|repeating|sharing)
        / i need (?:ten|10) digits
        """
    ),
    which=_any(
        r"""
        what / what's / which / when / who / whom / whose / where / why / how / at what / who's / when's
        / how's
        """
    ),
    inverted=_begins(
        """is are was were am do does did can could shall should will would may might have has had must isn't
        aren't don't doesn't didn't can't won't wouldn't shouldn't haven't want need ready""",
        "and|so|then|ok|okay|well|great|sorry|now|just|but|thanks|thank you|perfect|alright|all right|or",
    ),
    confirms=_any(
        r"""
        (?:is|was) (?:that|this|it|the number|that number|that time|everything)
        (?:right|correct|ok|okay|fine|good|you|all)
        / (?:is|was) that (?:\w+ ){0,2}(?:right|correct)
        / did i (?:get|hear|understand) (?:that|you|it)
        / (?:right|correct|yes|ok|okay|isn't it|is that so|does that work|sound good|sounds good)\?? ?$
        """
    ),
    tag=_any(
        "anything else / anything more / something else / sure / ready / still there / really / another one"
    ),
    either=_any("or"),
    named={
        "code": _any(rf"{_EN_CODE} / (?<!zip )(?<!post )(?<!postal )(?<!area )code / password / passcode"),
        "digits": _any(
            r"""
            (?:phone|telephone|mobile|cell|cellphone|contact|callback) ?(?:phone )?numbers?
            / (?:account|card|member|customer|policy|order) ?numbers?
            / digits / \w+-digit / zip / post ?code / postal / pin / your number / the number / number again
            / number (?:can|should|could|may|shall) (?:i|we) / best number / that number / whole number
            / number,? please
            """
        ),
        "name": _any(
            r"""
            (?:your|the|first|last|full|family|whose) (?:\w+ )?(?:name|surname) / who am i
            / who is (?:this|calling|speaking)
            / who's (?:this|calling|speaking) / (?:should|shall|may|can) i call you
            / (?:speaking|talking) (?:with|to) / (?:who|name) is it for / the booking for
            """
        ),
        "time": _any(
            r"""
            what time / which time / what times / which of (?:these|those|the) times / time would
            / time works / time suits / what hour / which hour / which slot / the time
            / time of day / times? (?:is|are) / how late / how early / preferred time / a time
            """
        ),
        "date": _any(
            r"""
            what day / which day / what date / which date / which other day / what other day / other day
            / the day / the date / a day / a date
            / when / which weekday / date of birth / birthday / birth date / preferred date / which week
            / what month / how soon
            """
        ),
    },
    choices={
        "date": _any("|".join((_EN_DAYS + " today tomorrow").split()) + r"|(?:\w+teen|\w+ie)th"),
        "time": _any(
            rf"(?:{_EN_HOURS}|\d+)(?::\d\d)?(?: ?[ap]m| o'clock| in the \w+|,)* or / morning / afternoon"
            " / earlier / later"
        ),
    },
    phone=_any(
        "(?:phone|telephone|mobile|cell|cellphone|contact|callback) / your number / reach you / best number"
        " / ten-digit / call you"
    ),
    confirmation=_any(rf"{_EN_CODE} / the code"),
    digits=re.compile(r"\b(\d+|\w+)(?:[ -](?:other|more|last|missing|remaining))?[ -]digits?\b"),
    numbers={w: n for n, w in enumerate(_words(f"{_EN_DIGITS} ten"))},
    values=_values(
        f"{_EN_DIGITS} ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
        "twenty thirty forty fifty sixty seventy eighty ninety",
        oh="0",
        o="0",
        hundred="00",
        thousand="000",
    ),
    doublers={"double": 2, "triple": 3},
    fillers=frozenset(_words("uh um er uhm erm ah please")),
    enders=frozenset(
        _words("no wrong wait sorry again know remember have please that's all goodbye bye help")
    ),
    answers=_phrases(
        """
        yes / no / yeah / yep / yup / nope / nah / sure / okay / ok / correct / right / exactly
        / of course / no thanks
        / no thank you / yes thanks / that's right / that's correct / yes that's right
        / yes that's correct / yes it is / no it isn't
        / it is / yes i do / no i don't / yes i would / yes go ahead / go ahead / that's wrong
        / no that's wrong / absolutely
        / yes correct / yes exactly / no it's not / that's not right / no that's not right / sounds good
        / perfect / yes do
        / definitely / not really / that is correct / that is right / all right / fine / yes sure
        / yes of course / no that's all
        """
    ),
    likely={
        "digits": (*_EN_DIGITS.split(), "double"),
        "date": (*_EN_DAYS.title().split(), *_EN_MONTHS.title().split(), "tomorrow", "next week"),
        "time": ("o'clock", "half past", "in the morning", "in the afternoon", "a.m.", "p.m."),
        "yes_no": ("yes", "no", "that's right", "that's wrong"),
    },
)

_ES_DIGITS = "cero uno dos tres cuatro cinco seis siete ocho nueve"
_ES_DAYS = "lunes martes miércoles jueves viernes sábado domingo"
_ES_MONTHS = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
_ES_GIVE = r"(?:decirme|darme|deletrearme|repetirme|repetir|deletrear|indicarme|confirmarme|facilitarme)"

SPANISH = Asking(
    open=_any(
        r"""
        (?:en )?qué (?:más )?(?:le |te )?(?:puedo|podemos)
        / cómo (?:puedo|podemos|le puedo|te puedo) (?:ayud\w+|servir\w*)
        / (?:puedo|le puedo|te puedo) ayudar\w*
        """
    ),
    request=_any(
        rf"""
        (?:me )?(?:puede|puedes|podría|podrías|quiere|quieres) (?:por favor )?(?:{_ES_GIVE}|dar|decir)
        / (?:dígame|dime|deme|déme|dame|diga|indique|indíqueme|repita|repite|repítame|deletree)(?! sí)
        / necesito (?:su|tu|el|la|las|los|saber)
        """
    ),
    which=_any(
        "qué / cuál / cuáles / quién / quiénes / cuándo / dónde / cómo / cuánto / cuántas / cuántos / por qué"
    ),
    inverted=_begins(
        """
        es está son puedo puede puedes podemos quiere quieres desea deseas le la lo te se me hay tiene tienes
        debo confirma necesita necesitas prefiere prefieres""",
        "y|entonces|bien|bueno|vale|perfecto|de acuerdo|gracias|o",
    ),
    confirms=_any(
        r"""
        (?:es|está|estaba) (?:eso |esto |todo |este |el número )?(?:correcto|bien|así|cierto|correcta)
        / (?:verdad|correcto|cierto|no|sí|vale|de acuerdo|(?:le|te) parece bien|(?:le|te) va bien)\?? ?$
        """
    ),
    tag=_any("algo más / alguna otra cosa / seguro / listo / lista / sigue ahí / de verdad"),
    either=_any("o"),
    named={
        "code": _any("código / contraseña / clave / localizador"),
        "digits": _any(
            r"""
            número de (?:teléfono|móvil|celular|cuenta|tarjeta|cliente|contacto) / teléfono / móvil
            / celular / cifras / dígitos
            / (?:su|tu|el) número / código postal / qué número
            """
        ),
        "name": _any(
            r"""
            (?:su|tu|el) (?:\w+ )?(?:nombre|apellido|apellidos) / se llama / te llamas
            / quién (?:habla|llama|es) / con quién / a nombre de
            """
        ),
        "time": _any(
            "qué hora / a qué hora / qué horas / estas horas / esas horas / qué horario / la hora / horario"
        ),
        "date": _any(
            "qué día / qué otro día / qué fecha / cuándo / el día / la fecha / otro día / un día"
            " / fecha de nacimiento"
        ),
    },
    choices={
        "date": _any("|".join((_ES_DAYS + " hoy mañana").split())),
        "time": _any(r"a las? \S+ o / las? (?:\w+|\d+) o / por la (?:mañana|tarde)"),
    },
    phone=_any("teléfono / móvil / celular / (?:su|tu) número / de contacto / diez cifras / diez dígitos"),
    confirmation=_any("código de (?:confirmación|reserva|cita) / el código"),
    digits=re.compile(r"\b(\d+|\w+)(?: últimas| últimos| otras| otros)? (?:cifras|dígitos)\b"),
    numbers={w: n for n, w in enumerate(_words(f"{_ES_DIGITS} diez".replace("uno", "una")))},
    values=_values(
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
        "diecisiete dieciocho diecinueve",
        "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
        un="1",
        una="1",
        cien="00",
        dieciseis="16",
    ),
    doublers={"doble": 2, "triple": 3},
    fillers=frozenset(_words("eh ehm em mmm este pues por favor")),
    enders=frozenset(_words("no mal espere espera perdón perdone sé recuerdo tengo favor adiós ayuda")),
    answers=_phrases(
        """
        sí / si / no / claro / vale / correcto / exacto / eso es / así es / por supuesto / de acuerdo
        / no gracias / sí gracias
        / claro que sí / está bien / está mal / sí correcto / sí es correcto / no es correcto / sí eso es
        / es correcto / perfecto
        / sí claro / nada más / no nada más / adelante / sí adelante
        """
    ),
    likely={
        "digits": (*_ES_DIGITS.split(), "doble"),
        "date": (*_ES_DAYS.split(), *_ES_MONTHS.split(), "mañana", "la semana que viene"),
        "time": ("en punto", "y media", "de la mañana", "de la tarde"),
        "yes_no": ("sí", "no", "correcto", "eso es"),
    },
)

ASKING: Mapping[str, Asking] = {"en": ENGLISH, "es": SPANISH}
