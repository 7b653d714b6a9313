-- The outbox of the library: row ids never repeat, and rows that can't be published are set aside.
ALTER TABLE outbox RENAME TO outbox_before;
{{outbox}};
INSERT INTO outbox (channel, type, data) SELECT channel, type, data FROM outbox_before ORDER BY id;
DROP TABLE outbox_before;
