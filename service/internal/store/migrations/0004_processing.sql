ALTER TABLE orders ADD COLUMN fence BIGINT NOT NULL DEFAULT 0; -- greatest fencing token of a lock on the order
ALTER TABLE orders ADD COLUMN processed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN processed_at TIMESTAMP;

-- Messages of transactions. They are published after the commit and then deleted.
CREATE TABLE outbox (
	id      {{id}},
	channel TEXT NOT NULL,
	type    TEXT NOT NULL,
	data    TEXT NOT NULL -- JSON
);
