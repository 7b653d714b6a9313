package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// The server stores the value of a refresh, and its answer is lost: with the connection, or because
// it comes after the call has ended. The caller gets the new value. The near cache does not serve
// the old value, although the server pushes no client its own change.
//
//	refresh   lease ══ load (new) ══ fill ─────────────── no answer
//	server                               stores new ──╳
func TestC3_ALostFillAnswer(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(proxy *rig.Proxy){
		"with its connection":   (*rig.Proxy).Cut,
		"it comes after a time": func(*rig.Proxy) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ctx := rig.Shared(t), t.Context()
			proxy, namespace := rig.NewProxy(t, server.Addr()), rig.Prefix(t)
			client := dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: namespace, CommandTimeout: downTimeout})
			ours, theirs := on(t, client, nearby), on(t, dial(t, server.URL(), namespace), cache.Options{})
			warm(t, ours) // loads the scripts: a fill then takes one request
			if err := ours.Set(ctx, "1", before); err != nil {
				t.Fatal(err)
			}
			bring(t, []string{"1"}, before, ours)

			refreshed := make(chan outcome, 1)
			go func() {
				v, err := ours.Refresh(ctx, "1", func(context.Context, string) (user, error) {
					proxy.StallReplies()
					return after, nil
				})
				refreshed <- outcome{v, err}
			}()
			rig.Eventually(t, 10*time.Second, "the server stores the new value", func() bool {
				v, err := theirs.Get(ctx, "1")
				return err == nil && v == after
			})
			failures := ours.Stats().Errors
			lose(proxy)
			if got := await(t, "the refresh", refreshed); got.err != nil || got.value != after {
				t.Fatalf("the refresh returned %v, %v", got.value, got.err)
			}
			if ours.Stats().Errors == failures {
				t.Fatal("the answer was not lost: this shows nothing")
			}

			got := func() bool {
				v, err := ours.Get(ctx, "1")
				if err == nil && v != after {
					t.Fatalf("got %v after the server had stored %v", v, after)
				}
				return err == nil
			}
			got() // the server can't be reached yet
			proxy.Resume()
			rig.Eventually(t, 10*time.Second, "the new value", got)

			last := user{Name: "last"}
			rig.Eventually(t, 10*time.Second, "the new value is near-cached", func() bool {
				was := ours.Stats().NearHits
				return got() && ours.Stats().NearHits > was
			})
			if err := theirs.Set(ctx, "1", last); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "the value that another process has set", func() bool {
				v, err := ours.Get(ctx, "1")
				return err == nil && v == last
			})
		})
	}
}
