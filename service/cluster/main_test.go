package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

func TestThreeShopsOnACluster(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var flags []string
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		flags = []string{"-race"} // the build cache has the packages of the tests
	}
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, 0, out, flags...)
		out.Close()
		ended <- err
	}()
	var urls []string
	for lines := bufio.NewScanner(said); len(urls) < instances && lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "Shop:"); ok {
			urls = append(urls, strings.TrimSpace(url))
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }() // ends with the pipe
	if len(urls) != instances {
		t.Fatalf("only %d shops started: %v", len(urls), <-ended)
	}

	res, err := http.Post(urls[0]+"/api/login", "application/json",
		strings.NewReader(`{"email":"ada@example.com","password":"redstart"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for _, url := range urls {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, cookie := range res.Cookies() {
			req.AddCookie(cookie)
		}
		me, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		me.Body.Close()
		if me.StatusCode != http.StatusOK {
			t.Errorf("a login at %s is unknown at %s: %s", urls[0], url, me.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it did not end")
	}
	for _, url := range urls {
		if _, err := http.Get(url); err == nil {
			t.Errorf("%s still serves requests", url)
		}
	}
}
