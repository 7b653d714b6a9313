package codec

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// CBOR is RFC 8949 in its core deterministic encoding. Field names come from `cbor` tags, else from
// `json` tags, so a type that JSON stores is stored the same way; times are text with nanoseconds
// and offset, maps in an any are map[string]any, both as in JSON. Strings survive whatever bytes
// they hold.
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
	*buf = *bytes.NewBuffer(dst) // the buffer appends to what the caller gave
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

// cborModes are made on first use. What the encoder writes the decoder reads: the library's
// defaults would refuse long arrays, deep values and strings that are not UTF-8 only when they
// come back. Its own check that the data is complete bounds what a forged length can allocate.
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
