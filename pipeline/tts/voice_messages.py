"""What `pipeline.tts.voice_pool` and its workers say to each other. The id of a message is the piece's."""

# To the worker.
SPEAK = 16  # JSON {"text", "is_first", "speed", and what the plug-in adds, such as "voice"}
CANCEL = 17  # nobody listens any more

# From the worker, in this order: then DONE or FAILED, or nothing more after a CANCEL.
AUDIO = 32  # s16le mono at the rate that the worker told when it was ready; any number
WORDS = 33  # JSON [[start, end, start_ms, end_ms], ...]: places in the piece's text and in its speech
DONE = 34
FAILED = 35  # JSON {"message"}
