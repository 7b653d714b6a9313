package facts

import "strings"

// The names of Server that are not names of a product.
const (
	Embedded = "embedded"
	Unknown  = "unknown"
)

// others are the servers that name themselves in INFO, and the field that has their own version.
// Next to it, they have a redis_version, which states what they are compatible with.
var others = []struct{ name, field string }{
	{"dragonfly", "dragonfly_version"},
	{"kvrocks", "kvrocks_version"},
	{"garnet", "garnet_version"},
	{"redict", "redict_version"},
}

// other returns the name and the version of a server that is neither Redis nor Valkey. name is ""
// for Redis and Valkey.
func other(info map[string]string) (name, version string) {
	for _, o := range others {
		if v := info[o.field]; v != "" {
			return o.name, v
		}
	}
	// KeyDB has no version field of its own. It adds a section with one field.
	if _, has := info["mvcc_depth"]; has || strings.HasSuffix(info["executable"], "keydb-server") {
		return "keydb", info["redis_version"]
	}
	if info["redis_version"] == "" && info["valkey_version"] == "" {
		return Unknown, ""
	}
	return "", ""
}

// notRun is the warning about a server that is neither Redis nor Valkey.
func notRun(has Capabilities) Warning {
	name := strings.TrimSpace(has.Server + " " + has.Version)
	if has.Server == Unknown {
		name = "unknown"
	}
	return Warning{"server", "the server is " + name + ", not Redis or Valkey: " +
		"no test of Redstart ran on it, so nothing is promised; run your own tests on it first"}
}

// FromHello returns the facts of a server that refuses INFO, from the fields of its reply to HELLO.
// The fields are empty if the server refuses HELLO too.
func FromHello(server, version string) *Facts {
	info := map[string]string{}
	if server == "redis" || server == "valkey" {
		info[server+"_version"] = version
	}
	has := capabilitiesOf(info)
	return &Facts{has, append(warningsOf(info, has), Warning{"info",
		"INFO is refused or unreadable: eviction, persistence and the role of the server are not checked; " +
			"allow INFO, or set Config.Assume"})}
}

// Assumed returns the facts that the user states.
func Assumed(has Capabilities) *Facts {
	f := &Facts{Capabilities: has}
	f.Add("assumed", "the server was not asked for its features: Config.Assume states them; "+
		"eviction, persistence and the role of the server are not checked")
	return f
}

// Add adds a warning.
func (f *Facts) Add(code, text string) { f.Warnings = append(f.Warnings, Warning{code, text}) }
