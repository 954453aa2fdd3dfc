"""What `pipeline.tts.espeak` and its worker say to each other. The id of a message is the request's."""

# To the worker.
SPEAK = 16  # JSON {"text", "voice", "rate_wpm", "pitch"}
CANCEL = 17  # nobody listens any more

# From the worker, in this order and any number: then DONE or FAILED, or nothing more after a CANCEL.
AUDIO = 32  # s16le mono at eSpeak's rate
WORD = 33  # JSON {"at": character in the text, "ms": time in its speech}
DONE = 34
FAILED = 35  # JSON {"message"}
