package rig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestShippedUsersMayDoTheirWork(t *testing.T) {
	t.Parallel()
	for _, file := range []string{rig.ACLFile, rig.ACLScanFile} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			client := open(t, rig.ACLServer(t, file).URL())
			for _, command := range []string{
				"PING", "TIME", "INFO server", "WAIT 0 1",
				"CLIENT SETNAME x", "CLIENT NO-EVICT on",
				"SET app:{s} v PX 10000", "GET app:{s}", "EXISTS app:{s}", "PEXPIRE app:{s} 10000", "PTTL app:{s}",
				"UNLINK app:{s}", "DEL app:{n}",
				"HSET app:{h} f v", "HGET app:{h} f", "HDEL app:{h} f",
				"ZADD app:{z} 1 m", "ZRANGE app:{z} 0 -1", "ZRANGEBYSCORE app:{z} -inf +inf", "ZREMRANGEBYSCORE app:{z} -inf +inf",
				"XGROUP CREATE app:{x} g 0 MKSTREAM", "XADD app:{x} * f v",
				"XREADGROUP GROUP g c STREAMS app:{x} >", "XREAD STREAMS app:{x} 0",
				"XPENDING app:{x} g", "XINFO GROUPS app:{x}", "XTRIM app:{x} MAXLEN 0", "XGROUP DESTROY app:{x} g",
				"PUBLISH app:c m", "SPUBLISH app:c m", "SCRIPT EXISTS x",
			} {
				if err := do(client, strings.Fields(command)...); err != nil {
					t.Errorf("%s: %v", command, err)
				}
			}
			for name, script := range map[string]string{
				"keys and time": "redis.call('SET', KEYS[1], redis.call('TIME')[1], 'PX', 1000) return redis.call('PTTL', KEYS[1])",
				"publish":       "return redis.call('SPUBLISH', KEYS[1], 'm')",
			} {
				if err := do(client, "EVAL", script, "1", "app:{k}"); err != nil {
					t.Errorf("script %s: %v", name, err)
				}
			}
		})
	}
}

func TestShippedUsersMayDoNothingElse(t *testing.T) {
	t.Parallel()
	for _, file := range []string{rig.ACLFile, rig.ACLScanFile} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			client := open(t, rig.ACLServer(t, file).URL())
			commands := []string{
				"KEYS *", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 1", "SCRIPT FLUSH", "SCRIPT KILL",
				"DEBUG SLEEP 0", "MONITOR", "SHUTDOWN NOSAVE", "SAVE", "BGSAVE", "SLAVEOF no one", "REPLICAOF no one", "RANDOMKEY",
				"ACL LIST", "ACL SETUSER x", "CLIENT LIST", "CLIENT KILL ID 1", "CLIENT PAUSE 1", "CLUSTER RESET", "CLUSTER FAILOVER",
				"SLOWLOG GET", "MODULE LIST", "FUNCTION LIST", "FUNCTION FLUSH", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "RESTORE app:k 0 x",
				"DUMP app:k", "SORT app:k", "OBJECT FREQ app:k", "MEMORY USAGE app:k", "LATENCY LATEST", "PUBSUB CHANNELS",
				"INCR app:{n}", "HVALS app:{h}", "XAUTOCLAIM app:{x} g c 0 0",
				"GET other", "SET other v", "DEL other", "SET ap v", "XADD other * f v", "MGET app:{k} other",
				"PUBLISH other m", "SPUBLISH other m",
			}
			if file == rig.ACLFile {
				commands = append(commands, "SCAN 0")
			} else if err := do(client, "SCAN", "0"); err != nil {
				t.Errorf("SCAN: %v", err)
			}
			for _, command := range commands {
				err := do(client, strings.Fields(command)...)
				if err == nil || !strings.Contains(err.Error(), "NOPERM") {
					t.Errorf("%s: %v", command, err)
				}
			}
			for _, script := range []string{
				"return redis.call('GET', 'other')", "return redis.call('KEYS', '*')", "return redis.call('FLUSHALL')",
				"return redis.call('PUBLISH', 'other', 'm')", "return redis.call('CONFIG', 'GET', '*')",
			} {
				if err := do(client, "EVAL", script, "0"); err == nil {
					t.Errorf("script %q is allowed", script)
				}
			}
		})
	}
}

// An aclfile must not have comments. The header of the shipped file explains how to remove them.
func TestShippedUsersLoadAsACLFile(t *testing.T) {
	t.Parallel()
	for _, file := range []string{rig.ACLFile, rig.ACLScanFile} {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "acl", file))
		if err != nil {
			t.Fatal(err)
		}
		var users strings.Builder
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "user") {
				users.WriteString(line)
			}
		}
		path := filepath.Join(t.TempDir(), "users.acl")
		if err := os.WriteFile(path, []byte(users.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := rig.Standalone(t, "--aclfile", path)
		if got := s.CLI("ACL", "USERS"); !strings.Contains(got, strings.TrimSuffix(file, ".acl")) {
			t.Errorf("users = %q", got)
		}
	}
}
