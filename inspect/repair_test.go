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
