"""Appointments in English: what is listened for, asked and said. Data only."""

from pipeline.llm.rules_appointments_words import Ask, Digits, Wording, in_order, pairs, words

_DIGITS = Digits(
    one={w: str(i) for i, w in enumerate(in_order("zero one two three four five six seven eight nine"))}
    | {w: str(i + 10) for i, w in enumerate(in_order("ten eleven twelve thirteen fourteen fifteen"))}
    | {w: str(i + 16) for i, w in enumerate(in_order("sixteen seventeen eighteen nineteen"))}
    | {"oh": "0", "nought": "0", "null": "0", "niner": "9"},
    tens={
        w: str(i + 2) for i, w in enumerate(in_order("twenty thirty forty fifty sixty seventy eighty ninety"))
    },
    alike=pairs(
        "o=0 owe=0 won=1 wan=1 to=2 too=2 tu=2 tree=3 free=3 for=4 fore=4 fife=5 hive=5 sex=6 "
        "sicks=6 ate=8 eighth=8 nein=9 mine=9 line=9 fourth=4 sixth=6"
    ),
    times={"double": 2, "triple": 3, "treble": 3},
    zeros={"hundred": "00", "thousand": "000"},
    fillers=words("and uh um er then dash hyphen"),
    lead_ins=words(
        "it's its is my the number phone telephone cell mobile yes yeah sure okay ok no sorry i said please "
        "that's it this number's would be are rest other remaining digits"
    ),
    last=words("last ends ending end final"),
    first=words("first starts starting begins beginning area start"),
    middle=frozenset({"middle"}),
    negated=frozenset({"not"}),
    joined=frozenset(),
)

ENGLISH = Wording(
    tasks={
        "cancel": (
            "cancel|delete|remove|drop appointment|appointments|booking|visit|meeting|reservation",
            "cancel my|the|that|this|an",
            "cancel it|one",
            "call off",
            "cancel",
            "don't need appointment|booking",
            "can't|cannot make|come",
        ),
        "modify": (
            "move|change|reschedule|postpone|modify|shift|update|push my|the|an appointment|booking|visit",
            "move|change|reschedule|postpone|shift appointment|booking|visit|it",
            "another|different|other time|day|date for appointment|booking",
            "reschedule",
            "come another|different time|day",
        ),
        "view": (
            "what|which|show|list|see|check|view|read|tell|know my appointment|appointments|bookings",
            "when is|are|was my appointment|appointments|booking|next",
            "what time|day is|are my appointment|appointments|booking",
            "do|did i have an|any|appointment|appointments|booked",
            "what have|did i booked|book",
            "what|which appointments|appointment|bookings|booking do|have|are i|my|there",
            "look up|at my appointment|appointments|bookings",
            "^my appointment|appointments",
            "my appointments",
        ),
        "slots": (
            "what|which|any|anything|something times|time|slots|slot|hours|days free|available|open|left",
            "what|which|any free|available|open times|time|slots|slot|hours|appointments|appointment",
            "is|are anything|anybody|there|you free|available|open|possible",
            "are|is you|the|it free|available|open on|at|in",
            "do|have you have anything|something|any|time|room|availability|openings|slots|space",
            "when can i come",
            "when are|is you free|open|available",
            "availability",
            "free|available|open times|slots|appointments",
            "what do|have you have|got on|for|free|available|tomorrow",
            "what|how about on|tomorrow|monday|tuesday|wednesday|thursday|friday",
            "what|what's free|available|open on|tomorrow|left",
            "have you anything|something|any|got",
            "which|what times|slots do|have|are|can",
        ),
        "book": (
            "book|make|schedule|reserve|arrange|set|get|have|take|need|want|like|new appointment|booking",
            "book|schedule|reserve a|an|me|in|for|slot|time|visit|something|one|it",
            "book|schedule|reserve",
            "i|want|like need|to|want come|see in|by|the|a|doctor|dentist|somebody",
            "^an|a appointment",
            "^appointment",
            "booked in",
        ),
    },
    yes=(
        *("^yes", "^yeah", "^yep", "^yup", "^ya$", "^yah", "^yet$", "^yea", "^aye$", "^uh huh", "^mm hm"),
        *("^correct", "^right", "^exactly", "^sure", "^ok", "^okay", "^fine", "^perfect", "^great", "^good$"),
        *("^absolutely", "^definitely", "^certainly", "^please$", "^please do", "^alright", "^all right"),
        *(
            "of course",
            "that's right|correct|it|fine|good|perfect|great",
            "that is|was right|correct|it|fine",
        ),
        *(
            "go ahead",
            "^do it|that|so|this",
            "^please book|cancel|move|change",
            "^book|cancel|move|change it|that",
        ),
        *(
            "sounds good|fine|great|right",
            "works for me",
            "please do",
            "^i do$",
            "^it is$",
            "^confirm",
            "^why not",
        ),
        *("i'd|would like that", "i'd|would love"),
    ),
    no=(
        *("^no", "^nope", "^nah", "^know$", "^not", "^wrong", "^incorrect", "^don't", "^do not", "^neither"),
        *("no", "not", "nope", "wrong", "don't", "wait", "hold on", "never", "isn't|wasn't right|correct"),
        *("^none", "rather not", "^stop"),
    ),
    no_problem=("no problem", "no worries", "why not", "not bad"),
    enough=(
        *(
            "that's all|it|everything",
            "that is|was|will all|it|everything",
            "nothing else|more",
            "^nothing",
            "^i'm done|good|fine|finished",
        ),
        *("all set", "^no", "^nope", "^nah", "i'm|am all good|set", "^that's it", "^done$", "^finished$"),
    ),
    drop=("never mind", "forget it|about|that", "^stop$", "^cancel$", "^cancel that$", "leave it", "skip it"),
    again=(
        *("say|repeat that|it again", "^repeat", "^again", "^pardon", "^sorry$", "^what$", "come again"),
        *("^what did you say", "once more", "^excuse me$", "what was that|the"),
    ),
    anyone=("any|either of them|those|these", "first|earliest one|available|slot|time", "^whatever", "^any$"),
    asks={
        Ask.OPEN: ("How can I help?",),
        Ask.PHONE: (
            "What is your phone number, please?",
            "Please tell me your ten-digit phone number.",
        ),
        Ask.REST: ("What are the other {count} digits?",),
        Ask.PHONE_OK: ("Is that right?", "Is that number right?"),
        Ask.NAME: ("And what is your name?", "What is your name, please?"),
        Ask.DATE: ("Which day would you like?", "Which day would suit you? You can say tomorrow, or a date."),
        Ask.OTHER_DATE: ("Which other day would you like?",),
        Ask.TIME: ("What time would you like?", "Which of these times would you like?"),
        Ask.WHEN: ("Which day and time would you like?",),
        Ask.OFFER: ("Would you like to book one of them?",),
        Ask.OFFER_ONE: ("Would you like to book it?",),
        Ask.BOOK_OK: ("Shall I book it?", "Shall I book it? Please say yes or no."),
        Ask.WHICH: ("Which one do you mean?", "Which one do you mean? Tell me the day or the code."),
        Ask.CODE: ("What is the confirmation code?",),
        Ask.MOVE_OK: ("Shall I move it?", "Shall I move it? Please say yes or no."),
        Ask.CANCEL_OK: ("Shall I cancel it?", "Shall I cancel it? Please say yes or no."),
        Ask.RETRY: ("Shall I try again?",),
        Ask.MORE: ("Is there anything else?",),
    },
    said={
        "slot": "{date} at {time}",
        "need_phone": "For that I need your phone number.",
        "so_far": "{digits}.",
        "read_back": "{digits}.",
        "too_short": "I need ten digits.",
        "too_long": "That was {count} digits, and I need ten.",
        "start_over": "Sorry. Let's take the number again.",
        "hello_new": "Thank you, {name}.",
        "hello_back": "Welcome back, {name}.",
        "thanks": "Thank you.",
        "free": "On {date} I have {times}.",
        "full": "On {date} everything is taken.",
        "taken": "{time} is not free on {date}. I have {times}.",
        "is_free": "{slot} is free.",
        "slot_is": "{slot}.",
        "not_then": "All right, not then.",
        "booked": "You're booked for {slot}. Your confirmation code is {code}.",
        "moved": "Done. Your appointment is now on {slot}. The confirmation code is {code}.",
        "cancelled": "Your appointment on {slot} is cancelled.",
        "cancelled_code": "The appointment {code} is cancelled.",
        "kept": "All right, I leave it as it is.",
        "one": "You have one appointment: {slot}, code {code}.",
        "some": "You have {count} appointments: {list}.",
        "with_code": "{slot}, code {code}",
        "none": "You have no appointments.",
        "no_code": "I find no appointment of yours with the code {code}.",
        "no_such": "I find no appointment of yours on that day.",
        "to_move": "Your appointment is on {slot}.",
        "move_to": "{new} instead of {old}.",
        "to_cancel": "{slot}, code {code}.",
        "same": "That is when it already is.",
        "dropped": "Okay, we leave it.",
        "failed": "I'm sorry, that didn't work just now.",
        "working": "One moment, I'm still on it.",
        "pardon": "Sorry, I didn't get that.",
        "no_phone": "Without a phone number I can't look after your appointments.",
        "bye": "Goodbye{name}. Have a nice day.",
        "help": "I can find free times, and book, show, move or cancel an appointment.",
        "what": "Of course.",
        "not_here": "I'm afraid I can't do that here.",
    },
    toward=r"\b(?:to|for|until|till|into)\s+",
    name=(
        r"^(?:(?:uh|um|oh|well|yes|yeah|sure|okay|hi|hello|and|it's|it is|its|this is|i'm|i am|that's|that is"
        r"|my name is|my name's|the name is|name is|call me|you can call me|put it under|under|please)"
        r"\b[\s,.]*)+"
    ),
    not_names=words(
        "a an the yes no what why who how when which where not i you he she it my your name don't do can "
        "could would should tomorrow today monday tuesday wednesday thursday friday appointment book "
        "cancel please sorry rather never none nobody wait hello again repeat is are time phone number"
    ),
    digits=_DIGITS,
    letters=pairs(
        "ay=a eh=a be=b bee=b see=c sea=c cee=c dee=d the=d ee=e eff=f ef=f if=f gee=g jee=g "
        "aitch=h age=h each=h eye=i jay=j kay=k okay=k el=l ell=l hell=l em=m him=m en=n and=n "
        "pea=p pee=p queue=q cue=q are=r our=r ar=r ess=s es=s as=s tea=t tee=t you=u vee=v we=v "
        "ex=x eggs=x why=y zee=z zed=z alpha=a alfa=a bravo=b charlie=c delta=d echo=e foxtrot=f "
        "golf=g hotel=h india=i juliet=j kilo=k lima=l mike=m november=n oscar=o papa=p quebec=q "
        "romeo=r sierra=s tango=t uniform=u victor=v whiskey=w whisky=w yankee=y zulu=z"
    ),
    double_u=(("double", "you"), ("double", "u")),
    listed=(", ", " and "),
)
