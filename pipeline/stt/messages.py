"""What `pipeline.stt.pool` and its workers say to each other. The id of a message is the utterance's."""

# To the worker.
OPEN = 16  # JSON {"language", "hints"}, and "expected": {"kind", "phrases"} if it is known
FEED = 17  # s16le mono 16 kHz
SETTLE = 18  # JSON {"silence_ms", "number"}: answer SETTLED when all audio before this is understood
FINISH = 19  # JSON {"silence_ms"}: the same, answer FINAL, and forget the utterance
CLOSE = 20  # forget the utterance
PREPARE = 21  # JSON {"phrases"}: they will be expected soon

# From the worker; JSON {"text", "language"?}, in SETTLED also the "number" of the settle it answers.
PARTIAL, SETTLED, FINAL = 32, 33, 34
FAILED = 35  # JSON {"message"}: this utterance cannot be recognized; the worker goes on

BYTES_PER_MS = 32
