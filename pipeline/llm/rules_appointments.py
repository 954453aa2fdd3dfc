"""The offline responder at an appointment desk: books, shows, moves and cancels, by the tools it is offered.

    messages --read--> State --next_step--> words and a question, or a tool call

`rules_appointments_words` names the questions and what kind of answer each waits for; the languages' own
files have the wording.
"""

from collections.abc import Callable
from datetime import date
from zoneinfo import ZoneInfo

from pipeline.contracts import ToolCall
from pipeline.llm.rules_appointments_english import ENGLISH
from pipeline.llm.rules_appointments_next import Step, next_step
from pipeline.llm.rules_appointments_read import read
from pipeline.llm.rules_appointments_spanish import SPANISH
from pipeline.llm.rules_appointments_state import Setting, State, Task
from pipeline.llm.rules_appointments_words import AGREEING, Ask
from pipeline.llm.rules_english import ENGLISH as ENGLISH_PHRASES
from pipeline.llm.rules_intents import TABLE, Answer, Intent, choose
from pipeline.llm.rules_spanish import SPANISH as SPANISH_PHRASES
from pipeline.llm.rules_talk import Talk
from pipeline.slots import local_now

NEEDED = ("identify_user", "fetch_available_slots", "book_appointment")
"""Without these tools there is no desk."""
# Small talk that would answer in the place of the question which is open.
_NOT_ASIDE = frozenset(("yes", "no", "stop", "again", "bye", "help"))
_ASIDE = tuple(row for row in TABLE if row.name not in _NOT_ASIDE)
_HELP = (
    Intent(
        "help",
        {"en": ENGLISH_PHRASES.heard["help"], "es": SPANISH_PHRASES.heard["help"]},
        lambda talk, _rest: (SPANISH if talk.spanish else ENGLISH).said["help"],
    ),
)


def at_the_desk(talk: Talk, from_tool: Callable[[Talk], Answer]) -> Answer | None:
    """The answer, if this is about appointments. `from_tool` words what other tools said."""
    if not all(talk.offers(tool) for tool in NEEDED):
        return None
    setting = Setting(talk.prompt.language, _today(talk))
    state = read(talk.prompt.messages, setting)
    if state.aside:
        return _aside(talk, state, setting, from_tool)
    step = next_step(state, setting)
    if not step.tool:
        is_about_it = step.says or state.task is not Task.NONE or state.again
        return _worded(step, state, setting) if is_about_it else None
    if talk.offers(step.tool):
        # Unique within the conversation, and the same whenever this prompt is answered again.
        return ToolCall(f"{step.tool}_{len(talk.prompt.messages)}", step.tool, step.arguments)
    if state.task is Task.BYE:
        return setting.say("bye", name=f", {state.name}" if state.name else "")
    return _worded(Step(Ask.MORE, (setting.say("not_here"),)), state, setting)


def _today(talk: Talk) -> date:
    """Where the business is."""
    zone = next(spec.timezone for spec in talk.prompt.tools if spec.name == "book_appointment")
    return local_now(talk.now(), ZoneInfo(zone) if zone else None).date()


def _worded(step: Step, state: State, setting: Setting) -> str:
    if state.task is Task.BYE or state.working:
        return " ".join(step.says)
    questions = setting.wording.asks[step.ask]
    question = questions[min(state.misses, len(questions) - 1)].format(**step.values)
    return " ".join((*step.says, question))


def _aside(talk: Talk, state: State, setting: Setting, from_tool: Callable[[Talk], Answer]) -> Answer | None:
    """Small talk in between, and back to the question."""
    helped = choose(talk, _HELP)
    if state.task is Task.NONE and state.ask is not Ask.MORE:
        return " ".join((str(helped), setting.wording.asks[Ask.OPEN][0])) if helped else None
    answer = from_tool(talk) if talk.answers else helped or choose(talk, _ASIDE)
    if isinstance(answer, ToolCall):
        return answer
    step = next_step(state, setting)
    if step.tool:  # it was about to be done: nothing is open
        return answer
    news = tuple(n.text for n in state.news)
    step = Step(step.ask, step.says if step.ask in AGREEING else news, values=step.values)
    return f"{answer or setting.say('pardon')} {_worded(step, state, setting)}"
