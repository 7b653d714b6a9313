package codec

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// CBOR encodes as RFC 8949 in its core deterministic encoding. Field names come from `cbor` tags,
// else from `json` tags: a type that JSON stores is stored the same way. As in JSON, times are text
// with nanoseconds and offset, and maps in an any are map[string]any. Strings may contain any
// bytes.
var CBOR Codec = cborCodec{}

type cborCodec struct{}

func (cborCodec) ID() byte     { return 2 }
func (cborCodec) Name() string { return "cbor" }

func (c cborCodec) Append(dst []byte, v any) ([]byte, error) {
	modes, err := cborModes()
	if err != nil {
		return dst, fail(c, err)
	}
	buf, ok := cborBuffers.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	*buf = *bytes.NewBuffer(dst) // the buffer appends to dst
	err = modes.enc.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	cborBuffers.Put(buf)
	if err != nil {
		return dst, fail(c, err)
	}
	return out, nil
}

func (c cborCodec) Unmarshal(data []byte, v any) error {
	modes, err := cborModes()
	if err != nil {
		return fail(c, err)
	}
	if err := modes.dec.Unmarshal(data, v); err != nil {
		return fail(c, err)
	}
	return nil
}

var cborBuffers sync.Pool

type cborMode struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// cborModes are created on first use. The decoder reads everything that the encoder writes. With
// the library's defaults it would refuse long arrays, deep values and strings that are not UTF-8.
// The library checks that the data is complete, which bounds what a forged length can allocate.
var cborModes = sync.OnceValues(func() (cborMode, error) {
	enc := cbor.CoreDetEncOptions()
	enc.Time = cbor.TimeRFC3339Nano
	encMode, err := enc.UserBufferEncMode()
	if err != nil {
		return cborMode{}, fmt.Errorf("encoding options: %w", err)
	}
	decMode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		MaxNestedLevels:  10_000, // as encoding/json
		UTF8:             cbor.UTF8DecodeInvalid,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
	}.DecMode()
	if err != nil {
		return cborMode{}, fmt.Errorf("decoding options: %w", err)
	}
	return cborMode{enc: encMode, dec: decMode}, nil
})
