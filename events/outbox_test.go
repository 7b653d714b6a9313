package events_test

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Package service/internal/outboxtest tests the outbox on real databases.

func TestNewOutboxNamesTheInvalidField(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{})
	forgets, err := events.NewDurable(client, "forgets", events.DurableOptions{Dedup: events.NoDedup})
	must(t, err)
	db := events.SQL(&sql.DB{}, events.SQLite)
	for want, try := range map[string]func() (*events.Outbox, error){
		"Table": func() (*events.Outbox, error) {
			return events.NewOutbox(db, bus, events.OutboxOptions{Table: "x; DROP TABLE y"})
		},
		"Batch": func() (*events.Outbox, error) { return events.NewOutbox(db, bus, events.OutboxOptions{Batch: -1}) },
		"Poll":  func() (*events.Outbox, error) { return events.NewOutbox(db, bus, events.OutboxOptions{Poll: -1}) },
		"Lease": func() (*events.Outbox, error) {
			return events.NewOutbox(db, bus, events.OutboxOptions{Lease: time.Millisecond})
		},
		"MaxAttempts": func() (*events.Outbox, error) {
			return events.NewOutbox(db, bus, events.OutboxOptions{MaxAttempts: -1})
		},
		"Groups": func() (*events.Outbox, error) {
			return events.NewOutbox(db, bus, events.OutboxOptions{Groups: []string{""}})
		},
		"Dedup": func() (*events.Outbox, error) { return events.NewOutbox(db, forgets, events.OutboxOptions{}) },
		"bus":   func() (*events.Outbox, error) { return events.NewOutbox(db, nil, events.OutboxOptions{}) },
		"dialect": func() (*events.Outbox, error) {
			return events.NewOutbox(events.SQL(&sql.DB{}, 9), bus, events.OutboxOptions{})
		},
		"database": func() (*events.Outbox, error) {
			return events.NewOutbox(events.SQL(nil, events.SQLite), bus, events.OutboxOptions{})
		},
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// AddToOutbox refuses an event that can't be published, so the transaction gets the error.
func TestAddToRefusesInTheTransaction(t *testing.T) {
	t.Parallel()
	tx := execs{}
	table := events.OutboxTable{Dialect: events.SQLite}
	for name, err := range map[string]error{
		"channel": notes.AddToOutbox(t.Context(), &tx, table, "", note{}),
		"type":    events.NewTopic[note]("").AddToOutbox(t.Context(), &tx, table, "a", note{}),
		"JSON":    events.NewTopic[func()]("x").AddToOutbox(t.Context(), &tx, table, "a", func() {}),
		"only":    notes.AddToOutbox(t.Context(), &tx, table, "a", note{}, events.Delay(time.Second)),
		"Dialect": notes.AddToOutbox(t.Context(), &tx, events.OutboxTable{}, "a", note{}),
		"Name":    notes.AddToOutbox(t.Context(), &tx, events.OutboxTable{Dialect: events.MySQL, Name: "a b"}, "a", note{}),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(tx.queries) != 0 {
		t.Errorf("statements: %q", tx.queries)
	}
	must(t, notes.AddToOutbox(t.Context(), &tx, events.OutboxTable{Dialect: events.PostgreSQL,
		Name: "app.outbox"}, "a", note{}, events.ID("1")))
	want := "INSERT INTO \"app\".\"outbox\" (channel, type, data, event_id) VALUES ($1, $2, $3, $4)"
	if tx.queries[len(tx.queries)-1] != want {
		t.Errorf("%q", tx.queries)
	}
}

type execs struct{ queries []string }

func (e *execs) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if strings.Count(query, "?") != len(args) && strings.Count(query, "$") != len(args) {
		return nil, errors.New("parameters")
	}
	e.queries = append(e.queries, query)
	return nil, nil
}

// An invalid table name is refused everywhere, and the error has the rule. Valid names are quoted,
// so reserved words and upper case are allowed.
func TestOutboxTableNames(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{})
	dialects := []events.Dialect{events.SQLite, events.PostgreSQL, events.MySQL}
	for name, rule := range map[string]string{
		"a b": "letters", `a"b`: "letters", "a`b": "letters", "a;b": "letters",
		"1a": "begin with a letter", "a.1b": "begin with a letter", "a.b.c": "at most one dot",
		".a": "dot", "a.": "dot", "größe": "letters", "a\n": "letters", " ": "letters", strings.Repeat("a", 55): "limit is 54",
	} {
		for _, dialect := range dialects {
			_, made := events.NewOutbox(events.SQL(&sql.DB{}, dialect), bus, events.OutboxOptions{Table: name})
			_, schema := events.OutboxSchema(dialect, name)
			tx := execs{}
			added := notes.AddToOutbox(t.Context(), &tx, events.OutboxTable{Dialect: dialect, Name: name}, "a", note{})
			for what, err := range map[string]error{"NewOutbox": made, "OutboxSchema": schema, "AddToOutbox": added} {
				if err == nil || !strings.Contains(err.Error(), rule) || !strings.Contains(err.Error(), strconv.Quote(name)) {
					t.Errorf("%s of the table %q: %v, want the name and %q", what, name, err, rule)
				}
			}
			if len(tx.queries) != 0 {
				t.Errorf("statements: %q", tx.queries)
			}
		}
	}
	for _, name := range []string{"", "order", "Select", "app.group", "_1", strings.Repeat("a", 54)} {
		for _, dialect := range dialects {
			_, made := events.NewOutbox(events.SQL(&sql.DB{}, dialect), bus, events.OutboxOptions{Table: name})
			statements, err := events.OutboxSchema(dialect, name)
			if made != nil || err != nil || len(statements) < 4 {
				t.Errorf("the table %q: %v, %v, %d statements", name, made, err, len(statements))
			}
		}
	}
	if _, err := events.OutboxSchema(9, ""); err == nil || !strings.Contains(err.Error(), "dialect") {
		t.Errorf("an unknown dialect: %v", err)
	}
}
