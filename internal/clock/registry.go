package clock

import "sync"

// sources has the source of each test server, by address. It is the one variable of this package. A
// test gives its server's URL to code that opens its own clients, and these clients must follow the
// source too. A program without a test server has an empty map.
var sources sync.Map

// Register makes clients that are opened for one of these addresses follow the source, until remove
// is called.
func Register(source *Source, addrs ...string) (remove func()) {
	for _, addr := range addrs {
		sources.Store(addr, source)
	}
	return func() {
		for _, addr := range addrs {
			sources.CompareAndDelete(addr, source)
		}
	}
}

// Of returns the source of the server at one of these addresses, or nil.
func Of(addrs []string) *Source {
	for _, addr := range addrs {
		if s, ok := sources.Load(addr); ok {
			return s.(*Source)
		}
	}
	return nil
}
