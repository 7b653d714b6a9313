package codec_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/redstart-go/redstart/codec"
)

// FuzzJSONDecodesAsTheStandardLibrary compares codec.JSON with encoding/json: both accept the same
// input, and decode it to the same value.
func FuzzJSONDecodesAsTheStandardLibrary(f *testing.F) {
	type inner struct {
		A int      `json:"a,omitempty"`
		B []string `json:"b"`
	}
	type outer struct {
		inner
		Name   string
		Time   time.Time
		Float  float64
		Small  int8
		Bytes  []byte
		Map    map[string]*inner
		Any    any
		Raw    json.RawMessage
		Quoted int64         `json:",string"`
		Spell  time.Duration `json:",string"`
		//lint:ignore SA5008 what the tag does to other types is to be the same, too
		When *time.Time `json:",string"`
	}
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"Name":"ada","NAME":"Ada","name":null}`, `{"a":1,"b":["x",null]}`,
		`{"Time":"1843-01-01T00:00:00.5+01:00"}`, `{"Small":300}`,
		`{"Bytes":"AQI="}`, `{"Map":{"x":{"a":2},"y":null},"Any":[1,1e400]}`, `{"Quoted":"7"}`,
		`{"Spell":"5","When":"1843-01-01T00:00:00Z"}`, `{"Spell":5}`, `{"Quoted":7}`,
		`{"Raw": {"x" : 1} }`, `{"Name":"\ud800\u0000` + "\xff" + `"}`,
		`{"Name":1,"Float":2}`, `{"Any":{"x":[true,false,null,-0.0]}}`, `{"a":1}{"a":2}`, ` {"Float":1e-7}`, `{"Name":"x",}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range []func() any{func() any { return new(outer) }, func() any { return new(any) },
			func() any { return new(string) }} {
			want, got := target(), target()
			wantErr, err := json.Unmarshal(data, want), codec.JSON.Unmarshal(data, got)
			if (wantErr == nil) != (err == nil) {
				t.Fatalf("%q into %T: %v, encoding/json says %v", data, got, err, wantErr)
			}
			if err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("%q is %+v, encoding/json makes %+v of it", data, got, want)
			}
		}
	})
}
