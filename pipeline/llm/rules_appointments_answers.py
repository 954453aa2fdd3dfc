"""How what the caller says changes what is known, given the question that is open. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from pipeline.llm.rules_appointments_digits import PHONE_DIGITS, corrected, join_digits, read_digits
from pipeline.llm.rules_appointments_hear import Utterance
from pipeline.llm.rules_appointments_state import News, Setting, State, Task
from pipeline.llm.rules_appointments_words import Ask

ONLY_NO = 4  # words of a "no" that says nothing else
SHORT_NAME = 3  # words of an answer that is taken for a name as it is
_OF_OLD = (Task.MODIFY, Task.CANCEL)


def answered(state: State, said: Utterance, setting: Setting) -> State:
    """What is known after an utterance. `state.ask` is what it answers, unless it is about something else."""
    state = replace(state, agreed=False, aside=False, again=False, failed=False, working=False)
    after = _understood(state, said, setting)
    if after is None:
        return replace(state, aside=True, misses=state.misses + 1)
    if after.again:
        return after
    return replace(
        after,
        name=said.name or after.name,
        misses=0,
        sure=after.sure if after.agreed else "",
        refused_date=after.refused_date and not after.date,
    )


def _understood(state: State, said: Utterance, setting: Setting) -> State | None:
    if not said.words:
        return None
    if said.again and state.ask is not Ask.OPEN:
        return replace(state, again=True)
    if (after := _ANSWERS[state.ask](state, said, setting)) is not None:
        return after
    if said.bye:
        return replace(_begun(state, Task.BYE), news=state.news)
    if said.drop and state.task is not Task.NONE:
        return _given_up(state, setting, "dropped")
    return _asked_for(state, said, setting)


def _asked_for(state: State, said: Utterance, setting: Setting) -> State | None:
    """A new task, or more about the one in hand; None if it is about neither."""
    task = said.task
    if task is Task.SLOTS and state.task in (Task.BOOK, Task.MODIFY):
        task, state = state.task, replace(state, time="", told="")
    if task is Task.NONE and state.task in (Task.NONE, Task.OTHER):
        if said.date and said.time:
            task = Task.BOOK
        elif said.digits and not state.phone:
            task = Task.IDENTIFY
    before = state
    if task not in (Task.NONE, state.task) or (task is Task.VIEW):
        state = _begun(state, task)
    state = _filled(state, said)
    if said.digits and not state.phone:
        state = _collected(state, said.digits, setting)
    return state if task is not Task.NONE or state != before or said.name else None


def _begun(state: State, task: Task) -> State:
    """Another task, from the start. Free times that were just asked about are those to book."""
    if state.task is Task.SLOTS and task is Task.BOOK:
        return replace(state, task=task)
    return replace(
        state,
        task=task,
        date="",
        time="",
        of_date="",
        of_time="",
        code="",
        nth=None,
        refused_date=False,
        slots_of="",
        slots=(),
        told="",
        appointments=None,
    )


def _filled(state: State, said: Utterance) -> State:
    """Days, times and codes, where they belong in the task."""
    if state.task is Task.CANCEL:
        return _pointed(state, said.date, said.time, said.code)
    if state.task is Task.MODIFY:
        state = _pointed(state, said.of_date, said.of_time, said.code)
    if state.task in (Task.BOOK, Task.MODIFY, Task.SLOTS):
        return replace(state, date=said.date or state.date, time=said.time or state.time)
    return state


def _pointed(state: State, day: str, hour: str, code: str) -> State:
    """Which of their appointments the caller means."""
    if not (day or hour or code):
        return state
    return replace(state, of_date=day, of_time=hour, code=code, nth=None)


def _given_up(state: State, setting: Setting, why: str) -> State:
    return replace(_begun(state, Task.NONE), digits="", news=(*state.news, News(setting.say(why))))


def _collected(state: State, new: str, setting: Setting) -> State:
    """More digits of the phone number."""
    digits = join_digits(state.digits, new)
    if len(digits) <= PHONE_DIGITS:
        return replace(state, digits=digits)
    trouble = News(setting.say("too_long", count=len(digits)))
    return replace(state, digits="", news=(*state.news, trouble))


# -- the answers to each question: None = it was none ---------------------------------------------------


def _open(state: State, said: Utterance, setting: Setting) -> State | None:  # noqa: ARG001
    return None


def _phone(state: State, said: Utterance, setting: Setting) -> State | None:
    if said.digits:
        if state.digits and said.yes is False:
            fixed = corrected(state.digits, said.text, setting.wording.digits)
            return replace(state, digits=fixed or said.digits)
        return _collected(state, said.digits, setting)
    if said.yes is not False or said.drop or said.task not in (Task.NONE, state.task):
        return None
    if state.digits:
        return _start_over(state, setting)
    return _given_up(state, setting, "no_phone")


def _phone_ok(state: State, said: Utterance, setting: Setting) -> State | None:
    speech = setting.wording.digits
    fixed = corrected(state.digits, said.text, speech)
    if fixed == state.digits and said.yes is not False:
        return replace(state, agreed=state.heard)
    if fixed:
        return replace(state, digits="") if fixed == state.digits else _collected(state, fixed, setting)
    if said.yes is False or (len(read_digits(said.text, speech, expected=True)) > 1 and not said.date):
        return _start_over(state, setting)
    return replace(state, agreed=state.heard) if said.yes else None


def _start_over(state: State, setting: Setting) -> State:
    return replace(state, digits="", news=(*state.news, News(setting.say("start_over"))))


def _name(state: State, said: Utterance, setting: Setting) -> State | None:  # noqa: ARG001
    if said.bare_name and (said.name or len(said.words) <= SHORT_NAME or said.led_in):
        return replace(state, name=said.name or said.bare_name)
    return replace(state, nameless=True) if said.yes is False else None


def _when(state: State, said: Utterance, setting: Setting) -> State | None:
    if said.date or said.time:
        return _asked_for(state, said, setting)
    if state.ask is Ask.TIME and said.anyone and state.slots:
        return replace(state, time=state.slots[0])
    if said.yes is False and len(said.words) <= ONLY_NO and not said.drop:
        if state.ask is Ask.TIME:
            return replace(state, date="", time="", told="")
        return _given_up(state, setting, "dropped")
    return None


def _offer(state: State, said: Utterance, setting: Setting) -> State | None:
    """Of free times, to somebody who only asked about them."""
    if said.task in (Task.VIEW, *_OF_OLD):
        return None
    if said.time or said.task is Task.BOOK:
        return _filled(_begun(state, Task.BOOK), said)
    if said.date:
        return replace(state, date=said.date, time="")
    if said.anyone and state.slots:
        return replace(_begun(state, Task.BOOK), time=state.time or state.slots[0])
    if said.yes is False:
        return _given_up(state, setting, "not_then")
    if said.yes:
        # A time that was named is agreed to; else one is to be chosen.
        return replace(_begun(state, Task.BOOK), agreed=state.heard and bool(state.time))
    return None


def _time_ok(state: State, said: Utterance, setting: Setting) -> State | None:
    """Whether to book, or to move, to this day and time."""
    if said.drop:
        return _given_up(state, setting, "dropped")
    if said.task in (Task.VIEW, Task.CANCEL) and said.task is not state.task and len(said.words) > 2:
        return None
    if said.date or said.time:
        after = replace(state, date=said.date or state.date, time=said.time or state.time)
        same = (after.date, after.time) == (state.date, state.time)
        return replace(after, agreed=state.heard) if same and said.yes is not False else after
    if said.yes is False or (said.task is Task.MODIFY and state.task is Task.BOOK):
        return replace(state, date="", time="", told="", news=(*state.news, News(setting.say("not_then"))))
    return replace(state, agreed=state.heard) if said.yes else None


def _cancel_ok(state: State, said: Utterance, setting: Setting) -> State | None:
    if said.yes is False or said.drop:
        return _given_up(state, setting, "kept")
    if said.date or said.code:
        return _pointed(state, said.date, said.time, said.code)
    if said.yes or said.task is Task.CANCEL:
        return replace(state, agreed=state.heard)
    return None


def _which(state: State, said: Utterance, setting: Setting) -> State | None:
    if said.code or said.date or said.time:
        return _pointed(state, said.date, said.time, said.code)
    if said.nth is not None:
        return replace(state, nth=said.nth, code="", of_date="", of_time="")
    if said.yes is False and len(said.words) <= ONLY_NO:
        return _given_up(state, setting, "kept")
    return None


def _retry(state: State, said: Utterance, setting: Setting) -> State | None:
    if said.yes is False:
        return _given_up(state, setting, "dropped")
    return state if said.yes else None


def _more(state: State, said: Utterance, setting: Setting) -> State | None:  # noqa: ARG001
    if said.task is not Task.NONE or said.date or said.time or said.digits:
        return None
    if said.enough:
        return _begun(state, Task.BYE)
    return _begun(state, Task.OTHER) if said.yes and len(said.words) <= ONLY_NO else None


_ANSWERS: Mapping[Ask, Callable[[State, Utterance, Setting], State | None]] = {
    Ask.OPEN: _open,
    Ask.PHONE: _phone,
    Ask.REST: _phone,
    Ask.PHONE_OK: _phone_ok,
    Ask.NAME: _name,
    Ask.DATE: _when,
    Ask.OTHER_DATE: _when,
    Ask.TIME: _when,
    Ask.WHEN: _when,
    Ask.OFFER: _offer,
    Ask.OFFER_ONE: _offer,
    Ask.BOOK_OK: _time_ok,
    Ask.MOVE_OK: _time_ok,
    Ask.CANCEL_OK: _cancel_ok,
    Ask.WHICH: _which,
    Ask.CODE: _which,
    Ask.RETRY: _retry,
    Ask.MORE: _more,
}
