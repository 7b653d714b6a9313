package embedded_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
)

func ExampleStart() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client := dial(server.URL())
	defer client.Close()
	client.Do(ctx, client.B().Set().Key("greeting").Value("hello").Build())
	greeting, err := client.Do(ctx, client.B().Get().Key("greeting").Build()).ToString()
	fmt.Println(greeting, err)
	// Output: hello <nil>
}

func ExampleServer_Advance() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client := dial(server.URL())
	defer client.Close()
	client.Do(ctx, client.B().Set().Key("session").Value("ada").Ex(time.Hour).Build())
	server.Advance(time.Hour)
	left, err := client.Do(ctx, client.B().Exists().Key("session").Build()).AsInt64()
	fmt.Println(left, err)
	// Output: 0 <nil>
}

// dial connects with plain rueidis, without its client-side cache.
func dial(url string) rueidis.Client {
	option := rueidis.MustParseURL(url)
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		log.Fatal(err)
	}
	return client
}
