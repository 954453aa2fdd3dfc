"""The tables, in SQLAlchemy Core. What the database looks like now; how it came to is in `migrations`.

Times are ISO 8601 UTC text of fixed width (see `storage.times`), so they sort, and read the same everywhere.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    text,
)
from sqlalchemy import String as PlainString
from sqlalchemy import Text as PlainText

metadata = MetaData()


def storable(text: str) -> str:
    """Text that any database takes: PostgreSQL refuses NUL, and half a surrogate pair is not UTF-8. Both can
    come in JSON; they become U+FFFD, so that no other text is made by leaving them out."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class String(TypeDecorator[str]):
    """Short text; what is looked for is made storable as what is stored."""

    impl = PlainString
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return storable(value) if isinstance(value, str) else value


class Text(String):
    """Text of any length."""

    impl = PlainText
    cache_ok = True


def _partial(name: str, column: str, which: str) -> Index:
    """An index of those rows alone that a condition holds for."""
    return Index(name, column, sqlite_where=text(which), postgresql_where=text(which))


settings = Table(
    "settings",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("owner", String(200)),
    Column("user_id", String(64)),
    Column("agent_id", String(64)),
    Column("start_time", String(32), nullable=False),
    Column("end_time", String(32)),
    Column("duration_s", Float, nullable=False, default=0.0),
    Column("mode", String(32)),
    Column("language", String(32)),
    Column("config", JSON, nullable=False),
    Column("turns", Integer, nullable=False, default=0),
    Column("summary", Text, nullable=False, default=""),
    Column("total_cost", Float, nullable=False, default=0.0),
    Column("end_reason", Text),
    Index("conversations_of_owner", "owner", "start_time"),
    Index("conversations_by_time", "start_time"),
)

_session = "conversations.session_id"

messages = Table(
    "messages",
    metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("role", String(32), nullable=False),
    Column("content", Text, nullable=False, default=""),
    Column("type", String(64)),
    Column("time", String(32)),
    Column("turn", Integer),
    Column("start_ms", Integer),
    Column("end_ms", Integer),
    Column("audio", String(32)),
    Column("interrupted", Boolean, nullable=False, default=False),
    Column("heard", Text),
    Column("more", JSON, nullable=False),  # whatever else the message says: a tool's name, arguments, result
    # The few messages that analytics counts.
    _partial("messages_of_tools", "session_id", "role = 'tool'"),
    _partial("messages_cut", "session_id", "interrupted"),
    _partial("messages_of_apology", "session_id", "type = 'apology'"),
)

turns = Table(
    "turns",
    metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("turn", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32)),
    Column("endpoint_ms", Float),
    Column("stt_ms", Float),
    Column("llm_ttft_ms", Float),
    Column("tts_ttfb_ms", Float),
    Column("voice_to_voice_ms", Float),
    Column("reason", Text),
    Column("speculated", Boolean, nullable=False, default=False),
    Column("interrupted", Boolean, nullable=False, default=False),
    Column("spoken", Boolean, nullable=False, default=False),  # by both: its voice-to-voice is one
    Column("cost", JSON, nullable=False),
    Column("more", JSON, nullable=False),
    Index("turns_by_time", "time"),
)

requests = Table(
    "requests",
    metadata,
    Column("session_id", String(64), ForeignKey(_session, ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("time", String(32)),
    Column("turn", Integer),
    Column("stage", String(16), nullable=False),
    Column("provider", String(200), nullable=False),
    Column("model", String(200), nullable=False, default=""),
    Column("units", Float, nullable=False, default=0.0),
    Column("unit", String(16), nullable=False, default=""),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("counted", Boolean, nullable=False, default=False),  # by the provider; else it is our estimate
    Column("price", Float, nullable=False, default=0.0),
    Column("speculative", Boolean, nullable=False, default=False),
    Column("outcome", String(16), nullable=False, default=""),
    Column("error", String(32), nullable=False, default=""),
    Column("first_ms", Float),
    Index("requests_by_time", "time"),
)

_user = "users.id"

users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("email", String(320), unique=True),
    Column("username", String(64)),
    Column("username_key", String(64), unique=True),  # in lower case: what two users must not share
    Column("display_name", String(200), nullable=False, default=""),
    Column("password_hash", Text),
    Column("is_admin", Boolean, nullable=False, default=False),
    Column("is_disabled", Boolean, nullable=False, default=False),
    Column("is_verified", Boolean, nullable=False, default=False),
    Column("phone", String(32)),
    Column("preferences", JSON, nullable=False),
    Column("oidc_subject", String(400), unique=True),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("last_login_at", String(32)),
)

credentials = Table(
    "credentials",
    metadata,
    Column("key_hash", String(64), primary_key=True),  # SHA-256: who reads this table can log in as nobody
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),  # cookie, bearer or api_key
    Column("label", String(200), nullable=False, default=""),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),  # NULL: until it is revoked
    Index("credentials_of_user", "user_id"),
)

mail_tokens = Table(
    "mail_tokens",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("purpose", String(16), nullable=False),  # verify or reset
    Column("email", String(320), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Index("mail_tokens_of_user", "user_id"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("initial_prompt", Text, nullable=False, default=""),
    Column("context_prompts", JSON, nullable=False),
    Column("voice_enabled", Boolean, nullable=False, default=True),
    Column("text_enabled", Boolean, nullable=False, default=True),
    Column("response_type", String(16), nullable=False, default="both"),
    Column("voice", String(200)),
    Column("language", String(32)),
    Column("more", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Column("deleted_at", String(32)),  # kept, so that its old conversations stay readable
    Index("agents_of_user", "user_id", "created_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200)),
    Column("user_id", String(32)),
    Column("agent_id", String(32)),
    Column("room_name", String(200)),
    Column("participant", String(200)),
    Column("participant_name", String(200)),
    Column("mode", String(16), nullable=False, default="both"),
    Column("session_prompt", Text),
    Column("conversation_context", JSON, nullable=False),
    Column("context_prompts", JSON, nullable=False),
    Column("more", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False, default=True),
    Column("created_at", String(32), nullable=False),
    Column("started_at", String(32)),
    Column("ended_at", String(32)),
    Index("sessions_of_owner", "owner", "created_at"),
    Index("sessions_of_room", "room_name", "created_at"),
)

shares = Table(
    "shares",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("session_id", String(64), nullable=False),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("opened", Integer, nullable=False, default=0),
    Index("shares_of_session", "session_id"),
)

errands = Table(
    "errands",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), ForeignKey(_user, ondelete="SET NULL")),  # the cost stays, the person goes
    Column("time", String(32), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("provider", String(200), nullable=False),
    Column("model", String(200), nullable=False, default=""),
    Column("units", Float, nullable=False, default=0.0),
    Column("unit", String(16), nullable=False, default=""),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("counted", Boolean, nullable=False, default=False),
    Column("price", Float, nullable=False, default=0.0),
    Column("outcome", String(16), nullable=False, default=""),
    Column("error", String(32), nullable=False, default=""),
    Column("first_ms", Float),
    Index("errands_by_time", "time"),
    Index("errands_of_user", "user_id", "time"),
)
"""Requests to providers outside of any talk: files that were transcribed, texts that were spoken."""

adoptions = Table(
    "adoptions",
    metadata,
    Column("guest", String(200), primary_key=True),  # an owner, as conversations have it
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
)

BOOKED = "status = 'booked'"
"""As the partial index has it: both databases want the same text, with the value written out."""

appointments = Table(
    "appointments",
    metadata,
    Column("id", String(8), primary_key=True),  # the confirmation code
    Column("phone", String(32), nullable=False),
    Column("name", String(200), nullable=False, default=""),
    Column("date", String(10), nullable=False),  # of the business's own time zone, as is the time
    Column("time", String(5), nullable=False),
    Column("status", String(16), nullable=False, default="booked"),  # or cancelled
    Column("user_id", String(32)),  # who was logged in
    Column("session_id", String(64)),  # the talk it was booked in
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Index(
        "appointments_one_a_slot",  # whoever asks at the same instant: one gets it
        "date",
        "time",
        unique=True,
        sqlite_where=text(BOOKED),
        postgresql_where=text(BOOKED),
    ),
    Index("appointments_of_phone", "phone", "date", "time"),
    Index("appointments_of_user", "user_id", "date", "time"),
    Index("appointments_by_time", "date", "time"),
)

appointment_effects = Table(
    "appointment_effects",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("appointment", JSON, nullable=False),  # as it was right after
    Column("created_at", String(32), nullable=False),
    Index("appointment_effects_by_time", "created_at"),
)
"""What was done to appointments in a talk: the same call, made again after a crash, is answered from here."""

callers = Table(
    "callers",
    metadata,
    Column("phone", String(32), primary_key=True),
    Column("name", String(200), nullable=False, default=""),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
)
"""People who have given their phone number."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("receiver", String(100), nullable=False),
    Column("event", String(64), nullable=False),
    Column("session_id", String(64)),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", String(32), nullable=False),
    Column("due_at", String(32), nullable=False),
    Column("claimed_until", String(32)),
    Column("ended_at", String(32)),
    Column("status", Integer),
    Column("error", Text, nullable=False, default=""),
    Index("deliveries_due", "receiver", "state", "due_at"),
    Index("deliveries_of_session", "session_id"),
    Index("deliveries_by_time", "created_at"),
)
"""What other servers are to be told: see `storage.deliveries`."""

receivers = Table(
    "receivers",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("address", String(64), nullable=False),
    Column("off_since", String(32), nullable=False),
)
"""Those of them that have said that they want no more."""
