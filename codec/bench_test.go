package codec_test

import (
	"encoding/json"
	"testing"
)

type order struct {
	ID    int64    `json:"id"`
	User  string   `json:"user"`
	Items []string `json:"items"`
	Total float64  `json:"total"`
	Photo []byte   `json:"photo"`
}

func anOrder() *order {
	return &order{ID: 123456789, User: "ada@example.com", Items: []string{"a book", "a pen", "a lamp"},
		Total: 42.5, Photo: make([]byte, 64)}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range structured {
		b.Run(c.Name(), func(b *testing.B) {
			v := anOrder()
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.Append(buf[:0], v)
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
	b.Run("encoding_json", func(b *testing.B) { // for comparison: the work of a caller without the codec
		v := anOrder()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = json.Marshal(v)
		}
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, c := range structured {
		b.Run(c.Name(), func(b *testing.B) {
			data, err := c.Append(nil, anOrder())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				var v order
				_ = c.Unmarshal(data, &v)
			}
		})
	}
}
