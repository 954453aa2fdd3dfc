"""People with their logins and mails on the way, agents, sessions made ahead of a talk, and shared talks."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

_metadata = MetaData()
_user = "users.id"

Table(
    "users",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("email", String(320), unique=True),
    Column("username", String(64)),
    Column("username_key", String(64), unique=True),
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

Table(
    "credentials",
    _metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("label", String(200), nullable=False, default=""),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32)),
    Index("credentials_of_user", "user_id"),
)

Table(
    "mail_tokens",
    _metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("email", String(320), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Index("mail_tokens_of_user", "user_id"),
)

Table(
    "agents",
    _metadata,
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
    Column("deleted_at", String(32)),
    Index("agents_of_user", "user_id", "created_at"),
)

Table(
    "sessions",
    _metadata,
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

Table(
    "shares",
    _metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("session_id", String(64), nullable=False),
    Column("user_id", String(32), ForeignKey(_user, ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("opened", Integer, nullable=False, default=0),
    Index("shares_of_session", "session_id"),
)


def apply(connection: Connection) -> None:
    _metadata.create_all(connection, checkfirst=False)
