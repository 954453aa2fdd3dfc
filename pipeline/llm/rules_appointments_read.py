"""Reads a whole talk about appointments: what is the open question, what is known. A pure function.

It goes through the messages from the first one on. An utterance is understood as the answer to what was open
then, a tool's result as what it says; what was open is what this responder would have asked, whatever words
were heard of it. Consent is the exception: a yes counts only if what it agrees to was heard, so a question
that was cut off books nothing, and what has become of a booking is told until it was heard.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pipeline.contracts import Message
from pipeline.llm.rules_appointments_answers import answered
from pipeline.llm.rules_appointments_hear import listen
from pipeline.llm.rules_appointments_next import next_step
from pipeline.llm.rules_appointments_state import Appointment, News, Setting, State, Task
from pipeline.llm.rules_appointments_words import Ask

MOST_MESSAGES = 400  # of the latest: a longer talk is about something else by now
STRIDE = 100  # by so many at once the oldest are left out
TALKS_KEPT = 1024
Said = tuple[str, str, str]
"""A message's role, content and name."""
Result = Mapping[str, Any]


def read(messages: Sequence[Message], setting: Setting) -> State:
    """What is known after the last message."""
    first = max(0, len(messages) - MOST_MESSAGES)
    first += -first % STRIDE
    return _read(tuple((m.role, m.content, m.name) for m in messages[first:]), setting)[0]


@lru_cache(maxsize=TALKS_KEPT)
def _read(said: tuple[Said, ...], setting: Setting) -> tuple[State, str]:
    """What is known, and what the caller has heard since they spoke. What went before the last utterance is
    usually remembered, so that a long talk is read as quickly as a short one."""
    last = max((at for at, (role, _, _) in enumerate(said) if role == "user"), default=-1)
    state, spoken = State(), ""
    if last >= 0:
        state = _after_reply(*_read(said[:last], setting), setting)
        state = answered(state, listen(said[last][1], state.ask, setting), setting)
    for role, content, name in said[last + 1 :]:
        if role == "assistant":
            spoken += f" {content}"
        elif role == "tool" and name in _LESSONS:
            state = _learned(state, name, _result(content), setting)
    return state, spoken


def _after_reply(state: State, spoken: str, setting: Setting) -> State:
    """When the caller speaks again: what was asked, and what of it all was heard."""
    step = next_step(state, setting)
    if step.tool:  # it was cut off before that was done
        return replace(state, heard=False)
    named = bool(state.slots) and all(setting.clock(slot) in spoken for slot in state.slots)
    is_over = step.ask in (Ask.MORE, Ask.OPEN)
    return replace(
        state,
        ask=step.ask,
        heard=bool(step.evidence) and step.evidence in spoken,
        told=state.slots_of if named else state.told,
        news=tuple(news for news in state.news if news.mark and news.mark not in spoken),
        last=step.says if step.ask is Ask.MORE and not state.aside else state.last,
        task=Task.NONE if is_over else state.task,
        ended="",
    )


# -- what tools answer ----------------------------------------------------------------------------------


def _result(content: str) -> Result:
    try:
        result = json.loads(content)
    except ValueError:
        return {}
    if isinstance(result, dict) and isinstance(result.get("result"), dict) and "ok" not in result:
        result = result["result"]  # as a talk that was taken up again has it
    return result if isinstance(result, dict) else {}


def _learned(state: State, tool: str, result: Result, setting: Setting) -> State:
    if result.get("status") == "still running":
        return replace(state, working=True)
    before = replace(state, agreed=False, aside=False, working=False, failed=False, sure="")
    if result.get("ok") is True:
        return _LESSONS[tool](before, result, setting)
    if tool == "end_conversation":
        return replace(before, ended=_farewell(before, setting))
    if not result.get("message"):
        return replace(before, failed=True)
    if result.get("needs_confirmation"):
        return replace(before, sure=str(result["message"]))
    return _refused(before, tool, str(result["message"]))


def _refused(state: State, tool: str, why: str) -> State:
    """The tool's own sentence is said; what it did not like has to be said anew."""
    state = replace(state, news=(*state.news, News(why)))
    if tool == "identify_user":
        return replace(state, digits="", registered=state.name)
    if tool == "fetch_available_slots":
        return replace(state, date="", refused_date=True)
    if tool in ("book_appointment", "modify_appointment"):
        return replace(state, time="", slots_of="", slots=(), told="")
    return replace(state, task=Task.NONE)


def _identified(state: State, result: Result, setting: Setting) -> State:
    phone = str(result.get("phone_number") or state.digits)
    name = str(result.get("name") or state.name)
    is_back = bool(result.get("returning")) and not state.phone
    news = News(setting.say("hello_back" if is_back else "hello_new", name=name)) if name else None
    told = (*state.news, news) if news else state.news
    return replace(state, phone=phone, digits="", name=name, registered=name, news=told)


def _free(state: State, result: Result, setting: Setting) -> State:  # noqa: ARG001
    day = str(result.get("date") or state.date)
    return replace(state, slots_of=day, slots=tuple(str(slot) for slot in result.get("slots") or ()))


def _appointment(told: Result) -> Appointment:
    return Appointment(
        str(told.get("appointment_id") or ""), str(told.get("date") or ""), str(told.get("time") or "")
    )


def _done(key: str) -> Callable[[State, Result, Setting], State]:
    """Something was changed: the caller has to hear it."""

    def lesson(state: State, result: Result, setting: Setting) -> State:
        found = _appointment(result)
        slot = setting.slot(found.date, found.time)
        news = News(setting.say(key, slot=slot, code=found.code), slot if key == "cancelled" else found.code)
        fresh = State(phone=state.phone, name=state.name, registered=state.registered)
        return replace(fresh, nameless=state.nameless, ask=state.ask, news=(*state.news, news))

    return lesson


def _looked_up(state: State, result: Result, setting: Setting) -> State:  # noqa: ARG001
    return replace(state, appointments=tuple(_appointment(one) for one in result.get("appointments") or ()))


def _ended(state: State, result: Result, setting: Setting) -> State:
    return replace(state, task=Task.BYE, ended=str(result.get("message") or _farewell(state, setting)))


def _farewell(state: State, setting: Setting) -> str:
    return setting.say("bye", name=f", {state.name}" if state.name else "")


_LESSONS: Mapping[str, Callable[[State, Result, Setting], State]] = {
    "identify_user": _identified,
    "fetch_available_slots": _free,
    "book_appointment": _done("booked"),
    "modify_appointment": _done("moved"),
    "cancel_appointment": _done("cancelled"),
    "get_user_appointments": _looked_up,
    "end_conversation": _ended,
}
