"""Appointments in Spanish: what is listened for, asked and said. Data only."""

from pipeline.llm.rules_appointments_words import Ask, Digits, Wording, in_order, pairs, words

_SMALL = "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince"
_TWENTIES = (
    "veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho "
    "veintinueve"
)
_DIGITS = Digits(
    one={w: str(i) for i, w in enumerate(in_order(_SMALL))}
    | {w: str(i + 16) for i, w in enumerate(in_order("dieciséis diecisiete dieciocho diecinueve"))}
    | {w: str(i + 20) for i, w in enumerate(in_order(_TWENTIES))}
    | {"dieciseis": "16", "veintidos": "22", "veintitres": "23", "veintiseis": "26", "un": "1", "una": "1"},
    tens={
        w: str(i + 3)
        for i, w in enumerate(in_order("treinta cuarenta cincuenta sesenta setenta ochenta noventa"))
    },
    alike=pairs("sero=0 hocho=8 o=0 sinco=5 dose=12 trese=13"),
    times={"doble": 2, "triple": 3},
    zeros={"mil": "000", "cien": "100"},
    fillers=words("y eh em luego después guion guión"),
    lead_ins=words(
        "es el mi número numero teléfono telefono móvil movil celular sí si no perdón por favor son los las "
        "he dicho claro vale otros restantes cifras dígitos digitos"
    ),
    last=words("último última últimos últimas ultimo ultimos ultimas termina acaba final"),
    first=words("primero primera primeros primeras primer empieza comienza principio"),
    middle=frozenset({"medio", "centro"}),
    negated=frozenset({"no"}),
    joined=frozenset({"y"}),
)

SPANISH = Wording(
    tasks={
        "cancel": (
            "cancela|cancelar|cancele|anula|anular|anule|elimina|eliminar|quita mi|la|una|cita|reserva",
            "cancelar|cancela|anular|anula|cancele|cancelarla|anularla|cancélala",
            "no puedo ir|venir",
            "ya no necesito cita",
        ),
        "modify": (
            "cambia|cambiar|cambie|mueve|mover|mueva|modifica|modificar|aplaza mi|la|una cita|reserva",
            "cambiar|cambiarla|mover|moverla|aplazar|reprogramar|reprograma|pospon|posponer|adelantar",
            "otra|otro hora|día|fecha para cita",
        ),
        "view": (
            "qué|que|cuáles|cuales|mis|ver|dime|muestra|muéstrame|consultar mis|citas|cita tengo|cita",
            "cuándo|cuando|qué|que es|hora|tengo mi|la|cita",
            "tengo alguna|una cita",
            "qué|que citas|cita tengo",
            "mis citas",
            "^mi cita",
        ),
        "slots": (
            "qué|que|cuáles|cuales|alguna|algún|algo horas|hora|huecos|hueco|horarios|cita libre|libres",
            "qué|que|cuáles|alguna horas|horarios|citas|huecos disponibles|hay|tienen|tiene|tienes",
            "hay|tiene|tienen|tienes|queda|quedan algo|hueco|huecos|sitio|horas|citas|disponibilidad|libre",
            "disponibilidad|disponible|disponibles",
            "está|están|estás|esta libre|libres|abierto|disponible",
            "cuándo|cuando puedo ir|venir",
            "cuándo|cuando están|está|tienen|tienes libre|libres|hueco|sitio",
        ),
        "book": (
            "reservar|reserva|reserve|pedir|pide|hacer|concertar|agendar|quiero|quisiera|necesito|dame cita",
            "querría|gustaría|me|dar|coger|sacar|nueva cita",
            "reservar|reserva|resérvame|agendar|agenda",
            "^una cita",
            "^cita",
        ),
    },
    yes=(
        *(
            "^sí",
            "^si",
            "^claro",
            "^correcto",
            "^exacto",
            "^vale",
            "^de acuerdo",
            "^perfecto",
            "^bien",
            "^eso",
        ),
        *(
            "^está|esta bien",
            "^bueno$",
            "^por supuesto",
            "^adelante",
            "^ok",
            "^okay",
            "^así es",
            "^hazlo",
            "^hágalo",
        ),
        *("es correcto", "^por favor$", "^confirmo", "^confirma", "^resérvala", "^cancélala", "^cámbiala"),
    ),
    no=(
        *(
            "^no",
            "^incorrecto",
            "^mal$",
            "^está mal",
            "no es correcto|así|eso",
            "^nada",
            "^ninguna",
            "^ninguno",
        ),
        *("no", "espera", "espere", "^mejor no", "^tampoco", "^para$"),
    ),
    no_problem=("^no hay problema", "^no importa sí"),
    enough=(
        *("^no", "^nada", "nada más|mas", "eso es todo", "es|sería todo", "^ya está$", "^listo$", "^eso$"),
        *("ya no|nada",),
    ),
    drop=("no importa", "^olvídalo", "^déjalo", "^cancela$", "^basta", "^para$", "^olvida"),
    again=(
        *("^repite", "^repita", "otra vez", "^cómo$", "^como$", "^perdón$", "^perdone$", "^qué$", "^que$"),
        *("de nuevo", "puede|puedes repetir", "cómo|como dice|dices|ha"),
    ),
    anyone=("cualquiera", "la primera", "el primero", "me da igual"),
    asks={
        Ask.OPEN: ("¿En qué puedo ayudarle?",),
        Ask.PHONE: (
            "¿Cuál es su número de teléfono?",
            "Dígame su número de teléfono, con las diez cifras.",
        ),
        Ask.REST: ("¿Cuáles son las otras {count} cifras?",),
        Ask.PHONE_OK: ("¿Es correcto?", "¿Es correcto el número?"),
        Ask.NAME: ("¿Y cómo se llama?", "¿Cómo se llama, por favor?"),
        Ask.DATE: ("¿Qué día le gustaría?", "¿Qué día le viene bien? Puede decir mañana, o una fecha."),
        Ask.OTHER_DATE: ("¿Qué otro día le gustaría?",),
        Ask.TIME: ("¿A qué hora le gustaría?", "¿Cuál de estas horas le gustaría?"),
        Ask.WHEN: ("¿Qué día y a qué hora le gustaría?",),
        Ask.OFFER: ("¿Quiere reservar una de ellas?",),
        Ask.OFFER_ONE: ("¿Quiere reservarla?",),
        Ask.BOOK_OK: ("¿La reservo?", "¿La reservo? Diga sí o no, por favor."),
        Ask.WHICH: ("¿A cuál se refiere?", "¿A cuál se refiere? Dígame el día o el código."),
        Ask.CODE: ("¿Cuál es el código de confirmación?",),
        Ask.MOVE_OK: ("¿La cambio?", "¿La cambio? Diga sí o no, por favor."),
        Ask.CANCEL_OK: ("¿La cancelo?", "¿La cancelo? Diga sí o no, por favor."),
        Ask.RETRY: ("¿Lo intento otra vez?",),
        Ask.MORE: ("¿Algo más?",),
    },
    said={
        "slot": "{date}, a las {time}",
        "need_phone": "Para eso necesito su número de teléfono.",
        "so_far": "{digits}.",
        "read_back": "{digits}.",
        "too_short": "Necesito diez cifras.",
        "too_long": "Eso eran {count} cifras, y necesito diez.",
        "start_over": "Perdone. Empecemos el número de nuevo.",
        "hello_new": "Gracias, {name}.",
        "hello_back": "Me alegro de oírle de nuevo, {name}.",
        "thanks": "Gracias.",
        "free": "El {date} tengo estas horas: {times}.",
        "full": "El {date} está todo ocupado.",
        "taken": "A las {time} no hay sitio el {date}. Tengo estas horas: {times}.",
        "is_free": "El {slot}, está libre.",
        "slot_is": "El {slot}.",
        "not_then": "De acuerdo, entonces no.",
        "booked": "Tiene cita el {slot}. Su código de confirmación es {code}.",
        "moved": "Hecho. Su cita es ahora el {slot}. El código de confirmación es {code}.",
        "cancelled": "Su cita del {slot}, está cancelada.",
        "cancelled_code": "La cita {code} está cancelada.",
        "kept": "De acuerdo, la dejo como está.",
        "one": "Tiene una cita: el {slot}, código {code}.",
        "some": "Tiene {count} citas: {list}.",
        "with_code": "el {slot}, código {code}",
        "none": "No tiene ninguna cita.",
        "no_code": "No encuentro ninguna cita suya con el código {code}.",
        "no_such": "No encuentro ninguna cita suya ese día.",
        "to_move": "Su cita es el {slot}.",
        "move_to": "El {new}, en lugar del {old}.",
        "to_cancel": "El {slot}, código {code}.",
        "same": "A esa hora ya la tiene.",
        "dropped": "Vale, lo dejamos.",
        "failed": "Lo siento, ahora mismo no ha funcionado.",
        "working": "Un momento, estoy en ello.",
        "pardon": "Perdone, no le he entendido.",
        "no_phone": "Sin un número de teléfono no puedo ocuparme de sus citas.",
        "bye": "Adiós{name}. Que tenga un buen día.",
        "help": "Puedo buscar horas libres, y reservar, consultar, cambiar o cancelar una cita.",
        "what": "Claro.",
        "not_here": "Me temo que eso no puedo hacerlo aquí.",
    },
    toward=r"\b(?:al|para\s+el|para\s+las?|para|a(?=\s+(?:mañana|pasado|las?\b)))\s+",
    name=(
        r"^(?:(?:eh|em|sí|si|hola|y|es|soy|me llamo|mi nombre es|el nombre es|a nombre de|llámame|por favor)"
        r"\b[\s,.]*)+"
    ),
    not_names=words(
        "un una el la sí si no qué que por quién quien cómo como cuándo cuando cuál dónde yo tú usted mi "
        "su nombre mañana hoy lunes martes miércoles jueves viernes cita reservar cancelar favor "
        "perdón prefiero nunca nadie espera hola otra repita repite hora número teléfono"
    ),
    digits=_DIGITS,
    letters=pairs(
        "be=b ve=v uve=v ce=c de=d efe=f ge=g hache=h i=i jota=j ca=k ka=k ele=l eme=m ene=n "
        "pe=p cu=q erre=r ere=r ese=s te=t equis=x zeta=z ye=y"
    ),
    double_u=(("doble", "uve"), ("uve", "doble"), ("doble", "ve"), ("doble", "u")),
    listed=(", ", " y "),
)
