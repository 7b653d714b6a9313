package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// Each repair leaves one record: who did what to which object, and with which result.
func TestEachRepairIsLogged(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	var log bytes.Buffer
	in, err := inspect.New(client, inspect.Options{Actor: "ana", Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}

	n, err := in.Repair(t.Context(), "cache", "delete", "users", "42", func(context.Context) (int64, error) { return 3, nil })
	if n != 3 || err != nil {
		t.Fatal(n, err)
	}
	_, err = in.Repair(t.Context(), "lock", "break", strings.Repeat("n", 1<<20), "", func(context.Context) (int64, error) {
		return 0, redstart.ErrIndeterminate
	})
	if !errors.Is(err, redstart.ErrIndeterminate) || !strings.HasPrefix(err.Error(), `inspect: lock break "nnn`) || len(err.Error()) > 300 {
		t.Errorf("the error is %.300v", err)
	}

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || log.Len() > 4096 {
		t.Fatalf("%d records with %d bytes", len(lines), log.Len())
	}
	for i, want := range []map[string]any{
		{"level": "INFO", "msg": "inspect: a repair was done", "actor": "ana", "pattern": "cache", "action": "delete",
			"object": "users", "part": "42", "changed": 3.0},
		{"level": "WARN", "msg": "inspect: a repair failed", "actor": "ana", "pattern": "lock", "action": "break",
			"error": redstart.ErrIndeterminate.Error()},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("record %d: %s is %v, want %v", i, key, got[key], value)
			}
		}
	}
}

func TestReadOnlyRefusesBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.Repair(t.Context(), "cache", "delete", "users", "42", func(context.Context) (int64, error) {
		t.Error("the repair ran")
		return 0, nil
	})
	if !errors.Is(err, inspect.ErrReadOnly) || !strings.Contains(err.Error(), `cache delete "users" "42"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestNewNamesTheField(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for want, opts := range map[string]inspect.Options{
		"Options.Actor is empty": {},
		"Options.Actor is 129":   {Actor: strings.Repeat("a", 129)},
	} {
		if _, err := inspect.New(client, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	if _, err := inspect.New(nil, inspect.Options{Actor: "ana"}); err == nil {
		t.Error("a nil client is accepted")
	}
}

func TestDurationsAreText(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(map[string]inspect.Duration{"age": 1_500_000_000})
	if err != nil || string(text) != `{"age":"1.5s"}` {
		t.Fatal(string(text), err)
	}
	var back map[string]inspect.Duration
	if err := json.Unmarshal(text, &back); err != nil || back["age"] != 1_500_000_000 {
		t.Error(back, err)
	}
}

// A repair of an object that does not exist leaves no record, whether it is an error or not.
func TestARepairOfNothingIsNotLogged(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx, in := t.Context(), p.repairs
		must(t, orders.Publish(ctx, newBus(t, p.service, "orders"), "c", order{})) // so that the bus exists
		for name, repair := range map[string]func() error{
			"break":             func() error { _, err := in.Locks().Break(ctx, inspect.LockID{Name: "none"}, ""); return err },
			"reset":             func() error { _, err := in.Limits().Reset(ctx, "none", "k"); return err },
			"end permits":       func() error { return in.Limits().EndPermits(ctx, "none", "k") },
			"revoke":            func() error { return in.Sessions().Revoke(ctx, "none", "ada", "x") },
			"forget":            func() error { return in.Idempotency().Forget(ctx, inspect.IdempotencyID{Executor: "none", Key: "k"}) },
			"redrive of no bus": func() error { _, err := in.Events().Redrive(ctx, "none", "mail", "1-1-0"); return err },
			"drop group":        func() error { return in.Events().DropGroup(ctx, "orders", "none") },
		} {
			if err := repair(); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
		for name, repair := range map[string]func() (int, error){
			"revoke all":  func() (int, error) { return in.Sessions().RevokeAll(ctx, "web", "eve") },
			"redrive all": func() (int, error) { return in.Events().RedriveAll(ctx, "orders", "mail") },
			"drop all":    func() (int, error) { return in.Events().DropAll(ctx, "orders", "mail") },
		} {
			if n, err := repair(); n != 0 || err != nil {
				t.Errorf("%s: %d, %v, want 0 and no error", name, n, err)
			}
		}
		if changed, err := in.Events().Resume(ctx, "orders", "mail"); changed || err != nil {
			t.Errorf("resume: %t, %v, want false and no error", changed, err)
		}
		if records := p.log.records(t); len(records) != 0 {
			t.Errorf("the log has %q", records)
		}
	})
}
