package codec_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/codec"
)

type user struct {
	ID    int64             `json:"id"`
	Name  string            `json:"name"`
	Mail  *string           `json:"mail,omitempty"`
	Tags  []string          `json:"tags"`
	Photo []byte            `json:"photo"`
	Born  time.Time         `json:"born"`
	Score float64           `json:"score"`
	Meta  map[string]string `json:"meta"`
	Any   any               `json:"any"`
}

func ada() user {
	mail := "ada@example.com"
	return user{
		ID: math.MaxInt64, Name: "Ada <Lovelace> & co. é\u2028", Mail: &mail, Tags: []string{"a", ""}, Photo: []byte{0, 255, 10},
		Born: time.Date(1815, 12, 10, 1, 2, 3, 456789012, time.FixedZone("", 3600)), Score: 0.1,
		Meta: map[string]string{"b": "1", "a": "2", "": "3"}, Any: map[string]any{"x": []any{"y", true, nil}},
	}
}

func same(a, b user) bool {
	born := a.Born.Equal(b.Born)
	_, offA := a.Born.Zone()
	_, offB := b.Born.Zone()
	a.Born, b.Born = time.Time{}, time.Time{}
	return born && offA == offB && reflect.DeepEqual(a, b)
}

var structured = []codec.Codec{codec.JSON, codec.CBOR}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range structured {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			in := ada()
			data, err := c.Append([]byte("head"), &in)
			if err != nil || !bytes.HasPrefix(data, []byte("head")) {
				t.Fatalf("%q, %v", data, err)
			}
			byValue, err := c.Append(nil, in)
			if err != nil || !bytes.Equal(byValue, data[4:]) {
				t.Errorf("by value %q, by pointer %q, %v", byValue, data[4:], err)
			}
			var out user
			stored := bytes.Clone(data[4:])
			if err := c.Unmarshal(stored, &out); err != nil {
				t.Fatal(err)
			}
			clear(stored) // the codec must not have kept it
			if !same(in, out) {
				t.Errorf("in  %+v\nout %+v", in, out)
			}
		})
	}
}

// Values of every kind have the same type and value after a round trip.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range structured {
		roundTrip(t, c, "")
		roundTrip(t, c, "null")
		roundTrip(t, c, 0)
		roundTrip(t, c, int64(math.MinInt64))
		roundTrip(t, c, uint64(math.MaxUint64))
		roundTrip(t, c, math.MaxFloat64)
		roundTrip(t, c, math.SmallestNonzeroFloat64)
		roundTrip(t, c, float32(0.1))
		roundTrip(t, c, true)
		roundTrip(t, c, []byte("\x00\xff"))
		roundTrip(t, c, []byte(nil))
		roundTrip(t, c, []byte{})
		roundTrip(t, c, []string(nil))
		roundTrip(t, c, []string{})
		roundTrip(t, c, map[string]int(nil))
		roundTrip(t, c, map[int]string{1: "a", -2: "b"})
		roundTrip(t, c, (*user)(nil))
		roundTrip(t, c, [2]int8{-1, 1})
		roundTrip(t, c, struct{}{})
		roundTrip(t, c, any("x"))
		roundTrip(t, c, any(nil))
		roundTrip(t, c, time.Unix(1, 1).UTC())
		roundTrip(t, c, time.Duration(1))
		roundTrip(t, c, make([]int, 200_000)) // longer than the CBOR library's default limit
		roundTrip(t, c, map[string]any{"a": map[string]any{"b": []any{"c"}}})
	}
	roundTrip(t, codec.CBOR, "not \xff UTF-8")
	roundTrip(t, codec.CBOR, math.Inf(-1))
}

func roundTrip[V any](t *testing.T, c codec.Codec, in V) {
	t.Helper()
	data, err := c.Append(nil, &in)
	if err != nil {
		t.Errorf("%s: %T %v: %v", c.Name(), in, in, err)
		return
	}
	var out V
	if err := c.Unmarshal(data, &out); err != nil {
		t.Errorf("%s: %T: %v", c.Name(), in, err)
		return
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("%s: %T: in %v, out %v", c.Name(), in, in, out)
	}
}

func TestDeepValues(t *testing.T) {
	t.Parallel()
	for _, c := range structured {
		var deep any = "bottom"
		for range 1000 {
			deep = []any{deep}
		}
		roundTrip(t, c, deep)
	}
}

// Equal values have equal bytes, maps too.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	for _, c := range structured {
		m := map[string]int{}
		for i := range 100 {
			m[strings.Repeat("k", i)] = i
		}
		first, err := c.Append(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			again, err := c.Append(nil, &m)
			if err != nil || !bytes.Equal(first, again) {
				t.Fatalf("%s: two encodings of one map, %v", c.Name(), err)
			}
		}
	}
}

func TestJSONIsPlain(t *testing.T) {
	t.Parallel()
	data, err := codec.JSON.Append([]byte("x"), map[string]string{"a": "<b>&"})
	if err != nil || string(data) != `x{"a":"<b>&"}` {
		t.Errorf("%s, %v", data, err)
	}
}

type broken struct{ Bad func() }

type stubborn struct{}

func (stubborn) MarshalJSON() ([]byte, error) { return nil, errStubborn }
func (stubborn) MarshalCBOR() ([]byte, error) { return nil, errStubborn }

var errStubborn = errors.New("stubborn")

// After an error the buffer is what it was, the error names the codec, and the codec still works.
func TestAppendErrors(t *testing.T) {
	t.Parallel()
	for _, c := range append(structured, codec.Raw) {
		for _, v := range []any{&broken{Bad: func() {}}, make(chan int), &[]any{1, "x", stubborn{}}} {
			dst := append(make([]byte, 0, 64), "head"...)
			out, err := c.Append(dst, v)
			if err == nil || !strings.HasPrefix(err.Error(), "codec: "+c.Name()+": ") {
				t.Errorf("%s: %T: error %v", c.Name(), v, err)
			}
			if string(out) != "head" {
				t.Errorf("%s: %T: buffer %q", c.Name(), v, out)
			}
			if out, err = c.Append(dst, "ok"); err != nil || !strings.HasPrefix(string(out), "head") ||
				!strings.Contains(string(out), "ok") {
				t.Errorf("%s: after an error: %q, %v", c.Name(), out, err)
			}
		}
	}
	if _, err := codec.JSON.Append(nil, stubborn{}); !errors.Is(err, errStubborn) {
		t.Errorf("%v is not the type's own error", err)
	}
}

func TestUnmarshalErrors(t *testing.T) {
	t.Parallel()
	valid := map[string][]byte{}
	for _, c := range structured {
		data, err := c.Append(nil, ada())
		if err != nil {
			t.Fatal(err)
		}
		valid[c.Name()] = data
	}
	for _, c := range structured {
		good := valid[c.Name()]
		for name, data := range map[string][]byte{
			"empty": nil, "cut": good[:len(good)-1], "trailing": append(bytes.Clone(good), good...),
			"junk":            []byte("\xff\x00junk"),
			"another codec's": map[string][]byte{"json": valid["cbor"], "cbor": valid["json"]}[c.Name()],
		} {
			var u user
			if err := c.Unmarshal(data, &u); err == nil || !strings.HasPrefix(err.Error(), "codec: "+c.Name()+": ") {
				t.Errorf("%s: %s: %v", c.Name(), name, err)
			}
		}
		if err := c.Unmarshal(good, ada()); err == nil {
			t.Errorf("%s: decoded into a value", c.Name())
		}
		if err := c.Unmarshal(good, nil); err == nil {
			t.Errorf("%s: decoded into nothing", c.Name())
		}
	}
}

// A forged length does not reserve memory for absent data: 2^31 elements
func TestCBORForgedLength(t *testing.T) {
	for _, data := range []string{"\x9a\x7f\xff\xff\xff", "\xba\x7f\xff\xff\xff", "\x5a\x7f\xff\xff\xff",
		"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var v any
		var list []int
		if codec.CBOR.Unmarshal([]byte(data), &v) == nil || codec.CBOR.Unmarshal([]byte(data), &list) == nil {
			t.Errorf("%x was taken", data)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%x: %d bytes allocated", data, n)
		}
	}
}

type html string

type blob []byte

func TestRaw(t *testing.T) {
	t.Parallel()
	roundTrip(t, codec.Raw, "a\x00\xff")
	roundTrip(t, codec.Raw, "")
	roundTrip(t, codec.Raw, []byte("a\x00\xff"))
	roundTrip(t, codec.Raw, []byte{})
	roundTrip(t, codec.Raw, html("<b>"))
	roundTrip(t, codec.Raw, blob{0, 1})
	for _, v := range []any{"x", html("x"), []byte("x"), blob("x")} {
		if data, err := codec.Raw.Append([]byte("h"), v); err != nil || string(data) != "hx" {
			t.Errorf("%T: %q, %v", v, data, err)
		}
	}
	var out []byte
	stored := []byte("abc")
	if err := codec.Raw.Unmarshal(stored, &out); err != nil {
		t.Fatal(err)
	}
	clear(stored)
	if string(out) != "abc" {
		t.Error("Raw keeps the buffer")
	}
	if err := codec.Raw.Unmarshal(nil, &out); err != nil || out == nil || len(out) != 0 {
		t.Errorf("nothing decodes as %#v, %v", out, err)
	}
	for _, v := range []any{nil, 1, new(int), (*string)(nil), (*[]byte)(nil), (*html)(nil), []int{1}, [2]byte{}} {
		if _, err := codec.Raw.Append(nil, v); err == nil {
			t.Errorf("Append took a %T", v)
		}
		if err := codec.Raw.Unmarshal([]byte("x"), v); err == nil {
			t.Errorf("Unmarshal took a %T", v)
		}
	}
}

func TestFunc(t *testing.T) {
	t.Parallel()
	upper, err := codec.Func(64, "upper",
		func(dst []byte, s string) ([]byte, error) {
			if s == "bad" {
				return append(dst, "half"...), errStubborn
			}
			return append(dst, strings.ToUpper(s)...), nil
		},
		func(data []byte) (string, error) {
			if len(data) == 0 {
				return "half", errStubborn
			}
			return strings.ToLower(string(data)), nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if upper.ID() != 64 || upper.Name() != "upper" {
		t.Errorf("%d %s", upper.ID(), upper.Name())
	}
	s := "abc"
	for _, v := range []any{s, &s} {
		if data, err := upper.Append([]byte("h"), v); err != nil || string(data) != "hABC" {
			t.Errorf("%T: %q, %v", v, data, err)
		}
	}
	var out string
	if err := upper.Unmarshal([]byte("ABC"), &out); err != nil || out != "abc" {
		t.Errorf("%q, %v", out, err)
	}
	if err := upper.Unmarshal(nil, &out); !errors.Is(err, errStubborn) || out != "abc" {
		t.Errorf("after an error: %q, %v", out, err)
	}
	if data, err := upper.Append([]byte("h"), "bad"); !errors.Is(err, errStubborn) || string(data) != "h" {
		t.Errorf("after an error: %q, %v", data, err)
	}
	for _, v := range []any{1, nil, (*string)(nil)} {
		if _, err := upper.Append(nil, v); err == nil {
			t.Errorf("Append took a %T", v)
		}
	}
	for _, v := range []any{1, nil, (*string)(nil), "x", new(int)} {
		if err := upper.Unmarshal([]byte("x"), v); err == nil {
			t.Errorf("Unmarshal took a %T", v)
		}
	}
}

// A message type is a pointer, as with Protocol Buffers: the codec makes the message.
func TestFuncOfPointers(t *testing.T) {
	t.Parallel()
	c, err := codec.Func(65, "messages",
		func(dst []byte, m *bytes.Buffer) ([]byte, error) { return append(dst, m.Bytes()...), nil },
		func(data []byte) (*bytes.Buffer, error) { return bytes.NewBufferString(string(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	in := bytes.NewBufferString("message")
	for _, v := range []any{in, &in} {
		data, err := c.Append(nil, v)
		if err != nil || string(data) != "message" {
			t.Fatalf("%T: %q, %v", v, data, err)
		}
		var out *bytes.Buffer
		if err := c.Unmarshal(data, &out); err != nil || out.String() != "message" {
			t.Errorf("%v, %v", out, err)
		}
	}
}

func TestFuncRefuses(t *testing.T) {
	t.Parallel()
	enc := func(dst []byte, _ int) ([]byte, error) { return dst, nil }
	dec := func([]byte) (int, error) { return 0, nil }
	for name, makeIt := range map[string]func() (codec.Codec, error){
		"reserved id": func() (codec.Codec, error) { return codec.Func(63, "x", enc, dec) },
		"no name":     func() (codec.Codec, error) { return codec.Func(64, "", enc, dec) },
		"no encode":   func() (codec.Codec, error) { return codec.Func(64, "x", nil, dec) },
		"no decode":   func() (codec.Codec, error) { return codec.Func(64, "x", enc, nil) },
	} {
		if c, err := makeIt(); err == nil || c != nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for c, id := range map[codec.Codec]byte{codec.JSON: 1, codec.CBOR: 2, codec.Raw: 3} {
		if c.ID() != id {
			t.Errorf("%s has id %d: stored values say %d", c.Name(), c.ID(), id)
		}
	}
}

// Many goroutines use one codec: pooled writers don't mix their output.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for _, c := range structured {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				in := strings.Repeat(string(rune('a'+g)), 100*g)
				var buf []byte
				for range 200 {
					var err error
					if buf, err = c.Append(buf[:0], &in); err != nil {
						t.Error(err)
						return
					}
					var out string
					if err := c.Unmarshal(buf, &out); err != nil || out != in {
						t.Errorf("%s: %.10q became %.10q, %v", c.Name(), in, out, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, c := range structured {
		data, err := c.Append(nil, ada())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{})
	f.Add([]byte("\xc0\x61x"))
	f.Add([]byte("\xc1;00000000")) // a time in the year 10^11, in an any
	f.Add([]byte("\xd8\x1a\xbf\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range structured {
			for _, v := range []any{new(user), new(any), new(string), new([]byte), new(map[string]int),
				new(time.Time), new([]user), new(*user), new(float64)} {
				if c.Unmarshal(data, v) != nil {
					continue
				}
				// Everything that the codec encodes can be decoded, and encoded again.
				again, err := c.Append(nil, v)
				if err != nil {
					if strings.Contains(err.Error(), "year outside of range") {
						continue // a time outside of the years that JSON and CBOR text can express
					}
					t.Fatalf("%s: %x is a %T that can't be written: %v", c.Name(), data, v, err)
				}
				fresh := reflect.New(reflect.TypeOf(v).Elem()).Interface()
				if err := c.Unmarshal(again, fresh); err != nil {
					t.Fatalf("%s: %x became %x, which is unreadable: %v", c.Name(), data, again, err)
				}
			}
		}
	})
}
