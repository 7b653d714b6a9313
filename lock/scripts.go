package lock

import (
	_ "embed"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed queue.lua
	queueLua string
	//go:embed state.lua
	stateLua string
	//go:embed holders.lua
	holdersLua string
	//go:embed acquire.lua
	acquireLua string
	//go:embed release.lua
	releaseLua string
	//go:embed renew.lua
	renewLua string
	//go:embed take.lua
	takeLua string
	//go:embed give.lua
	giveLua string
	//go:embed all.lua
	allLua string
	//go:embed enter.lua
	enterLua string
	//go:embed exit.lua
	exitLua string
	//go:embed stay.lua
	stayLua string
	//go:embed fence.lua
	fenceLua string
)

// family is the scripts of one way to hold: alone, or with others.
type family struct {
	acquire, release, renew *script.Script
}

var (
	mutex = family{
		acquire: script.New(queueLua + stateLua + acquireLua),
		release: script.New(queueLua + stateLua + releaseLua),
		renew:   script.New(queueLua + stateLua + renewLua),
	}
	shared = family{
		acquire: script.New(queueLua + holdersLua + enterLua),
		release: script.New(queueLua + holdersLua + exitLua),
		renew:   script.New(queueLua + holdersLua + stayLua),
	}
	takeScript  = script.New(takeLua)
	giveScript  = script.New(giveLua)
	allScript   = script.New(allLua)
	fenceScript = script.New(fenceLua)
)
