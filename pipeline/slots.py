"""The rules of the calendar: when appointments are, what a phone number is, and how to say no.

Pure: a day, a time and a clock in, an answer out. Tools and HTTP routes both judge by this. `now` is always
the business's own local time.
"""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

PHONE_DIGITS = 10
SLOTS = tuple(f"{hour:02d}:00" for hour in range(9, 16))
"""09:00 to 15:00; each lasts an hour."""
_WORKDAYS = range(5)  # Monday to Friday
_CODE = re.compile(r"[a-z0-9]{8}")

_DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
}
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}


class No(StrEnum):
    """Why something cannot be done."""

    PHONE = "phone"
    DATE = "date"
    TIME = "time"
    WEEKEND = "weekend"
    PAST = "past"
    HOURS = "hours"
    TAKEN = "taken"
    YOURS = "yours"
    NONE_FREE = "none_free"
    UNKNOWN = "unknown"
    OVER = "over"
    CANCELLED = "cancelled"
    CALLER = "caller"


_SENTENCES: Mapping[str, Mapping[No, str]] = {
    "en": {
        No.PHONE: "That does not look like a phone number: I need ten digits.",
        No.DATE: "I did not understand the day. Please say a date, such as Monday or November 24.",
        No.TIME: "I did not understand the time. Please say an hour, such as ten in the morning.",
        No.WEEKEND: "{day} is on a weekend. Appointments are Monday to Friday.",
        No.PAST: "{day} at {time} is in the past. Please choose a later time.",
        No.HOURS: "There are no appointments at {time}. They begin on the hour, from 9 AM to 3 PM.",
        No.TAKEN: "{day} at {time} is already taken. Please choose another time.",
        No.YOURS: "You have {day} at {time} already, with the code {code}.",
        No.NONE_FREE: "Nothing is free on {day} any more. Please choose another day.",
        No.UNKNOWN: "I cannot find an appointment of yours with the code {code}.",
        No.OVER: "That appointment was on {day} at {time}; it can no longer be changed.",
        No.CANCELLED: "That appointment has been cancelled already.",
        No.CALLER: "I need your phone number first. What is it, please?",
    },
    "es": {
        No.PHONE: "Eso no parece un número de teléfono: necesito diez cifras.",
        No.DATE: "No he entendido el día. Diga una fecha, como el lunes o el 24 de noviembre.",
        No.TIME: "No he entendido la hora. Diga una, como las diez de la mañana.",
        No.WEEKEND: "El {day} cae en fin de semana. Las citas son de lunes a viernes.",
        No.PAST: "El {day} a las {time} ya ha pasado. Elija otro momento, por favor.",
        No.HOURS: "No hay citas a las {time}. Empiezan a la hora en punto, de 9:00 a 15:00.",
        No.TAKEN: "El {day} a las {time} ya está ocupado. Elija otra hora, por favor.",
        No.YOURS: "El {day} a las {time} ya lo tiene usted, con el código {code}.",
        No.NONE_FREE: "El {day} ya no queda nada libre. Elija otro día, por favor.",
        No.UNKNOWN: "No encuentro ninguna cita suya con el código {code}.",
        No.OVER: "Esa cita fue el {day} a las {time}; ya no se puede cambiar.",
        No.CANCELLED: "Esa cita ya está cancelada.",
        No.CALLER: "Primero necesito su número de teléfono. ¿Cuál es, por favor?",
    },
}
_STILL_FREE = {"en": " Still free that day: {times}.", "es": " Ese día queda libre: {times}."}


def local_now(now: datetime, zone: ZoneInfo | None) -> datetime:
    """The business's time, without a zone: to be compared with slots. `zone` None: the one that `now` has."""
    return (now.astimezone(zone) if zone else now).replace(tzinfo=None)


def read_phone(text: str) -> str | None:
    """Ten digits, however they are written; a country code +1 is left out. None for anything else."""
    if re.search(r"[^\d\s().+/-]", text, re.ASCII):
        return None
    digits = re.sub(r"\D", "", text)
    if len(digits) == PHONE_DIGITS + 1 and digits.startswith("1"):
        digits = digits[1:]
    return digits if len(digits) == PHONE_DIGITS else None


def read_code(text: str) -> str | None:
    """A confirmation code, however it was spelled. None for what cannot be one."""
    code = re.sub(r"[\s.,-]", "", text).lower()
    return code if _CODE.fullmatch(code) else None


def slots_of(day: date) -> tuple[str, ...]:
    """When appointments begin on a day."""
    return SLOTS if day.weekday() in _WORKDAYS else ()


def free_slots(day: date, now: datetime, taken: Collection[str]) -> list[str]:
    """What can still be booked on a day."""
    return [slot for slot in slots_of(day) if slot not in taken and not is_past(day, slot, now)]


def is_past(day: date, slot: str, now: datetime) -> bool:
    """It has begun."""
    return datetime.combine(day, time.fromisoformat(slot)) <= now


def why_not(day: date, at: str, now: datetime) -> No | None:
    """Why nobody can book that, whoever has it. `at` is HH:MM."""
    if datetime.combine(day, time.max) < now:
        return No.PAST
    if day.weekday() not in _WORKDAYS:
        return No.WEEKEND
    if at not in SLOTS:
        return No.HOURS
    return No.PAST if is_past(day, at, now) else None


def sentence(no: No, language: str = "en", *, day: date | None = None, at: str = "", code: str = "") -> str:
    """What to say."""
    told = _SENTENCES["es" if _is_spanish(language) else "en"][no]
    if not at:
        told = told.replace(" at {time}", "").replace(" a las {time}", "")
    said = told.format(
        day=say_day(day, language) if day else "", time=say_time(at, language) if at else "", code=code
    )
    return said[:1].upper() + said[1:]


def taken(language: str, day: date, at: str, free: Collection[str]) -> str:
    """That a slot is taken, and which are not."""
    if not free:
        return sentence(No.NONE_FREE, language, day=day)
    times = ", ".join(say_time(slot, language) for slot in free)
    still = _STILL_FREE["es" if _is_spanish(language) else "en"].format(times=times)
    return sentence(No.TAKEN, language, day=day, at=at) + still


def say_day(day: date, language: str = "en") -> str:
    """ "Monday, November 23"; "lunes 23 de noviembre"."""
    own = "es" if _is_spanish(language) else "en"
    weekday, month = _DAYS[own].split()[day.weekday()], _MONTHS[own].split()[day.month - 1]
    return f"{weekday} {day.day} de {month}" if own == "es" else f"{weekday}, {month} {day.day}"


def say_time(at: str, language: str = "en") -> str:
    """ "2 PM"; "14:00"."""
    said = time.fromisoformat(at)
    if _is_spanish(language):
        return f"{said.hour}:{said.minute:02d}"
    minutes = f":{said.minute:02d}" if said.minute else ""
    return f"{said.hour % 12 or 12}{minutes} {'AM' if said.hour < 12 else 'PM'}"


def _is_spanish(language: str) -> bool:
    return language.lower().partition("-")[0] == "es"
