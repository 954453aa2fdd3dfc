"""Dates, times and the zones of some big cities, in spoken words."""

from collections.abc import Sequence
from datetime import date, datetime

from pipeline.llm.rules_phrases import Phrases

CITIES = {
    "london": "Europe/London",
    "londres": "Europe/London",
    "paris": "Europe/Paris",
    "parís": "Europe/Paris",
    "berlin": "Europe/Berlin",
    "berlín": "Europe/Berlin",
    "madrid": "Europe/Madrid",
    "barcelona": "Europe/Madrid",
    "rome": "Europe/Rome",
    "roma": "Europe/Rome",
    "lisbon": "Europe/Lisbon",
    "lisboa": "Europe/Lisbon",
    "moscow": "Europe/Moscow",
    "moscú": "Europe/Moscow",
    "istanbul": "Europe/Istanbul",
    "estambul": "Europe/Istanbul",
    "cairo": "Africa/Cairo",
    "nairobi": "Africa/Nairobi",
    "lagos": "Africa/Lagos",
    "dubai": "Asia/Dubai",
    "delhi": "Asia/Kolkata",
    "mumbai": "Asia/Kolkata",
    "beijing": "Asia/Shanghai",
    "shanghai": "Asia/Shanghai",
    "tokyo": "Asia/Tokyo",
    "tokio": "Asia/Tokyo",
    "singapore": "Asia/Singapore",
    "sydney": "Australia/Sydney",
    "new york": "America/New_York",
    "nueva york": "America/New_York",
    "chicago": "America/Chicago",
    "denver": "America/Denver",
    "los angeles": "America/Los_Angeles",
    "san francisco": "America/Los_Angeles",
    "toronto": "America/Toronto",
    "mexico city": "America/Mexico_City",
    "méxico": "America/Mexico_City",
    "bogotá": "America/Bogota",
    "lima": "America/Lima",
    "buenos aires": "America/Argentina/Buenos_Aires",
    "sao paulo": "America/Sao_Paulo",
}


def place_in(words: Sequence[str]) -> str:
    """The known city among the words, "" if there is none."""
    text = f" {' '.join(words)} "
    return next((city for city in CITIES if f" {city} " in text), "")


def say_time(now: datetime, *, spanish: bool) -> str:
    """ "3:05 PM", "15:05" in Spanish: voices read both well."""
    if spanish:
        return f"{now.hour}:{now.minute:02d}"
    hour = now.hour % 12 or 12
    half = "AM" if now.hour < 12 else "PM"
    return f"{hour}:{now.minute:02d} {half}" if now.minute else f"{hour} {half}"


def say_date(day: date, phrases: Phrases, *, spanish: bool) -> str:
    """ "Saturday, November 21, 2026"; "sábado, 21 de noviembre de 2026"."""
    weekday, month = phrases.weekdays[day.weekday()], phrases.months[day.month - 1]
    if spanish:
        return f"{weekday}, {day.day} de {month} de {day.year}"
    return f"{weekday}, {month} {day.day}, {day.year}"
