package codec

import (
	"encoding/json"
	"sync"

	next "github.com/go-json-experiment/json"
	decode "github.com/go-json-experiment/json/v1" // encoding/json on its authors' next decoder: half the time, two thirds of the allocations
)

// JSON is encoding/json, without the escapes that only HTML needs. Strings that are not UTF-8 don't
// survive it: each bad byte becomes U+FFFD. Times keep nanoseconds and the offset.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) ID() byte     { return 1 }
func (jsonCodec) Name() string { return "json" }

func (c jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	w, ok := jsonWriters.Get().(*jsonWriter)
	if !ok {
		w = newJSONWriter()
	}
	w.dst = dst
	err := w.enc.Encode(v) // writes once, at the end, and nothing after an error
	out := w.dst
	w.dst = nil
	jsonWriters.Put(w)
	if err != nil {
		return dst, fail(c, err)
	}
	return out[:len(out)-1], nil // without the newline that Encode ends with
}

func (c jsonCodec) Unmarshal(data []byte, v any) error {
	if next.Unmarshal(data, v, readOnce) == nil {
		return nil
	}
	if err := decode.Unmarshal(data, v); err != nil {
		return fail(c, err)
	}
	return nil
}

// readOnce is encoding/json without its way with errors, for which it reads everything once before it decodes anything: a sixth of the
// time. What fails is decoded again as encoding/json does it, which accepts a little more.
var readOnce = next.JoinOptions(decode.DefaultOptionsV1(), decode.ReportErrorsWithLegacySemantics(false))

// jsonWriter is an encoder that appends to a slice: json.Marshal would allocate its result first.
type jsonWriter struct {
	enc *json.Encoder
	dst []byte
}

var jsonWriters sync.Pool

func newJSONWriter() *jsonWriter {
	w := &jsonWriter{}
	w.enc = json.NewEncoder(w)
	w.enc.SetEscapeHTML(false)
	return w
}

func (w *jsonWriter) Write(p []byte) (int, error) {
	w.dst = append(w.dst, p...)
	return len(p), nil
}
