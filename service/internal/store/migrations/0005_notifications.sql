CREATE TABLE notifications (
	id         {{id}},
	event_id   TEXT NOT NULL UNIQUE, -- a repeated event is one notification
	user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	type       TEXT NOT NULL,
	data       TEXT NOT NULL, -- JSON of the event
	created_at TIMESTAMP NOT NULL
);

CREATE INDEX notifications_by_user ON notifications (user_id, id);
