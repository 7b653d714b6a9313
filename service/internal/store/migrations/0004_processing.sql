ALTER TABLE orders ADD COLUMN fence BIGINT NOT NULL DEFAULT 0; -- the greatest token of a lock under which the order was touched
ALTER TABLE orders ADD COLUMN processed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN processed_at TIMESTAMP;

-- What transactions have to tell: it is published when they are committed, and then deleted here.
CREATE TABLE outbox (
	id      {{id}},
	channel TEXT NOT NULL,
	type    TEXT NOT NULL,
	data    TEXT NOT NULL -- JSON
);
