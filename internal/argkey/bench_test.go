package argkey_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/argkey"
)

func BenchmarkAppend(b *testing.B) {
	b.Run("int", bench(42))
	b.Run("string", bench("user-42"))
	b.Run("long string", bench(strings.Repeat("x", 1024)))
	b.Run("struct", bench(pair{"de", "user-42"}))
	b.Run("struct and slice", bench(struct {
		ID    int
		Since time.Time
		Tags  []string
	}{42, time.Now(), []string{"a", "b"}}))
	b.Run("map", bench(map[string]int{"a": 1, "b": 2, "c": 3}))
}

func bench[A any](a A) func(*testing.B) {
	return func(b *testing.B) {
		e := must(argkey.New[A]())
		var buf [argkey.MaxKey]byte
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Append(buf[:0], &a); err != nil {
				b.Fatal(err)
			}
		}
	}
}
