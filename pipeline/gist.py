"""What can be told about a talk without a model: from its messages alone (docs/files.md). Pure functions.

What was done is read from the results of the tools, so that it holds whoever words the summary; what was
wanted and liked from the user's own words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Messages = Sequence[Mapping[str, Any]]

MOST_QUOTES = 3
QUOTE_CHARS = 140
MOST_PREFERENCES = 10
LOOKED_AT = 200
"""User messages, the last ones, in which preferences and wishes are looked for: this runs on the loop."""
LONGEST = 500
"""Characters of each that are looked at."""

DONE = {
    "book_appointment": "booked",
    "modify_appointment": "modified",
    "cancel_appointment": "cancelled",
}
"""Tools of the appointment book, and what they do to an appointment."""
LOOKED_UP = "get_user_appointments"
_SILENT_TOOLS = frozenset((*DONE, LOOKED_UP, "identify_user", "end_conversation", "fetch_available_slots"))
"""Tools whose use is told in words of its own, or goes without saying."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a talk amounts to."""

    text: str
    appointments: tuple[Mapping[str, str], ...] = ()
    """Each {action, date, time, appointment_id}."""
    preferences: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As the wire, the journal and the conversation file name it."""
        return {
            "summary": self.text,
            "appointments_discussed": [dict(a) for a in self.appointments],
            "preferences_mentioned": list(self.preferences),
        }


def summarized(messages: Messages, language: str = "en") -> Summary:
    """The summary of a talk, in English or Spanish."""
    return Summary(text_of(messages, language), discussed(messages), preferences(messages))


# -- what was done --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Book:
    """The appointments that came up, in order."""

    entries: list[dict[str, str]] = field(default_factory=list)
    when: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By appointment id: its last known date and time."""

    def add(self, action: str, found: Mapping[str, Any]) -> None:
        code = str(found.get("appointment_id") or "")
        known = self.when.get(code, ("", ""))
        date = str(found.get("date") or found.get("new_date") or known[0])
        time = str(found.get("time") or found.get("new_time") or known[1])
        if not (code or date):
            return
        self.when[code] = (date, time)
        entry = {"action": action, "date": date, "time": time, "appointment_id": code}
        if entry not in self.entries:
            self.entries.append(entry)


def discussed(messages: Messages) -> tuple[Mapping[str, str], ...]:
    """The appointments that were booked, modified or cancelled, in order; and those that were only looked up
    ("viewed")."""
    book = _Book()
    for name, arguments, result in _successes(messages):
        if name in DONE:
            book.add(DONE[name], {**arguments, **result})
        elif name == LOOKED_UP:
            listed = result.get("appointments")
            for found in listed if isinstance(listed, Sequence) else ():
                if isinstance(found, Mapping):
                    book.add("viewed", found)
    touched = {e["appointment_id"] for e in book.entries if e["action"] != "viewed"}
    return tuple(e for e in book.entries if e["action"] != "viewed" or e["appointment_id"] not in touched)


def person(messages: Messages) -> tuple[str, str]:
    """Name and phone number as the caller gave them, "" for what was not given."""
    name = phone = ""
    for tool, arguments, result in _successes(messages):
        if tool == "identify_user":
            told = {**arguments, **result}
            name = str(told.get("name") or name)
            phone = re.sub(r"\D", "", str(told.get("phone_number") or "")) or phone
    return name, phone


def _calls(messages: Messages) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    found = []
    for message in messages:
        if message.get("role") == "tool":
            arguments, result = message.get("arguments"), message.get("result")
            arguments = arguments if isinstance(arguments, Mapping) else {}
            result = result if isinstance(result, Mapping) else {}
            found.append((str(message.get("name") or ""), arguments, result))
    return found


def _succeeded(result: Mapping[str, Any]) -> bool:
    return bool(result.get("ok", not result.get("error")))


def _successes(messages: Messages) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    return [call for call in _calls(messages) if _succeeded(call[2])]


# -- what was liked -------------------------------------------------------------------------------------

_LIKES = re.compile(
    r"""\b(?:
      i(?:\ would|'d)?\ (?:\w+ly\ )?(?:prefer|rather\ have)\b
    | i\ (?:\w+ly\ |always\ |do\ )?(?:like|love|enjoy)\b
        (?! \ to\ (?:book|make|schedule|cancel|change|move|know|speak|talk)\b
          | \ (?:it|that|this)\b(?!\ \w+ing))
    | i\ (?:do\ not|don't|never)\ (?:like|want|eat|drink)\b | i\ (?:hate|dislike)\b
    | i(?:\ am|'m)\ allergic\b | my\ favou?rite\b
    | (?:mornings?|afternoons?|evenings?|noon|weekends?|(?:mon|tues|wednes|thurs|fri|satur|sun)days?)
        \ (?:are|is|work|works|would\ be|suit|suits|fit|fits)\ (?:me\ |for\ me\ )?
        (?:\w+\ )?(?:better|best|good|great|fine|easier|easiest|me)\b
    | prefiero | preferir[íi]a | (?:no\ )?me\ (?:gustan?|encantan?)\b(?!\ eso) | odio | soy\ al[ée]rgic[oa]
    | mi\ \w+\ (?:favorit|preferid)[oa]
    | (?:viene|vienen|va|van)\ (?:mejor|muy\ bien)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKED = re.compile(r"^(?:do|does|did|can|could|what|which|who|¿)", re.IGNORECASE)
_CLAUSES = re.compile(r"(?<=[.!?;\n])\s+|\s*[,;]\s+(?:but|and|so|pero|así que)\s+", re.IGNORECASE)


def preferences(messages: Messages) -> tuple[str, ...]:
    """What the user said to like, prefer or not want: his own words, clause by clause."""
    found: dict[str, str] = {}
    for text in _said(messages)[-LOOKED_AT:]:
        for clause in _CLAUSES.split(text[:LONGEST].replace("’", "'")):
            clause = (clause or "").strip().strip(",")
            if _LIKES.search(clause) and not _ASKED.match(clause):
                found.setdefault(clause.casefold().rstrip(".! "), _short(clause.rstrip(".! ")))
    return tuple(found.values())[:MOST_PREFERENCES]


# -- in words -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    """How a summary is worded in one language."""

    nothing: str = "Nothing was said by the user."
    turns: tuple[str, str] = ("The talk had one turn.", "The talk had {n} turns.")
    caller: str = "The caller is {name}."
    wanted: str = "The user said: {quotes}."
    booked: str = "An appointment was booked for {when}{code}."
    modified: str = "An appointment was moved to {when}{code}."
    cancelled: str = "The appointment of {when}{code} was cancelled."
    viewed: tuple[str, str] = ("One appointment was looked up.", "{n} appointments were looked up.")
    slots: str = "Free times were looked up for {dates}."
    used: str = "Tools that were used: {names}."
    refused: str = "Not done: {why}"
    failed: str = "Not done: {name} failed."
    open: str = "Left without an answer: {quote}."
    at: str = "{date} at {time}"
    code: str = " (code {code})"


ENGLISH = _Words()
SPANISH = _Words(
    nothing="El usuario no dijo nada.",
    turns=("La conversación tuvo un turno.", "La conversación tuvo {n} turnos."),
    caller="Llamó {name}.",
    wanted="El usuario dijo: {quotes}.",
    booked="Se reservó una cita para el {when}{code}.",
    modified="Se cambió una cita al {when}{code}.",
    cancelled="Se canceló la cita del {when}{code}.",
    viewed=("Se consultó una cita.", "Se consultaron {n} citas."),
    slots="Se consultaron horas libres para el {dates}.",
    used="Herramientas usadas: {names}.",
    refused="No se hizo: {why}",
    failed="No se hizo: {name} falló.",
    open="Quedó sin respuesta: {quote}.",
    at="{date} a las {time}",
    code=" (código {code})",
)
_CUES = re.compile(
    r"\?|\b(?:i (?:want|need|would like|wish)|i'd like|can you|could you|please|book|cancel|change|move"
    r"|reschedule|make|find|tell me|help|how|what|when|which|where|appointment|quiero|quisiera|necesito"
    r"|puede[sn]?|podr[ií]as?|por favor|reservar|cancelar|cambiar|cita|dime|cómo|qué|cuándo)\b",
    re.IGNORECASE,
)
_SMALL = re.compile(
    r"(?:hello|hi|hey|hola|bye|goodbye|adiós|thanks|thank you|gracias|yes|yeah|no|okay|ok|sure|sí|vale|please"
    r"|\W)*",
    re.IGNORECASE,
)


def text_of(messages: Messages, language: str = "en") -> str:
    """What was asked for, what was done, and what was left open, in a few sentences."""
    words = SPANISH if language.lower().startswith("es") else ENGLISH
    said = _said(messages)
    if not said:
        return words.nothing
    told = [words.turns[len(said) > 1].format(n=len(said))]
    if name := person(messages)[0]:
        told.append(words.caller.format(name=name))
    quotes = "; ".join(_quoted(text) for text in _wishes(said[-LOOKED_AT:]))
    told.append(words.wanted.format(quotes=quotes))
    told += _deeds(messages, words)
    told += _left_open(messages, words)
    return " ".join(told)


def _said(messages: Messages) -> list[str]:
    found = (str(m.get("content") or "").strip() for m in messages if m.get("role") == "user")
    return [text for text in found if text]


def _wishes(said: Sequence[str]) -> list[str]:
    """The few things said that tell most of what was wanted, in order."""

    def weight(i: int) -> tuple[bool, bool, int, int]:
        text = said[i][:LONGEST]
        return (not _SMALL.fullmatch(text), bool(_CUES.search(text)), min(len(text), QUOTE_CHARS), -i)

    best = sorted(range(len(said)), key=weight, reverse=True)[:MOST_QUOTES]
    weighty = [i for i in best if weight(i)[0]] or best[:1]
    return [said[i] for i in sorted(weighty)]


def _deeds(messages: Messages, words: _Words) -> list[str]:
    told, viewed = [], 0
    for entry in discussed(messages):
        if entry["action"] == "viewed":
            viewed += 1
            continue
        when = words.at.format(date=entry["date"], time=entry["time"]) if entry["time"] else entry["date"]
        code = words.code.format(code=entry["appointment_id"]) if entry["appointment_id"] else ""
        told.append(str(getattr(words, entry["action"])).format(when=when, code=code))
    if viewed:
        told.append(words.viewed[viewed > 1].format(n=viewed))
    calls = _successes(messages)
    dates = dict.fromkeys(
        str(a.get("date")) for n, a, _ in calls if n == "fetch_available_slots" and a.get("date")
    )
    if dates and not told:
        told.append(words.slots.format(dates=", ".join(dates)))
    others = dict.fromkeys(name.replace("_", " ") for name, _, _ in calls if name not in _SILENT_TOOLS)
    if others:
        told.append(words.used.format(names=", ".join(others)))
    return told


def _left_open(messages: Messages, words: _Words) -> list[str]:
    told = []
    ends: dict[str, Mapping[str, Any]] = {}
    for name, _, result in _calls(messages):
        ends[name] = result
    for name, result in ends.items():
        if _succeeded(result) or result.get("needs_confirmation"):
            continue
        why = str(result.get("message") or "").strip()
        told.append(words.refused.format(why=_short(why)) if why else words.failed.format(name=name))
    talk = [m for m in messages if m.get("role") in ("user", "assistant")]
    if (
        talk
        and talk[-1].get("role") == "assistant"
        and talk[-1].get("interrupted")
        and not talk[-1].get("heard")
    ):
        talk.pop()  # nobody has heard it
    if talk and talk[-1].get("role") == "user" and not _SMALL.fullmatch(str(talk[-1].get("content") or "")):
        told.append(words.open.format(quote=_quoted(str(talk[-1]["content"]))))
    return told


def _quoted(text: str) -> str:
    return f"“{_short(text.strip()).rstrip('.')}”"


def _short(text: str, most: int = QUOTE_CHARS) -> str:
    """The text on one line, cut after a word."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return text[:most].rpartition(" ")[0].rstrip(",;:") + " …"


def as_kept(conversation: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a conversation file that has none, as `Summary.told`."""
    messages = conversation.get("messages")
    found: Messages = [m for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else ()
    return summarized(found, str(conversation.get("language") or "en")).told()
