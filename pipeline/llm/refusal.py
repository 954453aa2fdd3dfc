"""What the agent says when the model, or its vendor's filter, will not answer."""

SORRY = {
    "en": "I am sorry, I cannot talk about that.",
    "es": "Lo siento, de eso no puedo hablar.",
    "de": "Es tut mir leid, darüber kann ich nicht sprechen.",
    "fr": "Je suis désolé, je ne peux pas parler de cela.",
}


def sorry(language: str, said: bool) -> str:
    """A refusal is an answer, not a failure: the next vendor is not asked the same thing. `said`: something
    was already said in this answer."""
    text = SORRY.get(language.partition("-")[0].lower(), SORRY["en"])
    return f" {text}" if said else text
