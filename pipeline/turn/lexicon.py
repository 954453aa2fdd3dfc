"""The words that leave a sentence open, by language. Data only; `pipeline.turn.words` owns the rules.

Everything is lower case, without punctuation, as a recognizer without punctuation writes it.
"""

from dataclasses import dataclass

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What one language's rules need to know."""

    fillers: frozenset[str]
    hanging: frozenset[str]
    """Words after which something always follows: conjunctions, articles, possessives."""
    stranding: frozenset[str] = frozenset()
    """Prepositions that may end a question or a relative clause ("who are you with"), and nothing else."""
    asking: frozenset[str] = frozenset()
    """Question words: with one of them before it, a final preposition or "is" is at home."""
    linking: frozenset[str] = frozenset()
    """Forms of "to be": open after a noun ("my name is"), maybe after a pronoun ("it is")."""
    pronouns: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    """Pronouns that want a verb after them, unless one of `inverted` stands before ("so do i")."""
    openers: tuple[Phrase, ...] = ()
    """Endings that want an object or a clause: "i would like", "is called"."""
    leading: frozenset[str] = frozenset()
    """Words that may come before a starter without making it more."""
    starters: tuple[Phrase, ...] = ()
    """Whole utterances that are only a beginning: "can you"."""
    closers: tuple[Phrase, ...] = ()
    """Endings that are finished although a rule would say otherwise: "i think so", "of course not"."""
    whole: frozenset[str] = frozenset()
    """Complete answers."""
    enders: frozenset[str] = frozenset()
    """Words that usually come last: "please", "today"."""
    inverted: frozenset[str] = frozenset()
    """Verbs that open a question: "can", "is"."""
    subordinators: tuple[Phrase, ...] = ()
    """What opens a clause that waits for another one: "if", "as soon as"."""
    main_clause: frozenset[str] = frozenset()
    """Words that, after a clause of two or more, show that the main clause has come."""
    affirming: frozenset[str] = frozenset()
    """"yes", "no": what follows is a short answer."""
    links_open: frozenset[str] = frozenset()
    """Openings such as "so", after "and", that need a verb: "and so my fellow americans"."""
    verbs: frozenset[str] = frozenset()
    """Finite verbs, as far as the opening rule must know them."""
    digits: frozenset[str] = frozenset()
    number_nouns: frozenset[str] = frozenset()
    """After one of these, single digits are being dictated: "number"."""
    doublers: frozenset[str] = frozenset()
    """Number words that want a digit after them: "double"."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _phrases(text: str) -> tuple[Phrase, ...]:
    """Phrases separated by slashes."""
    return tuple(tuple(phrase.split()) for phrase in text.split("/"))


def _joined(text: str) -> frozenset[str]:
    """The same, each phrase as one text."""
    return frozenset(" ".join(phrase) for phrase in _phrases(text))


ENGLISH = Lexicon(
    fillers=_set("uh um uhm uhh umm er erm hmm hm mm mmm ah"),
    hanging=_set(
        """
        and a or nor but because cuz if unless although whereas whether than as the an my your our their
        its every whose very i'm i've i'd i'll you're you've you'd you'll he's she's it's we're we've we'd
        we'll they're they've they'd they'll he'd he'll she'd she'll it'll there's here's that's that'll
        what's where's who's how's when's let's plus minus
        """
    ),
    stranding=_set(
        """
        of at from with for to into onto between against among during toward towards upon via per until
        till gonna wanna gotta
        """
    ),
    asking=_set(
        """
        what who whom which where when why how whatever whoever wherever something anything nothing
        someone anyone nobody everything not don't doesn't didn't won't wouldn't can't couldn't shouldn't
        never that's what's who's where's isn't aren't haven't hasn't
        """
    ),
    linking=_set("is are was were am"),
    pronouns=_set("i you he she it we they there that this these those here"),
    subjects=_set("i we he she they"),
    openers=_phrases(
        """
        would like / i'd like / we'd like / would love / my name is / name's / it's called / is called /
        give me / bring me / i think that / i hope that / i suppose that / i wish that / so that / such
        that / even though / even if / as if / in order / instead of / because of / be there in / we
        should / live in / born in / interested in / depends on / depend on / based on / divided by /
        multiplied by / followed by / ask not / looking forward to / as well as / as soon as / as long as
        / let me / i want you to
        """
    ),
    leading=_set("and so well but"),
    starters=_phrases(
        """
        i want / i need / we want / we need / if you / i was thinking / can you / could you / would you /
        will you / can i / could i / may i / can you please / could you please / would you please / what
        about / how about / for example / on the other hand / first of all / either / you know / have you
        ever / how do you / what i mean is / what i want is / what is / where is / who is / how do i / how
        can i / do you have / do you know / have you got / is there / are there / tell me about / talk
        about / so / then / well / also / actually / anyway / and then / but then / and so / the thing is
        / i was wondering / i wonder
        """
    ),
    closers=_phrases(
        """
        think so / hope so / guess so / believe so / suppose so / said so / say so / told you so / even so
        / or so / so so / ever since / or not / of course not / i guess not / why not / as well / if you
        like / if you want / if you please / if you don't mind / if you say so / if possible / if
        necessary / if i can / if you can / if not / if so / what if / so what / says who / come with /
        used to / a b and c / let me be
        """
    ),
    whole=_set(
        """
        yes no yeah yep yup nope nah ok okay sure right correct exactly fine good great thanks hello hi
        hey bye goodbye stop maybe never really what why when where who how continue repeat again help
        nothing tomorrow today monday tuesday wednesday thursday friday saturday sunday alright
        """
    )
    | _joined(
        """
        thank you / thank you very much / no thanks / no thank you / yes please / of course / never mind /
        good morning / good evening / good night / see you / see you later / that's all / that's it / i
        see / all right / got it / that is all / not at all / come on / go on / hold on
        """
    ),
    enders=_set(
        """
        please thanks today tomorrow tonight yesterday now again too instead anyway though later soon
        afterwards myself yourself o'clock everybody everyone
        """
    ),
    inverted=_set(
        """
        can could will would should do does did am is are was were have has had may must than isn't aren't
        don't doesn't
        """
    ),
    subordinators=_phrases(
        """
        if / unless / although / even though / even if / while / whenever / as soon as / as long as / once
        / when you / when i / when we / when he / when she / when they
        """
    ),
    main_clause=_set(
        """
        i you he she we they it there that this i'm i'll i'd you're you'll he's she's it's we'll then
        please let let's call tell go come stop take give bring turn set remind send wake book cancel ask
        try use just what where how why
        """
    ),
    affirming=_set("yes no yeah yep sure indeed certainly sorry"),
    links_open=_set("so then now"),
    verbs=_set(
        """
        is are was were am be been do does did have has had can could will would shall should may might
        must i'm you're he's she's it's we're they're that's there's i'll we'll you'll don't doesn't
        didn't isn't say says said tell tells told go goes went come comes came get gets got make makes
        made take takes took give gives gave see sees saw know knows knew think thinks thought want wants
        need needs like likes love loves feel feels felt find finds found keep keeps kept let lets put
        puts run runs ran call calls show shows play plays turn turns work works ask asks try tries help
        helps start starts stop stops what why how where who when hear hears look looks seem seems leave
        leaves left mean means bring brings
        """
    ),
    digits=_set("zero oh one two three four five six seven eight nine 0 1 2 3 4 5 6 7 8 9"),
    number_nouns=_set("number phone telephone mobile"),
    doublers=_set("double triple"),
)

SPANISH = Lexicon(
    fillers=_set("eh ehm em mmm mm hum ah uh um este"),
    hanging=_set(
        """
        y e o u ni pero porque pues aunque sino mientras de del a al en con por para sin sobre entre hasta
        desde hacia según contra durante ante el la los las un una unos unas mi tu su mis tus sus nuestro
        nuestra nuestros nuestras cada muy tan
        """
    ),
    asking=_set(
        """
        qué quién quiénes cuál cuáles cómo dónde cuándo cuánto cuánta cuántos cuántas quien cual donde
        cuanto cuanta
        """
    ),
    linking=_set("es son era eran soy"),
    pronouns=_set("yo tú él ella eso esto así no sí ya lo aquí ese esta este"),
    openers=_phrases(
        """
        me llamo / mi nombre es / me gustaría / quisiera / yo quiero / creo que / pienso que / espero que
        / para que / ya que / así que / puesto que / es que / lo que / el que / la que / tengo que / hay
        que / más que / o sea / dividido entre / multiplicado por / por favor dame / quiero que / antes de
        / voy a
        """
    ),
    leading=_set("pues y"),
    starters=_phrases(
        """
        quiero / necesito / puede / puedes / podría / podrías / me puede / me puedes / me podría / dame /
        deme / entonces / bueno / qué es / cuál es / que / como / si / tengo
        """
    ),
    closers=_phrases(
        """
        creo que sí / creo que si / claro que sí / claro que si / yo que sé / por qué / por que / para qué
        / y qué / así es / eso es / lo es / y tú / está en
        """
    ),
    whole=_set(
        """
        sí si no vale claro gracias hola adiós adios exacto correcto bien perfecto nunca quizás quizá hoy
        mañana qué cómo cuándo dónde ayuda nada
        """
    )
    | _joined(
        """
        muchas gracias / por favor / buenos días / buenas tardes / buenas noches / de acuerdo / de nada /
        hasta luego / hasta mañana / eso es todo / nada más / está bien / no gracias / sí por favor
        """
    ),
    enders=_set("favor gracias hoy mañana ahora ayer también tampoco luego aquí allí"),
    subordinators=_phrases("si / aunque / cuando / mientras / en cuanto"),
    main_clause=_set(
        """
        yo tú él ella nosotros ustedes entonces llama llámame dime avisa avísame puedo puedes podemos
        quiero será es está estoy voy vamos me te se lo le no qué dónde cómo por
        """
    ),
    affirming=_set("sí si no claro"),
    digits=_set("cero uno dos tres cuatro cinco seis siete ocho nueve 0 1 2 3 4 5 6 7 8 9"),
    number_nouns=_set("número numero teléfono telefono móvil"),
    doublers=_set("doble triple"),
)

GERMAN = Lexicon(
    fillers=_set("äh ähm hm hmm öh mhm"),
    hanging=_set(
        """
        und oder aber weil dass daß wenn ob obwohl sondern damit sowie von für ohne gegen zwischen wegen
        seit beim im am zum zur vom der den dem des eine einen einem mein meine meinen meinem dein deine
        deinen unser unsere sehr
        """
    ),
    asking=_set("was wer wen wem wo wann warum wie wieso welche welcher wohin woher"),
    linking=_set("ist sind war waren bin"),
    pronouns=_set("ich du er sie es wir das so da"),
    openers=_phrases(
        """
        ich heiße / ich heisse / mein name ist / ich möchte / ich würde gern / ich hätte gern
        """
    ),
    leading=_set("und also"),
    starters=_phrases("ich will / ich brauche / kannst du / können sie / könnten sie / also / und dann"),
    whole=_set(
        """
        ja nein doch danke bitte hallo tschüss genau gut gerne okay ok stopp halt vielleicht nie
        """
    ),
    enders=_set("bitte danke heute morgen jetzt auch"),
    subordinators=_phrases("wenn / falls / obwohl / sobald"),
    main_clause=_set("dann ich kann will muss bitte komm geh ruf sag ist wird"),
    affirming=_set("ja nein doch"),
    digits=_set("null eins zwei zwo drei vier fünf sechs sieben acht neun 0 1 2 3 4 5 6 7 8 9"),
    number_nouns=_set("nummer telefonnummer handynummer"),
)

FRENCH = Lexicon(
    fillers=_set("euh heu hum hmm ben bah"),
    hanging=_set(
        """
        et ou mais car que de du des le la les un une mon ma mes ton ta tes sa ses notre votre à dans pour
        sans chez entre vers par très l' d' qu' j' m' c' n' s'
        """
    ),
    asking=_set("qui quoi où quand comment pourquoi combien quel quelle quels quelles"),
    linking=_set("est sont était suis"),
    pronouns=_set("je tu il elle on nous vous ils elles ce c' ça y là"),
    openers=_phrases(
        """
        je m'appelle / mon nom est / je voudrais / j'aimerais / je veux / il faut / parce que
        """
    ),
    leading=_set("et alors"),
    starters=_phrases("est-ce que / pouvez-vous / peux-tu / alors / donc / et puis / j'ai besoin"),
    closers=_phrases("bien sûr que / je crois que oui / c'est ça"),
    whole=_set(
        """
        oui non merci bonjour salut d'accord bien exact voilà stop jamais aujourd'hui demain
        """
    ),
    enders=_set("merci demain maintenant aussi aujourd'hui plaît"),
    subordinators=_phrases("si / quand / lorsque / dès que / bien que"),
    main_clause=_set("je j'ai tu il elle on nous vous alors dites dis appelez est sera"),
    affirming=_set("oui non si"),
    digits=_set("zéro un deux trois quatre cinq six sept huit neuf 0 1 2 3 4 5 6 7 8 9"),
    number_nouns=_set("numéro téléphone"),
)

LEXICONS = {"en": ENGLISH, "es": SPANISH, "de": GERMAN, "fr": FRENCH}
