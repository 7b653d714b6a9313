package codec_test

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/codec"
)

func Example() {
	type item struct {
		Name  string `json:"name"`
		Price int    `json:"price"`
	}
	for _, c := range []codec.Codec{codec.JSON, codec.CBOR} {
		data, err := c.Append(nil, &item{Name: "lamp", Price: 40})
		if err != nil {
			fmt.Println(err)
			return
		}
		var back item
		if err := c.Unmarshal(data, &back); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d bytes, %q\n", c.Name(), len(data), data)
	}
	// Output:
	// json: 26 bytes, "{\"name\":\"lamp\",\"price\":40}"
	// cbor: 19 bytes, "\xa2dnamedlampeprice\x18("
}

// A codec of your own: counters as varints.
func ExampleFunc() {
	counters, err := codec.Func(64, "varint",
		func(dst []byte, v int64) ([]byte, error) { return binary.AppendVarint(dst, v), nil },
		func(data []byte) (int64, error) {
			v, n := binary.Varint(data)
			if n != len(data) {
				return 0, errors.New("not a varint")
			}
			return v, nil
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := counters.Append(nil, int64(300))
	fmt.Printf("%x %v\n", data, err)
	var v int64
	fmt.Println(counters.Unmarshal(data, &v), v)
	fmt.Println(counters.Unmarshal([]byte("junk"), &v))
	// Output:
	// d804 <nil>
	// <nil> 300
	// codec: varint: not a varint
}
