package redstartprom_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/redstart-go/redstart"
	redstartprom "github.com/redstart-go/redstart/adapters/prometheus"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
)

func Example() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	observer := redstartprom.NewObserver(redstartprom.Options{}) // histograms
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL(), Observer: observer})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(observer, redstartprom.NewCollector(client.Metrics()))
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}) // for GET /metrics

	users, err := cache.New[string](client, "users", cache.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := users.GetOrLoad(ctx, "42", func(context.Context, string) (string, error) { return "Ada", nil }); err != nil {
		log.Fatal(err)
	}

	scrape := httptest.NewRecorder()
	metrics.ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(scrape.Body.String()) {
		if strings.HasPrefix(line, "redstart_cache_loads_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// redstart_cache_loads_total{cache="users"} 1
}
