package rig_test

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestSharedIsOneServer(t *testing.T) {
	t.Parallel()
	s := rig.Shared(t)
	if other := rig.Shared(t); other != s {
		t.Fatal("two shared servers")
	}
	if got := s.CLI("PING"); got != "PONG" {
		t.Fatalf("PING = %q", got)
	}
	if got := s.CLI("GET"); !strings.HasPrefix(got, "(error) ERR wrong number") {
		t.Fatalf("GET without a key = %q", got)
	}
	if got := s.CLI("DEBUG", "SLEEP", "0"); got != "OK" {
		t.Fatalf("DEBUG is refused: %q", got)
	}
	key := rig.Prefix(t)
	s.CLI("RPUSH", key, "a", "b")
	if got := s.CLI("LRANGE", key, "0", "-1"); got != "a\nb" {
		t.Fatalf("LRANGE = %q", got)
	}
}

func TestSharedRefusesFaults(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	defer func() {
		if recover() == nil {
			t.Error("Kill of the shared server did not panic")
		}
	}()
	server.Kill()
}

func TestPrefixIsUnique(t *testing.T) {
	t.Parallel()
	a, b := rig.Prefix(t), rig.Prefix(t)
	if a == b || !strings.HasPrefix(a, rig.RunNamespace+"prefixisunique-") {
		t.Fatalf("prefixes %q, %q", a, b)
	}
}

func TestStandaloneStopAndContinue(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.Stop()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 16)
	if n, err := c.Read(buf); err == nil {
		t.Fatalf("a stopped server answered %q", buf[:n])
	}
	s.Continue()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "+PONG\r\n" {
		t.Fatalf("after Continue: %q, %v", buf[:n], err)
	}
}

func TestStandaloneKillAndRestart(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--appendonly", "yes", "--appendfsync", "always")
	s.CLI("SET", "k", "v")
	addr, pid := s.Addr(), s.PID()
	s.Kill()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Fatal("a killed server accepts connections")
	}
	if s.PID() != 0 {
		t.Fatalf("PID of a killed server = %d", s.PID())
	}
	s.Restart()
	if s.Addr() != addr || s.PID() == pid {
		t.Fatalf("restarted at %s with pid %d; was %s, %d", s.Addr(), s.PID(), addr, pid)
	}
	if got := s.CLI("GET", "k"); got != "v" {
		t.Fatalf("after a restart with AOF: %q", got)
	}
	s.Stop()
	s.Restart() // also from frozen
	s.Shutdown()
	s.Restart()
	if got := s.CLI("GET", "k"); got != "v" {
		t.Fatalf("after a shutdown: %q", got)
	}
}

func TestStandaloneArgs(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--maxmemory", "8mb", "--requirepass", "secret")
	if got := s.Info("maxmemory"); got != "8388608" {
		t.Fatalf("maxmemory = %q", got)
	}
	client := open(t, s.URL())
	if err := client.Do(t.Context(), client.B().Ping().Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

func TestReplicaBehindAStalledLink(t *testing.T) {
	t.Parallel()
	primary := rig.Standalone(t)
	link := rig.NewProxy(t, primary.Addr())
	replica := rig.Replica(t, link.Addr())
	c := primary.Conn(t)
	c.CLI("SET", "k", "1")
	if got := c.CLI("WAIT", "1", "10000"); got != "1" {
		t.Fatalf("WAIT = %s", got)
	}
	link.StallReplies() // the stream from the primary to the replica
	c.CLI("SET", "k", "2")
	if got := c.CLI("WAIT", "1", "50"); got != "0" {
		t.Fatalf("WAIT over a stalled link = %s", got)
	}
	replica.CLI("REPLICAOF", "NO", "ONE")
	if got := replica.CLI("GET", "k"); got != "1" {
		t.Fatalf("the promoted replica holds %s", got)
	}
}

func TestCommandStats(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	before := s.CommandStats()["get"]
	for range 3 {
		s.CLI("GET", "k")
	}
	s.CLI("CLIENT", "ID")
	after := s.CommandStats()
	if after["get"]-before != 3 || after["client|id"] != 1 {
		t.Fatalf("stats = %v", after)
	}
}

func TestServersEndWithTheTest(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	var pid int
	var dir string
	t.Run("owner", func(t *testing.T) {
		s := rig.Standalone(t)
		pid, dir = s.PID(), s.Dir()
		s.Stop() // a frozen server ends too
	})
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Fatalf("process %d after its test: %v", pid, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("directory %s after its test: %v", dir, err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	c, err := net.Dial("unix", rig.Shared(t).Socket())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := rig.TLS(t)
	if got := s.CLI("PING"); got != "PONG" {
		t.Fatalf("PING over TLS = %q", got)
	}
	if !strings.HasPrefix(s.URL(), "rediss://") {
		t.Fatalf("URL = %s", s.URL())
	}
	stranger, err := rig.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]*rig.TLSFiles{"known": s.TLS(), "stranger": stranger} {
		config, err := files.Config()
		if err != nil {
			t.Fatal(err)
		}
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, TLSConfig: config, DisableCache: true})
		if err == nil {
			err = client.Do(t.Context(), client.B().Ping().Build()).Error()
			client.Close()
		}
		if (err == nil) != (name == "known") {
			t.Errorf("%s certificate: %v", name, err)
		}
	}
}

func open(t *testing.T, url string) rueidis.Client {
	t.Helper()
	option, err := rueidis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func do(client rueidis.Client, args ...string) error {
	err := client.Do(context.Background(), client.B().Arbitrary(args...).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}
