package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The oracle is the matcher of Redis: SCAN over one key with MATCH.
func FuzzGlob(f *testing.F) {
	for _, s := range []struct{ pattern, channel string }{
		{"users:*", "users:1"}, {"*", "a"}, {"**a*", "bab"}, {"?", "ab"}, {"[", "["}, {"[^", "x"},
		{"[a", "a"}, {"[a-", "-"}, {"[z-a]", "m"},
		{`[\]]`, "]"}, {`[\`, `\`}, {`\`, `\`}, {`\*`, "*"}, {`a\`, `a\`}, {"[]", "]"}, {"[^]", "a"},
		{"[a-]", "-"}, {"[a-]]", "]"}, {"[--0]", "."},
		{"*a*b*c*", "xaybzc"}, {"a*", "a"}, {"*?", "a"}, {"é?", "é\xff"}, {"[\x80-\xff]", "\x90"},
		{"a[", "ab"}, {"[^^]", "^"}, {`[a-\]]`, "]"}, {"*[a", "ba"},
	} {
		f.Add(s.pattern, s.channel)
	}
	server := rig.Standalone(f)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()},
		DisableCache: true, ForceSingleClient: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(client.Close)
	f.Fuzz(func(t *testing.T, pattern, channel string) {
		if channel == "" || len(pattern) > 1024 || len(channel) > 1024 || strings.Count(pattern, "*") > 8 ||
			strings.ContainsRune(pattern, 0) {
			return // Redis needs exponential time for many stars, and ends some patterns at a NUL
		}
		ctx := context.Background()
		results := client.DoMulti(ctx, client.B().Flushall().Build(), client.B().Set().Key(channel).Value("").Build(),
			client.B().Scan().Cursor(0).Match(pattern).Count(1000).Build())
		scan, err := results[2].AsScanEntry()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := events.Match(pattern, channel), len(scan.Elements) == 1; got != want {
			t.Errorf("match(%q, %q) = %v, Redis says %v", pattern, channel, got, want)
		}
	})
}

// Many stars need exponential time in Redis, and little time in this package.
func TestGlobIsNotExponential(t *testing.T) {
	t.Parallel()
	watch := rig.Watch(t)
	if events.Match(strings.Repeat("a*", 500)+"b", strings.Repeat("a", 1024)) {
		t.Error("matched")
	}
	if d := watch.Took(); d > time.Second {
		t.Errorf("took %v", d)
	}
}

// A written envelope can be read by parseQuick and by every JSON reader. No input makes a reader
// panic.
func FuzzEnvelope(f *testing.F) {
	f.Add("id", "type", "channel", `{"n":1}`, `{"type":"x","data":{"n":1}}`)
	f.Add(`"\`, "é\u2028", "a\nb", `"x"`, `{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"AQI="}`)
	f.Add("1", "t", "c", `null`,
		`{"specversion":"1.0","id":"x","source":"s","type":"t","subject":"c","time":"1970-01-01T00:00:01Z",`+
			`"datacontenttype":"application/json","data":1,"data":2}`)
	f.Add("1", "t", "c", `[]`, `{"specversion":"2.0","id":"x","source":"s","type":"t"}`)
	f.Fuzz(func(t *testing.T, id, eventType, channel, data, other string) {
		if json.Valid([]byte(data)) && id != "" && eventType != "" && channel != "" {
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(data)); err != nil {
				t.Fatal(err)
			}
			text := events.EnvelopeText(id, eventType, channel, compact.String())
			got, err := events.ParseText(text, false)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			clean := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
			valid := clean(id) == id && clean(eventType) == eventType && clean(channel) == channel
			if valid && (got.ID != id || got.Type != eventType || got.Channel != channel ||
				string(got.Data) != compact.String()) {
				t.Errorf("%s was read as %+v", text, got)
			}
			var cloud map[string]any
			if err := json.Unmarshal([]byte(text), &cloud); err != nil || cloud["specversion"] != "1.0" {
				t.Errorf("no CloudEvents JSON: %s: %v", text, err)
			}
			other = text[:len(text)/2] + other + text[len(text)/2:]
		}
		for _, foreign := range []bool{false, true} {
			quick, err1 := events.ParseText(other, foreign)
			slow, err2 := events.ParseSlowly(other, foreign)
			if err1 == nil && err2 == nil && fmt.Sprint(quick) != fmt.Sprint(slow) {
				t.Errorf("%q is %v quickly and %v slowly", other, quick, slow)
			}
			if err1 == nil && err2 != nil && !strings.Contains(err2.Error(), "unreadable") {
				t.Errorf("%q: %v", other, err2)
			}
		}
	})
}
