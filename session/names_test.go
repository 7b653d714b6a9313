package session_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// New requires a name and reports a second manager of the same name.
func TestS4_AManagersNameIsRequiredAndUnique(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	client, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(),
		Namespace: rig.Prefix(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ok(t, err)
	t.Cleanup(func() { ok(t, client.Close()) })

	for _, name := range []string{"", strings.Repeat("x", 200)} {
		if _, err := session.New[cart](client, name, session.Options{}); err == nil ||
			!strings.HasPrefix(err.Error(), "session: the name ") {
			t.Errorf("a name of %d bytes: %v", len(name), err)
		}
	}

	must[*mgr](t)(session.New[cart](client, "web", session.Options{}))
	must[*mgr](t)(session.New[cart](client, "admin", session.Options{}))
	must[*mgr](t)(session.New[cart](client, "web", session.Options{}))
	if _, err := session.New[string](client, "web", session.Options{}); err == nil || !strings.Contains(err.Error(), `"web"`) {
		t.Errorf("one name with two types: %v", err)
	}
	ok(t, client.Close()) // writes all log records
	if text := log.String(); strings.Count(text, "second manager") != 1 || !strings.Contains(text, "name=web") {
		t.Errorf("want one warning, for the repeated name: %q", text)
	}
}
