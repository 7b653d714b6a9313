module github.com/redstart-go/redstart/adapters/goredis

go 1.26.0

replace github.com/redstart-go/redstart => ../..

require (
	github.com/redis/go-redis/v9 v9.23.0
	github.com/redstart-go/redstart v0.0.0
)

require (
	github.com/caarlos0/env/v11 v11.4.2 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
