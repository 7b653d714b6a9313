// Package codec encodes the values that Redstart stores.
//
// Three codecs are ready:
//
//   - [JSON], the default: readable in redis-cli and by other programs, self-describing, tolerant
//     of
//
// added and removed fields.
//   - [CBOR] (RFC 8949, deterministic encoding): about a quarter smaller than JSON and faster; byte
//     slices
//
// without base64; equal values have equal bytes.
//   - [Raw]: strings and byte slices as they are, for data that is already encoded.
//
// Other codecs implement [Codec]. [Func] makes one from two functions, for example for Protocol
// Buffers, whose Go messages are pointers:
//
//	users, err := codec.Func(64, "protobuf",
//		func(dst []byte, m *pb.User) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(dst, m) },
//		func(data []byte) (*pb.User, error) { m := new(pb.User); return m, proto.Unmarshal(data, m) })
//
// Each stored value holds the ID of its codec: a reader recognizes a value of another codec, and
// does not decode it. Other programs may have written the data that a codec decodes. The codecs of
// this package return an error for invalid data, never panic, and allocate at most a small multiple
// of its size.
package codec
