// Package codec turns Go values into the bytes that are stored, and back.
//
// Three codecs are ready:
//
//   - [JSON], the default: readable in redis-cli and by other programs, self-describing, tolerant of
//     added and removed fields.
//   - [CBOR] (RFC 8949, deterministic encoding): about a quarter smaller than JSON and faster, byte slices
//     without base64, equal values have equal bytes.
//   - [Raw]: strings and byte slices as they are, for what is encoded already.
//
// Others fit behind [Codec]; [Func] makes one from a pair of functions. For Protocol Buffers, whose
// Go messages are pointers:
//
//	users, err := codec.Func(64, "protobuf",
//		func(dst []byte, m *pb.User) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(dst, m) },
//		func(data []byte) (*pb.User, error) { m := new(pb.User); return m, proto.Unmarshal(data, m) })
//
// Stored values carry the ID of their codec: what another codec wrote is recognised and not decoded.
// What a codec decodes is data that others could have written. The ready ones refuse junk with an
// error, never a panic, and allocate no more than a small multiple of its size.
package codec
