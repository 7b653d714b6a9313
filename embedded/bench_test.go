package embedded_test

import (
	"context"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/rig"
)

const fiveCommands = `
local now = redis.call('TIME')
local value = redis.call('HGET', KEYS[1], 'n')
redis.call('HSET', KEYS[1], 'n', (tonumber(value) or 0) + 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'n')`

// BenchmarkScript measures a script: one caller, five commands, EVALSHA.
func BenchmarkScript(b *testing.B) {
	option := rueidis.MustParseURL(rig.Embedded(b).URL())
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	script := rueidis.NewLuaScript(fiveCommands)
	for b.Loop() {
		if err := script.Exec(context.Background(), client, []string{"k"}, []string{"10000"}).Error(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet measures a plain read, for comparison.
func BenchmarkGet(b *testing.B) {
	option := rueidis.MustParseURL(rig.Embedded(b).URL())
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for b.Loop() {
		if err := client.Do(context.Background(), client.B().Get().Key("k").Build()).Error(); err != nil && !rueidis.IsRedisNil(err) {
			b.Fatal(err)
		}
	}
}
