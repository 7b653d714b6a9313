CREATE TABLE orders (
	id          {{id}},
	user_id     BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	item        TEXT NOT NULL,
	total_cents BIGINT NOT NULL CHECK (total_cents >= 0),
	status      TEXT NOT NULL CHECK (status IN ('new', 'processed')),
	created_at  TIMESTAMP NOT NULL
);

CREATE INDEX orders_by_user ON orders (user_id);
