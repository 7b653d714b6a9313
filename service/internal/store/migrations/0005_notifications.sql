CREATE TABLE notifications (
	id         {{id}},
	event_id   TEXT NOT NULL UNIQUE, -- an event that comes twice is one notification
	user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	type       TEXT NOT NULL,
	data       TEXT NOT NULL, -- the event's JSON
	created_at TIMESTAMP NOT NULL
);

CREATE INDEX notifications_by_user ON notifications (user_id, id);
