"""Full-text search in what was said.

PostgreSQL: an index over the words of `messages.content`. SQLite: an FTS5 table of the words, which triggers
keep in step; it reads the texts where they are (`said_text`), so that nothing is stored twice. `said` gives
each message a number that stays: SQLite's own may change when the file is compacted.
"""

from sqlalchemy import Connection, text

_POSTGRESQL = ("CREATE INDEX messages_words ON messages USING gin (to_tsvector('simple', content))",)

_SQLITE = (
    """
    CREATE TABLE said (
        id INTEGER PRIMARY KEY,
        session_id VARCHAR(64) NOT NULL,
        n INTEGER NOT NULL,
        UNIQUE (session_id, n)
    )
    """,
    """
    CREATE VIEW said_text AS
    SELECT said.id AS id, messages.content AS content
    FROM said JOIN messages ON messages.session_id = said.session_id AND messages.n = said.n
    """,
    """
    CREATE VIRTUAL TABLE said_words USING fts5 (
        content, content = 'said_text', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER said_new AFTER INSERT ON messages BEGIN
        INSERT INTO said (session_id, n) VALUES (new.session_id, new.n);
        INSERT INTO said_words (rowid, content)
        SELECT id, new.content FROM said WHERE session_id = new.session_id AND n = new.n;
    END
    """,
    """
    CREATE TRIGGER said_otherwise AFTER UPDATE OF content ON messages
    WHEN old.content IS NOT new.content BEGIN
        INSERT INTO said_words (said_words, rowid, content)
        SELECT 'delete', id, old.content FROM said WHERE session_id = old.session_id AND n = old.n;
        INSERT INTO said_words (rowid, content)
        SELECT id, new.content FROM said WHERE session_id = new.session_id AND n = new.n;
    END
    """,
    """
    CREATE TRIGGER said_no_more AFTER DELETE ON messages BEGIN
        INSERT INTO said_words (said_words, rowid, content)
        SELECT 'delete', id, old.content FROM said WHERE session_id = old.session_id AND n = old.n;
        DELETE FROM said WHERE session_id = old.session_id AND n = old.n;
    END
    """,
    "INSERT INTO said (session_id, n) SELECT session_id, n FROM messages",
    "INSERT INTO said_words (rowid, content) SELECT id, content FROM said_text",
)


def apply(connection: Connection) -> None:
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        connection.execute(text(statement))
