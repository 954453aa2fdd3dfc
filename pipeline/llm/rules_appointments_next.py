"""What to do next about appointments, given what is known: say something and ask, or use a tool. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.llm.rules_appointments_digits import PHONE_DIGITS, nearest_code, spell_phone
from pipeline.llm.rules_appointments_state import Appointment, Setting, State, Task
from pipeline.llm.rules_appointments_words import Ask

CODES_READ = 2  # more appointments than that are read out without their codes


@dataclass(frozen=True, slots=True)
class Step:
    """The next thing to do. With a `tool` nothing is said."""

    ask: Ask = Ask.OPEN
    says: tuple[str, ...] = ()
    evidence: str = ""
    """What must be heard of it for a yes to count."""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the question's own wording needs."""


_GOODBYE = Step(tool="end_conversation")


def next_step(state: State, setting: Setting) -> Step:
    """What follows."""
    if state.working:
        return Step(state.ask, (setting.say("working"),))
    if state.failed:
        return _told(state, Step(Ask.RETRY, (setting.say("failed"),)))
    if state.task is Task.BYE:
        return Step(says=(*(n.text for n in state.news), state.ended)) if state.ended else _GOODBYE
    if state.task is Task.NONE:
        last = state.last if state.again and not state.news else ()
        goes_on = state.news or state.again or (state.aside and state.ask is Ask.MORE)
        return _told(state, Step(Ask.MORE if goes_on else Ask.OPEN, last))
    if state.task is Task.OTHER:
        return _told(state, Step(Ask.OPEN, (setting.say("what"),)))
    if state.task is Task.SLOTS:
        return _told(state, _free(state, setting))
    return _told(state, _identify(state, setting) or _TASKS[state.task](state, setting))


def _told(state: State, step: Step) -> Step:
    """With the news before it."""
    if step.tool or not state.news:
        return step
    says = (*(news.text for news in state.news), *step.says)
    return Step(step.ask, says, step.evidence, values=step.values)


# -- who it is ------------------------------------------------------------------------------------------


def _identify(state: State, setting: Setting) -> Step | None:
    """What is still needed to know who calls; None when that is known."""
    if state.phone:
        if state.name and state.name != state.registered:
            arguments = {"phone_number": state.phone, "name": state.name}
            return Step(tool="identify_user", arguments=arguments)
        return None if state.name or state.nameless else Step(Ask.NAME)
    if len(state.digits) == PHONE_DIGITS:
        if state.agreed:
            name = {"name": state.name} if state.name else {}
            return Step(tool="identify_user", arguments={"phone_number": state.digits, **name})
        digits = spell_phone(state.digits)
        return Step(Ask.PHONE_OK, (setting.say("read_back", digits=digits),), evidence=digits)
    if state.digits:
        heard = setting.say("so_far", digits=spell_phone(state.digits))
        missing = PHONE_DIGITS - len(state.digits)
        return Step(Ask.REST, (heard, setting.say("too_short")), values={"count": missing})
    # Why it is wanted is said when it is asked for the first time.
    wanted = state.task is not Task.IDENTIFY and not state.news and state.ask is not Ask.PHONE
    return Step(Ask.PHONE, (setting.say("need_phone"),) if wanted else ())


# -- tasks ----------------------------------------------------------------------------------------------


def _known(state: State, setting: Setting) -> Step:  # noqa: ARG001
    return Step(Ask.OPEN)


def _book(state: State, setting: Setting) -> Step:
    step = _slot(state, setting)
    if step is not None:
        return step
    if state.agreed:
        return Step(tool="book_appointment", arguments={"date": state.date, "time": state.time})
    return _sure(state) or _asked(Ask.BOOK_OK, state, setting)


def _asked(ask: Ask, state: State, setting: Setting) -> Step:
    slot = setting.slot(state.date, state.time)
    return Step(ask, (setting.say("slot_is", slot=slot),), evidence=slot)


def _sure(state: State) -> Step | None:
    """A tool's own question, once more."""
    return Step(state.ask, (state.sure,), evidence=state.sure) if state.sure else None


def _slot(state: State, setting: Setting) -> Step | None:
    """What is still needed to know of a free time; None when one is chosen."""
    if not state.date:
        ask = Ask.DATE if state.time or state.task is Task.SLOTS else Ask.WHEN
        return Step(Ask.OTHER_DATE if state.refused_date else ask)
    if state.slots_of != state.date:
        return Step(tool="fetch_available_slots", arguments={"date": state.date})
    day = setting.day(state.date)
    if not state.slots:
        return Step(Ask.OTHER_DATE, (setting.say("full", date=day),))
    times = setting.listed([setting.clock(slot) for slot in state.slots])
    if state.time and state.time not in state.slots:
        clock = setting.clock(state.time)
        return Step(Ask.TIME, (setting.say("taken", time=clock, date=day, times=times),))
    if not state.time:
        if not state.again and (state.told == state.date or _are_named(state, setting)):
            return Step(Ask.TIME)
        return Step(Ask.TIME, (setting.say("free", date=day, times=times),))
    return None


def _free(state: State, setting: Setting) -> Step:
    """Free times, for whoever asks. Nobody need say who they are."""
    step = _slot(state, setting)
    if step is None:
        slot = setting.slot(state.date, state.time)
        return Step(Ask.OFFER_ONE, (setting.say("is_free", slot=slot),), evidence=slot)
    if step.ask is not Ask.TIME:
        return step
    return Step(Ask.OFFER, step.says)


def _are_named(state: State, setting: Setting) -> bool:
    """Whether a tool's refusal lists the free times already."""
    told = " ".join(news.text for news in state.news)
    return all(setting.clock(slot) in told for slot in state.slots)


def _view(state: State, setting: Setting) -> Step:
    if state.appointments is None:
        return Step(tool="get_user_appointments")
    return Step(Ask.MORE, (_list(state.appointments, setting),))


def _list(appointments: tuple[Appointment, ...], setting: Setting) -> str:
    if not appointments:
        return setting.say("none")
    slots = [setting.slot(a.date, a.time) for a in appointments]
    if len(appointments) == 1:
        return setting.say("one", slot=slots[0], code=appointments[0].code)
    if len(appointments) <= CODES_READ:
        pairs = zip(slots, appointments, strict=True)
        slots = [setting.say("with_code", slot=slot, code=a.code) for slot, a in pairs]
    return setting.say("some", count=len(appointments), list="; ".join(slots))


def _cancel(state: State, setting: Setting) -> Step:
    found = _meant(state, setting)
    if isinstance(found, Step):
        return found
    if state.agreed:
        return Step(tool="cancel_appointment", arguments={"appointment_id": found.code})
    slot = setting.slot(found.date, found.time)
    asked = Step(Ask.CANCEL_OK, (setting.say("to_cancel", slot=slot, code=found.code),), evidence=slot)
    return _sure(state) or asked


def _modify(state: State, setting: Setting) -> Step:
    found = _meant(state, setting)
    if isinstance(found, Step):
        return found
    old = setting.slot(found.date, found.time)
    if not state.date and not state.time:
        told = state.news or state.ask in (Ask.WHEN, Ask.DATE, Ask.OTHER_DATE, Ask.TIME)
        ask = Ask.OTHER_DATE if state.refused_date else Ask.WHEN
        return Step(ask, () if told else (setting.say("to_move", slot=old),))
    if (state.date or found.date, state.time) == (found.date, found.time):
        return Step(Ask.WHEN, (setting.say("same"),))
    moved = replace(state, date=state.date or ("" if state.refused_date else found.date))
    step = _slot(moved, setting)
    if step is not None:
        return step
    if state.agreed:
        new = {"new_date": moved.date, "new_time": moved.time}
        return Step(tool="modify_appointment", arguments={"appointment_id": found.code, **new})
    new_slot = setting.slot(moved.date, moved.time)
    asked = Step(Ask.MOVE_OK, (setting.say("move_to", new=new_slot, old=old),), evidence=new_slot)
    return _sure(state) or asked


def _meant(state: State, setting: Setting) -> Appointment | Step:
    """Which of the caller's appointments is meant, or what to do to find out."""
    mine = state.appointments
    if mine is None:
        return Step(tool="get_user_appointments")
    if not mine:
        return Step(Ask.MORE, (setting.say("none"),))
    if state.code:
        code = nearest_code(state.code, [a.code for a in mine])
        found = next((a for a in mine if a.code == code), None)
        return found or Step(Ask.CODE, (setting.say("no_code", code=state.code),))
    if state.nth is not None:
        return mine[state.nth]
    fits = [
        a for a in mine if state.of_date in ("", a.date) and (not state.of_time or state.of_time == a.time)
    ]
    if len(fits) == 1:
        return fits[0]
    trouble = () if fits else (setting.say("no_such"),)
    return Step(Ask.WHICH, (*trouble, _list(tuple(fits) or mine, setting)))


_TASKS = {
    Task.BOOK: _book,
    Task.VIEW: _view,
    Task.CANCEL: _cancel,
    Task.MODIFY: _modify,
    Task.IDENTIFY: _known,
}
