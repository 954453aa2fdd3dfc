"""What callers say who want something of the desk: example sentences for recognizers that can use them.

Data only. They are templates as in `pipeline.stt.examples`: "<when>" stands for a day, a time, or both.
"""

_MINE = ("my appointment", "the appointment", "my booking", "an appointment")

AVAILABLE = (
    "what is free <when>",
    "what's free <day>",
    "what times are free <day>",
    "which times are free on <weekday>",
    "what do you have <day>",
    "what do you have available <day>",
    "is there anything free <day>",
    "is there anything available <when>",
    "do you have anything <when>",
    "do you have any free slots <day>",
    "are there any slots available <day>",
    "which slots are available <day>",
    "what slots do you have <day>",
    "when are you free",
    "what appointments are available <day>",
)
BOOK = (
    "i would like to book an appointment",
    "i'd like to book an appointment",
    "i would like to make an appointment",
    "i'd like to make an appointment please",
    "i want to book an appointment",
    "i need an appointment",
    "can i book an appointment",
    "can i make an appointment <when>",
    "could i get an appointment <when>",
    "book an appointment",
    "book an appointment <when>",
    "i would like to book an appointment <when>",
    "i'd like an appointment <when>",
    "i need an appointment <when>",
    "i want an appointment <when>",
    "please book me in <when>",
    "hello i would like to book an appointment please",
    "hi i'd like to book an appointment",
    "an appointment please",
    "book it",
    "i'll take the one at <clock>",
)
VIEW = (
    "what appointments do i have",
    "what are my appointments",
    "when is my appointment",
    "when is my next appointment",
    "do i have an appointment <day>",
    "do i have any appointments",
    "show me my appointments",
    "can you tell me my appointments",
    "i would like to see my appointments",
    "i want to check my appointment",
    "what have i booked",
)
MOVE = (
    *(f"move {mine} to <when>" for mine in _MINE),
    *(f"i would like to move {mine}" for mine in _MINE),
    *(f"i'd like to move {mine} to <when>" for mine in _MINE),
    *(f"i want to change {mine}" for mine in _MINE),
    *(f"can you change {mine} to <when>" for mine in _MINE),
    *(f"can i move {mine} to <when>" for mine in _MINE),
    *(f"i need to reschedule {mine}" for mine in _MINE),
    "move it to <when>",
    "change it to <when>",
    "reschedule it",
)
CANCEL = (
    *(f"cancel {mine}" for mine in _MINE),
    *(f"please cancel {mine}" for mine in _MINE),
    *(f"i would like to cancel {mine}" for mine in _MINE),
    *(f"i'd like to cancel {mine}" for mine in _MINE),
    *(f"i want to cancel {mine}" for mine in _MINE),
    *(f"i need to cancel {mine} on <weekday>" for mine in _MINE),
    "cancel it",
    "the one on <day>",
    "the one at <clock>",
)
GOODBYE = (
    "goodbye",
    "bye",
    "bye bye",
    "thank you goodbye",
    "thanks bye",
    "no thank you goodbye",
    "no that's all thank you",
    "that's all thank you",
    "that's all",
    "that is all goodbye",
    "nothing else thank you",
    "no that's it thanks",
)
