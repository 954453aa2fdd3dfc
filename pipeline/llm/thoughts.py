"""Keeps a model's thinking from being read aloud. Pure.

Servers for local models (Ollama, llama.cpp, vLLM without its reasoning parser) stream the thoughts of
DeepSeek, Qwen and others in front of the answer, as `<think>…</think>` in its text.
"""

OPENING, CLOSING = "<think>", "</think>"


class Thoughts:
    """A filter for one answer's text. Only thoughts at its very beginning are taken for such."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = self._thinking = False
        self._space = False
        """The blank lines between the thoughts and the answer are still to come."""

    def spoken(self, piece: str) -> str:
        """What of this piece may be said now; the rest is kept back until it is clear what it is."""
        if self._thinking:
            return self._after(self._held + piece)
        if self._space:
            piece = piece.lstrip()
            self._space = not piece
        if self._begun:
            return piece
        text = self._held + piece
        head = text.lstrip()
        if head.startswith(OPENING):
            self._thinking, self._held = True, ""
            return self._after(head[len(OPENING) :])
        if OPENING.startswith(head):
            self._held = text
            return ""
        self._begun, self._held = True, ""
        return text

    def rest(self) -> str:
        """The answer has ended: what was kept back and was no thought."""
        return "" if self._thinking else self._held

    def _after(self, text: str) -> str:
        _, closing, answer = text.partition(CLOSING)
        if not closing:
            self._held = text[-len(CLOSING) :]  # the tag may come in two pieces
            return ""
        self._begun, self._thinking, self._held = True, False, ""
        answer = answer.lstrip()
        self._space = not answer
        return answer
